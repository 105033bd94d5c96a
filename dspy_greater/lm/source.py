"""Where a model's weights come from, so that a copy elsewhere can load them again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import Any

#: Arguments of ``loading.load``, as plain JSON values.
Source = dict[str, Any]


def source_of(model: Any, tokenizer: Any = None, **options: Any) -> Source | None:
    """Return the source of what ``load`` was given, or None when it was given objects."""
    objects = [
        each for each in (model, tokenizer) if not isinstance(each, str | os.PathLike | None)
    ]
    if objects or model is None:
        return None
    named = {"model": model, "tokenizer": tokenizer}
    given = {name: _absolute(each) for name, each in named.items() if each is not None}
    return given | {name: _plain(value) for name, value in options.items() if value is not None}


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
