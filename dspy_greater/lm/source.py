"""Where a model's weights come from, so that a copy elsewhere can load them again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspy_greater.model.white_box import WhiteBox


@dataclass(frozen=True)
class Source:
    """Where to load the weights again: arguments of ``loading.load``, as plain JSON values."""

    model: str
    tokenizer: str | None = None
    device: str | None = None
    dtype: str | None = None
    device_map: str | dict[str, str | int] | None = None
    quantization_config: dict[str, Any] | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    local_files_only: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @classmethod
    def of(cls, model: Any, tokenizer: Any = None, **options: Any) -> Source | None:
        """The source of what ``load`` was given, or None when only objects were given."""
        plain_tokenizer = tokenizer is None or isinstance(tokenizer, str | os.PathLike)
        if not isinstance(model, str | os.PathLike) or not plain_tokenizer:
            return None
        return cls(
            model=_absolute(model),
            tokenizer=None if tokenizer is None else _absolute(tokenizer),
            **{name: _plain(value) for name, value in options.items()},
        )

    def load(self) -> WhiteBox:
        """Loads the weights."""
        from dspy_greater.model.loading import load

        return load(**asdict(self))


def _absolute(name: str | os.PathLike[str]) -> str:
    # Another process may run in another folder; hub ids are left alone.
    folder = os.path.expanduser(name)
    return os.path.abspath(folder) if os.path.isdir(folder) else os.fspath(name)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):  # a quantization config
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value).removeprefix("torch.")  # torch.dtype and torch.device
