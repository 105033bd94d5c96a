"""Load a model from the hub, from a folder or from memory."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dspy_greater.model.adapters import ADAPTER_CONFIG, Adapter, find_adapter
from dspy_greater.model.checks import check_config
from dspy_greater.model.errors import (
    LoadingError,
    MissingModelError,
    ModelError,
    TokenizerError,
    first_line,
)
from dspy_greater.model.quantization import quantization_of
from dspy_greater.model.white_box import WhiteBox


def load(
    model: Any,
    *,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool | None = None,
    token_budget: int | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> WhiteBox:
    """Load a causal language model as a white box.

    Args:
        model: Hub id, folder, or a loaded ``(model, tokenizer)`` pair. A loaded model is frozen
            and put into eval mode. An adapter (hub id or folder with ``adapter_config.json``) is
            put onto the base model that it names.
        tokenizer: A loaded tokenizer, hub id or folder, when it is not the model's own.
        device: ``cuda``, ``mps``, ``cpu`` …; the best there is by default (a loaded model stays
            where it is).
        dtype: By default float32 on the CPU and the checkpoint's own elsewhere (a loaded model
            keeps its own).
        device_map: Passed to transformers, for models spread over devices; excludes ``device``.
        quantization_config: Loads the weights in 8 or 4 bits: a ``TorchAoConfig``,
            ``BitsAndBytesConfig`` or another of transformers, or its ``to_dict()``.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run model code from the hub.
        local_files_only: Never download.
        token_budget: See `WhiteBox`.
        chat_template_kwargs: See `WhiteBox`.

    Raises:
        MissingModelError: No such folder or name.
        LoadingError: Anything else that keeps the model from being used.
    """
    if device is not None and device_map is not None:
        raise LoadingError("Give device or device_map, not both.")
    if dtype is not None and dtype != "auto":
        dtype = _dtype(dtype)
    if device is not None:
        device = _device(device)
    name = None
    if isinstance(model, str | os.PathLike):
        weights, tokenizer, name = _from_source(
            model,
            tokenizer,
            device=device,
            dtype=dtype,
            device_map=device_map,
            quantization_config=quantization_config,
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=local_files_only,
        )
    else:
        for_loading = {"device_map": device_map, "quantization_config": quantization_config}
        for option, value in for_loading.items():
            if value is not None:
                raise LoadingError(f"{option} is for loading: a loaded model stays as it is.")
        weights, tokenizer = _from_memory(model, tokenizer, device, dtype)
    return WhiteBox(
        weights,
        tokenizer,
        name=name,
        token_budget=token_budget,
        chat_template_kwargs=chat_template_kwargs,
    )


def _from_source(
    model: str | os.PathLike[str],
    tokenizer: Any,
    *,
    device: Any,
    dtype: Any,
    device_map: Any,
    quantization_config: Any,
    revision: str | None,
    trust_remote_code: bool,
    local_files_only: bool | None,
) -> tuple[Any, Any, str]:
    """Return the weights of a folder or hub id, their tokenizer and name."""
    source, is_folder = _source(model)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if revision is not None:
        options["revision"] = revision
    if local_files_only is not None:
        options["local_files_only"] = local_files_only
    if not is_folder and not options.get("local_files_only"):
        options["local_files_only"] = not _on_hub(source, revision)
    # The small files first: a mistake should show before gigabytes of weights are read.
    adapter = find_adapter(source, options)
    base, base_options = source, options
    if adapter is not None and not adapter.has_base:
        base, base_options = _base(adapter, options)
    config = _config(base, base_options)
    if tokenizer is None:
        tokenizer = _own_or_base_tokenizer(source, options, base, base_options)
    elif isinstance(tokenizer, str | os.PathLike):
        tokenizer = _tokenizer(tokenizer, {"trust_remote_code": trust_remote_code})
    quantization = quantization_of(quantization_config, config)
    weights = _weights(base, config, device, dtype, device_map, quantization, base_options)
    if adapter is not None:
        adapter.put_onto(weights, options)
    return weights, tokenizer, Path(source).name if is_folder else source


def _from_memory(pair: Any, tokenizer: Any, device: Any, dtype: Any) -> tuple[Any, Any]:
    """Return a loaded model, moved or converted only when asked to, and its tokenizer."""
    if isinstance(pair, tuple | list) and len(pair) == 2:
        model, own = pair
        tokenizer = own if tokenizer is None else tokenizer
    else:
        model = pair
    if tokenizer is None:
        raise LoadingError(
            "model must be a hub id, a folder, or a loaded (model, tokenizer) pair, not "
            f"{type(pair).__name__}."
        )
    if isinstance(tokenizer, str | os.PathLike):
        tokenizer = _tokenizer(str(tokenizer), {})
    if device is not None or isinstance(dtype, torch.dtype):
        try:
            model = model.to(device=device, dtype=dtype if isinstance(dtype, torch.dtype) else None)
        except (ValueError, RuntimeError) as error:  # quantized, or spread over devices
            raise LoadingError(
                "The loaded model cannot be moved or converted; leave device and dtype out. "
                f"{first_line(error)}"
            ) from error
    return model, tokenizer


def _source(model: str | os.PathLike[str]) -> tuple[str, bool]:
    """What to hand to transformers, and whether it is a folder.

    A folder that does not exist must not become a request to the hub, which would answer with an
    error about something else, after its retries.
    """
    text = os.path.expanduser(os.fspath(model))
    if os.path.isdir(text):
        if not any((Path(text) / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
            raise MissingModelError(
                f"The folder {text} has no config.json and no {ADAPTER_CONFIG}, so it is neither a "
                "saved transformers model nor an adapter."
            )
        return text, True
    looks_like_path = (
        not isinstance(model, str)
        or os.path.isabs(text)
        or text.startswith((".", "~"))
        or "\\" in text
        or text.count("/") > 1
        or text.endswith("/")
        or ("/" in text and Path(text).parent.is_dir())
    )
    if looks_like_path:
        raise MissingModelError(
            f"There is no folder {text} (working directory: {os.getcwd()}). Give an existing "
            "folder with config.json, weights and tokenizer, or a hub id such as 'owner/name'."
        )
    if not text.strip():
        raise MissingModelError("The model's name is empty.")
    return text, False


def _on_hub(source: str, revision: str | None) -> bool:
    """Whether the hub can be asked for files; False when only the local cache is left.

    One request, made before any file is. Without a connection every single file would be asked for
    again and again, for half a minute each.
    """
    try:
        HfApi().model_info(source, revision=revision, timeout=10)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise MissingModelError(
            f"There is no folder {source!r}, and the hub has no such model or revision that you "
            f"may read (misspelt, private, or a folder meant?). {first_line(error)}"
        ) from error
    except HfHubHTTPError:  # the hub answers, but not this question: a mirror, or a busy hour
        return True
    except Exception:  # no connection; which error says so depends on the HTTP library
        return False
    return True


def _base(adapter: Adapter, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The base model that an adapter names, and how to load it."""
    own = {name: value for name, value in options.items() if name == "trust_remote_code"}
    if adapter.base_revision is not None:
        own["revision"] = adapter.base_revision
    try:
        source, is_folder = _source(adapter.base)
        if not is_folder:
            offline = options.get("local_files_only") or not _on_hub(source, adapter.base_revision)
            own["local_files_only"] = offline
        AutoConfig.from_pretrained(source, **own)
    except (MissingModelError, OSError, ValueError) as error:
        raise MissingModelError(
            f"The adapter {adapter.source} was made for the base model {adapter.base!r}, which "
            "cannot be found. Put the base there or correct base_model_name_or_path in "
            f"{ADAPTER_CONFIG}; or load both yourself and pass the (model, tokenizer) pair. "
            f"{first_line(error)}"
        ) from error
    return source, own


def _own_or_base_tokenizer(
    source: str, options: dict[str, Any], base: str, base_options: dict[str, Any]
) -> Any:
    """The tokenizer beside an adapter, or else its base model's."""
    try:
        return _tokenizer(source, options)
    except TokenizerError:
        if base == source:
            raise
    return _tokenizer(base, base_options)


def _config(source: str, options: dict[str, Any]) -> Any:
    try:
        config = AutoConfig.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise MissingModelError(
            f"Cannot load {source!r}: neither a folder nor the hub (or its local cache, when there "
            f"is no connection) has a model of that name. {first_line(error)}"
        ) from error
    check_config(config)
    return config


def _tokenizer(source: str | os.PathLike[str], options: dict[str, Any]) -> Any:
    try:
        return AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, ImportError, AttributeError, TypeError, KeyError) as error:
        raise TokenizerError(
            f"Cannot load a tokenizer from {os.fspath(source)!r}; give one with tokenizer=…. "
            f"{first_line(error)}"
        ) from error


def _weights(
    source: str,
    config: Any,
    device: Any,
    dtype: Any,
    device_map: Any,
    quantization: Any,
    options: dict[str, Any],
) -> Any:
    """The model on its device, or spread over several, in its dtype."""
    if device_map is not None and importlib.util.find_spec("accelerate") is None:
        raise LoadingError("device_map needs the package accelerate: pip install accelerate.")
    place = _best_device() if device is None and device_map is None else device
    if dtype is None:
        on_cpu = place is not None and place.type == "cpu"
        dtype = torch.float32 if on_cpu else "auto"
    extra: dict[str, Any] = {} if device_map is None else {"device_map": device_map}
    if quantization is not None and device_map is None and place.type != "cpu":
        extra["device_map"] = {"": place}  # quantized where they will be: some can't be moved
    if quantization is not getattr(config, "quantization_config", None):
        extra["quantization_config"] = quantization
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, config=config, dtype=dtype, **extra, **options
        )
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise LoadingError(f"Cannot load {source!r}: {first_line(error)}") from error
        raise ModelError(
            f"{config.model_type} has no language-model head in transformers, so it cannot "
            "generate. Use a causal (decoder-only) language model."
        ) from error
    except (OSError, ImportError) as error:
        raise LoadingError(f"Cannot load {source!r}: {first_line(error)}") from error
    except RuntimeError as error:
        if quantization is None:
            raise
        raise LoadingError(
            f"The weights of {source!r} cannot be quantized like this on {place or 'these devices'}"
            f": {first_line(error)} Choose another kind in quantization_config; the cause stands "
            "above, in the report of transformers."
        ) from error
    return model if "device_map" in extra else model.to(place)


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _device(device: str | torch.device) -> torch.device:
    """The device, if this machine has it."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LoadingError(
            f"device {str(device)!r} is not available here. {first_line(error)}"
        ) from error
    return found


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise LoadingError(f"dtype must be a float type such as 'bfloat16', not {dtype!r}.")
    return found
