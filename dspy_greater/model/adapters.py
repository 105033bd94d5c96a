"""LoRA and other adapters of peft: weights that are put onto a base model."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import find_adapter_config_file

from dspy_greater.model.errors import LoadingError, ModelError, first_line

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Adapter:
    """An adapter in a folder or on the hub.

    Attributes:
        source: Its folder or hub id.
        base: The base model it names.
        base_revision: The revision of the base it was made for.
        has_base: Whether the base's weights lie in the same folder.
    """

    source: str
    base: str
    base_revision: str | None
    has_base: bool

    def put_onto(self, model: Any, options: dict[str, Any]) -> None:
        """Add the adapter's weights to its base model.

        A model loaded from a folder that holds both has the adapter already.

        Raises:
            LoadingError: It does not fit.
        """
        if getattr(model, "peft_config", None):
            return
        names = ("revision", "local_files_only")
        own = {name: options[name] for name in names if name in options}
        try:
            model.load_adapter(self.source, adapter_kwargs=own)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise LoadingError(
                f"The adapter {self.source} cannot be put onto {self.base!r}: load it with peft "
                f"and pass the (model, tokenizer) pair. {first_line(error)}"
            ) from error


def find_adapter(source: str, options: dict[str, Any]) -> Adapter | None:
    """The adapter in a folder or repository, or None if it holds none.

    Raises:
        LoadingError: There is one, but not the package that reads it.
    """
    known = ("revision", "local_files_only")
    own = {name: value for name, value in options.items() if name in known}
    path = find_adapter_config_file(source, **own)
    if path is None:
        return None
    if importlib.util.find_spec("peft") is None:
        raise LoadingError(
            f"{source} is an adapter, which needs the package peft: "
            "pip install 'dspy-greater[lora]'."
        )
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    base = str(settings.get("base_model_name_or_path") or "")
    has_base = (Path(source) / "config.json").is_file()
    return Adapter(source, base, settings.get("revision"), has_base)


def unwrapped(model: Any) -> Any:
    """The base model with the adapter's layers in it, out of the wrapper that peft puts around it.

    The wrapper's ``forward`` hides which arguments the model takes.

    Raises:
        ModelError: The adapter is no change of layers but tokens in front of the prompt.
    """
    if not (hasattr(model, "peft_config") and hasattr(model, "get_base_model")):
        return model
    if any(config.is_prompt_learning for config in model.peft_config.values()):
        raise ModelError(
            "The adapter is a learned prompt in front of the text, and an instruction cannot be "
            "searched behind it. Use an adapter of layers, such as LoRA, or the base model."
        )
    return model.get_base_model()
