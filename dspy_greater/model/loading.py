"""Load a model from the hub, from a folder or from memory."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.quantizers import AutoQuantizationConfig
from transformers.utils import find_adapter_config_file

from dspy_greater.model import gguf
from dspy_greater.model.checks import check_config
from dspy_greater.model.dtypes import on_cpu, preferred
from dspy_greater.model.errors import (
    LoadingError,
    MissingModelError,
    ModelError,
    TokenizerError,
    first_line,
)
from dspy_greater.model.white_box import WhiteBox

ADAPTER_CONFIG = "adapter_config.json"
#: What to install, by method; transformers names the package of any other.
INSTALL = {
    "torchao": "'dspy-greater[quantized]'",
    "bitsandbytes": "bitsandbytes accelerate",
}


def load(
    model: Any,
    *,
    tokenizer: Any = None,
    gguf_file: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = "auto",
    device_map: Any = None,
    quantization_config: Any = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_gguf: bool = True,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool | None = None,
    token_budget: int | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> WhiteBox:
    """Load a causal language model as a white box.

    Args:
        model: Hub id or folder of a model or an adapter, a GGUF file, or a loaded ``(model,
            tokenizer)`` pair, which is frozen and put into eval mode.
        tokenizer: A loaded tokenizer, hub id or folder, when it is not the model's own.
        gguf_file: The GGUF file to take of a folder or hub id.
        device: ``cuda``, ``mps``, ``cpu`` …; by default the best there is, or where the loaded
            model is.
        dtype: ``"auto"`` is what :func:`dtypes.preferred` says, or the loaded model's own.
        device_map: Passed to transformers, for models spread over devices; excludes ``device``.
        quantization_config: Of transformers, such as ``TorchAoConfig``, or its ``to_dict()``.
        cache_dir: Folder for what is downloaded and for dequantized GGUF files, each in their usual
            place by default.
        cache_gguf: Keep GGUF files dequantized.
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
    dtype = "auto" if dtype is None or dtype == "auto" else _dtype(dtype)
    if device is not None:
        device = _device(device)
    name = None
    if isinstance(model, str | os.PathLike):
        options: dict[str, Any] = {"revision": revision} if revision is not None else {}
        options["trust_remote_code"] = trust_remote_code
        options["local_files_only"] = bool(local_files_only)
        if cache_dir is not None:
            options["cache_dir"] = cache_dir
        place = _Place(device, dtype, device_map, quantization_config)
        file = gguf.find(model, gguf_file, _for_hub(options))
        if file is None:
            weights, tokenizer, name = _from_source(model, tokenizer, place, options)
        else:
            cache = gguf.cache_folder(cache_dir) if cache_gguf else None
            weights, tokenizer = _from_gguf(file, tokenizer, place, cache)
            name = file.stem
    else:
        for option, given in (
            ("device_map", device_map),
            ("quantization_config", quantization_config),
            ("gguf_file", gguf_file),
        ):
            if given is not None:
                raise LoadingError(f"{option} is for loading: a loaded model stays as it is.")
        weights, tokenizer = _from_memory(model, tokenizer, device, dtype)
    return WhiteBox(
        weights,
        tokenizer,
        name=name,
        token_budget=token_budget,
        chat_template_kwargs=chat_template_kwargs,
    )


class _Place(NamedTuple):
    """Where weights are to be, and in which format."""

    device: torch.device | None
    dtype: torch.dtype | str
    device_map: Any
    quantization: Any

    def default_device(self) -> torch.device | None:
        """Return the device that is asked for, or the best there is; None where a map says it."""
        if self.device is not None or self.device_map is not None:
            return self.device
        gpu = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else gpu)


def _for_hub(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what also goes for a single file of the hub."""
    return {key: value for key, value in options.items() if key != "trust_remote_code"}


def _from_gguf(file: Path, tokenizer: Any, place: _Place, cache: Path | None) -> tuple[Any, Any]:
    """Return the dequantized weights of a GGUF file, on their device, and their tokenizer."""
    if place.quantization is not None:
        raise LoadingError(
            f"{file.name} holds weights that are quantized already, and are computed with "
            "dequantized: leave out quantization_config, or load the model's folder instead."
        )
    device, dtype = place.default_device(), place.dtype
    if not isinstance(dtype, torch.dtype):
        usual = preferred(torch.bfloat16, device)
        dtype = gguf.default_dtype(file, usual or torch.bfloat16)
    found = gguf.dequantized(file, dtype, cache)
    if isinstance(found, Path):
        options = {"trust_remote_code": False, "local_files_only": True}
        place = place._replace(dtype=dtype)
        weights, tokenizer, _ = _from_source(found, tokenizer, place, options)
        return weights, tokenizer
    model, own = found
    if place.device_map is not None:
        raise LoadingError(
            f"device_map needs {file.name} to be kept dequantized: leave cache_gguf on, and room "
            "on the disk."
        )
    return _from_memory((model, own), tokenizer, device, dtype)


def _from_source(
    model: str | os.PathLike[str],
    tokenizer: Any,
    place: _Place,
    options: dict[str, Any],
) -> tuple[Any, Any, str]:
    """Return the weights of a folder or hub id, their tokenizer and name."""
    source, is_folder = _source(model)
    _look_where_files_are(source, options)
    # The small files first: a mistake should show before gigabytes of weights are read.
    base = _base(source, options)
    for_base = {name: options[name] for name in options if base == source or name != "revision"}
    if base != source:
        _look_where_files_are(base, for_base)
        options["local_files_only"] = for_base["local_files_only"]
    config = _config(base, for_base)
    if tokenizer is None:
        try:
            tokenizer = _tokenizer(source, options)
        except TokenizerError:
            if base == source:
                raise
            tokenizer = _tokenizer(base, for_base)
    else:
        tokenizer = _tokenizer(tokenizer, {"trust_remote_code": options["trust_remote_code"]})
    weights = _weights(source, base, config, place, options)
    return weights, tokenizer, Path(source).name if is_folder else source


def _from_memory(pair: Any, tokenizer: Any, device: Any, dtype: Any) -> tuple[Any, Any]:
    """Return a loaded model, moved or converted only when asked to, and its tokenizer."""
    model, own = pair if isinstance(pair, tuple | list) and len(pair) == 2 else (pair, None)
    tokenizer = _tokenizer(own if tokenizer is None else tokenizer, {})
    if tokenizer is None:
        raise LoadingError(
            "model must be a hub id, a folder, or a loaded (model, tokenizer) pair, not "
            f"{type(pair).__name__}."
        )
    if device is not None or isinstance(dtype, torch.dtype):
        try:
            model = model.to(device=device, dtype=None if dtype == "auto" else dtype)
        except (ValueError, RuntimeError) as error:  # quantized, or spread over devices
            raise LoadingError(
                "The loaded model cannot be moved or converted; leave device and dtype out. "
                f"{first_line(error)}"
            ) from error
    return model, tokenizer


def _source(model: str | os.PathLike[str]) -> tuple[str, bool]:
    """Return what to hand to transformers, and whether it is a folder, not mistyped."""
    text = os.path.expanduser(os.fspath(model))
    if os.path.isdir(text):
        if not any((Path(text) / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
            raise MissingModelError(
                f"The folder {text} has no config.json and no {ADAPTER_CONFIG}, so it is neither a "
                "saved transformers model nor an adapter."
            )
        return text, True
    try:
        validate_repo_id(text)
        is_path = not isinstance(model, str) or ("/" in text and Path(text).parent.is_dir())
    except HFValidationError:
        is_path = True
    if is_path:
        raise MissingModelError(
            f"There is no folder {text} (working directory: {os.getcwd()}). Give an existing "
            "folder with config.json, weights and tokenizer, or a hub id such as 'owner/name'."
        )
    return text, False


def _look_where_files_are(source: str, options: dict[str, Any]) -> None:
    """Look into the local cache alone where the hub does not answer, or retries take minutes."""
    if os.path.isdir(source) or options["local_files_only"]:
        return
    try:
        HfApi().model_info(source, revision=options.get("revision"), timeout=10)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise MissingModelError(
            f"There is no folder {source!r}, and the hub has no such model or revision that you "
            f"may read (misspelt, private, or a folder meant?). {first_line(error)}"
        ) from error
    except HfHubHTTPError:  # the hub answers, but not this question: a mirror, or a busy hour
        pass
    except Exception:  # no connection; which error says so depends on the HTTP library
        options["local_files_only"] = True


def _base(source: str, options: dict[str, Any]) -> str:
    """Return the model that an adapter was made for; the source itself if it holds a model."""
    path = find_adapter_config_file(source, **_for_hub(options))
    if path is None:
        return source
    if importlib.util.find_spec("peft") is None:
        raise LoadingError(
            f"{source} is an adapter, which needs the package peft: "
            "pip install 'dspy-greater[lora]'."
        )
    if (Path(source) / "config.json").is_file():
        return source
    base = json.loads(Path(path).read_text(encoding="utf-8")).get("base_model_name_or_path")
    try:
        return _source(str(base or ""))[0]
    except MissingModelError as error:
        raise MissingModelError(
            f"The base model of the adapter {source} is missing: {error} Or correct "
            f"base_model_name_or_path in {ADAPTER_CONFIG}."
        ) from error


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


def _tokenizer(source: Any, options: dict[str, Any]) -> Any:
    if not isinstance(source, str | os.PathLike):
        return source
    try:
        return AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, ImportError, AttributeError, TypeError, KeyError) as error:
        raise TokenizerError(
            f"Cannot load a tokenizer from {os.fspath(source)!r}; give one with tokenizer=…. "
            f"{first_line(error)}"
        ) from error


def _weights(
    source: str,
    base: str,
    config: Any,
    place: _Place,
    options: dict[str, Any],
) -> Any:
    """Return the model on its device, or spread over several, in its dtype."""
    device, dtype, device_map = place.default_device(), place.dtype, place.device_map
    quantization = _quantization(place.quantization, config)
    if device_map is not None and importlib.util.find_spec("accelerate") is None:
        raise LoadingError("device_map needs the package accelerate: pip install accelerate.")
    if dtype == "auto":
        # Quantized weights are computed with in a format that their method chooses.
        own = None if quantization is not None and on_cpu(device) else config.dtype
        dtype = preferred(own, device) or "auto"
    if quantization is not None and device_map is None and not on_cpu(device):
        device_map = {"": device}  # quantized where they will be: some can't be moved
    extra: dict[str, Any] = {} if device_map is None else {"device_map": device_map}
    if quantization is not getattr(config, "quantization_config", None):
        extra["quantization_config"] = quantization
    failed = f"Cannot load {source!r}"
    if base != source:
        failed = f"The adapter {source} cannot be put onto {base!r}"
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, config=config, dtype=dtype, **extra, **options
        )
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        if "Unrecognized configuration class" in str(error):
            raise ModelError(
                f"{config.model_type} has no language-model head in transformers, so it cannot "
                "generate. Use a causal (decoder-only) language model."
            ) from error
        if isinstance(error, RuntimeError) and quantization is not None:
            failed = f"The weights of {source!r} cannot be quantized like this"
        elif isinstance(error, RuntimeError) and base == source:
            raise
        raise LoadingError(f"{failed}: {first_line(error)}") from error
    return model if device_map is not None else model.to(device)


def _quantization(wanted: Any, config: Any) -> Any:
    """Return the quantization to load with: the wanted one, the checkpoint's own, or None."""
    own = getattr(config, "quantization_config", None)
    found = own if wanted is None else wanted
    if not isinstance(found, Mapping):
        if found is not None and not hasattr(found, "quant_method"):
            raise LoadingError(
                "quantization_config must be a quantization config of transformers, such as "
                f"TorchAoConfig(Int8WeightOnlyConfig()), or its to_dict(), not {found!r}."
            )
        return found
    method = str(getattr(found.get("quant_method"), "value", found.get("quant_method")))
    if method in INSTALL and importlib.util.find_spec(method) is None:
        raise LoadingError(
            f"The weights are quantized with {method}, which is not installed: "
            f"pip install {INSTALL[method]}."
        )
    try:
        return own if wanted is None else AutoQuantizationConfig.from_dict(dict(found))
    except (ValueError, TypeError, KeyError, ImportError) as error:
        raise LoadingError(
            f"quantization_config is not that of a method of transformers. {first_line(error)}"
        ) from error


def _device(device: str | torch.device) -> torch.device:
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
