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
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.quantizers import AutoQuantizationConfig
from transformers.utils import find_adapter_config_file

from dspy_greater.model import gguf
from dspy_greater.model.checks import check_config
from dspy_greater.model.errors import (
    LoadingError,
    MissingModelError,
    ModelError,
    TokenizerError,
    first_line,
)
from dspy_greater.model.white_box import WhiteBox

ADAPTER_CONFIG = "adapter_config.json"
#: What transformers raise for files that they cannot read.
CANNOT_LOAD = (OSError, ValueError, ImportError, AttributeError, TypeError, KeyError)
#: What torch calls the instructions that multiply matrices in bfloat16, on x86 and on Arm.
_BF16_PRODUCTS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
_CPU = torch.device("cpu")


def load(
    model: Any,
    *,
    tokenizer: Any = None,
    gguf_file: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = "auto",
    device_map: Any = None,
    quantization_config: Any = None,
    attn_implementation: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_gguf: bool = True,
    revision: str | None = None,
    token: str | bool | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool | None = None,
    token_budget: int | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> WhiteBox:
    """Load a causal language model as a white box.

    The settings are those of ``local_lm``; for ``token_budget`` see `WhiteBox`.

    Raises:
        MissingModelError: No such folder or name.
        LoadingError: Anything else that keeps the model from being used.
    """
    if device is not None and device_map is not None:
        raise LoadingError("Give device or device_map, not both.")
    for_weights = (device_map, quantization_config, attn_implementation)
    place = _Place(_device(device), _dtype(dtype), *for_weights)
    name = None
    if isinstance(model, str | os.PathLike):
        hub = {"revision": revision, "cache_dir": cache_dir, "token": token}
        options: dict[str, Any] = {key: value for key, value in hub.items() if value is not None}
        options["local_files_only"] = bool(local_files_only)
        file = gguf.find(model, gguf_file, options)
        options["trust_remote_code"] = trust_remote_code
        if file is None:
            weights, tokenizer, name = _from_source(model, tokenizer, place, options)
        else:
            cache = gguf.cache_folder(cache_dir) if cache_gguf else None
            weights, tokenizer = _from_gguf(file, tokenizer, place, cache)
            name = file.stem
    else:
        if any(each is not None for each in (*for_weights, gguf_file)):
            raise LoadingError(
                "device_map, quantization_config, attn_implementation and gguf_file are for "
                "loading: a loaded model stays as it is."
            )
        weights, tokenizer = _from_memory(model, tokenizer, place.device, place.dtype)
    return WhiteBox(
        weights,
        tokenizer,
        name=name,
        token_budget=token_budget,
        chat_template_kwargs=chat_template_kwargs,
    )


class _Place(NamedTuple):
    """Where weights are to be, in which format, and by which kernel attention is computed."""

    device: torch.device | None
    dtype: torch.dtype | str
    device_map: Any
    quantization: Any
    attention: str | None

    def default_device(self) -> torch.device | None:
        """Return the device that is asked for, or the best there is; None where a map says it."""
        if self.device is not None or self.device_map is not None:
            return self.device
        gpu = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else gpu)


def _from_gguf(file: Path, tokenizer: Any, place: _Place, cache: Path | None) -> tuple[Any, Any]:
    """Return the dequantized weights of a GGUF file, on their device, and their tokenizer."""
    if place.quantization is not None:
        raise LoadingError(
            f"{file.name} holds weights that are quantized already, and are computed with "
            "dequantized: leave out quantization_config, or load the model's folder instead."
        )
    device, header = place.default_device(), gguf.checked_header(file)
    own = torch.float32 if header.is_float32 else torch.bfloat16
    asked = place.dtype if isinstance(place.dtype, torch.dtype) else None
    dtype = asked or _preferred(own, device) or own
    found = gguf.dequantized(file, header, dtype, cache)
    if isinstance(found, Path):
        options = {"trust_remote_code": False, "local_files_only": True}
        return _from_source(found, tokenizer, place._replace(dtype=dtype), options)[:2]
    if (place.device_map, place.attention) != (None, None):
        raise LoadingError(
            f"device_map and attn_implementation need {file.name} to be kept dequantized: leave "
            "cache_gguf on, and room on the disk."
        )
    return _from_memory(found, tokenizer, device, dtype)


def _from_source(
    model: str | os.PathLike[str], tokenizer: Any, place: _Place, options: dict[str, Any]
) -> tuple[Any, Any, str]:
    """Return the weights of a folder or hub id, their tokenizer and name."""
    source = _source(model)
    _look_where_files_are(source, options)
    # The small files first: a mistake should show before gigabytes of weights are read.
    base, for_base = _base(source, options), options
    if base != source:
        _look_where_files_are(base, options)
        for_base = {name: value for name, value in options.items() if name != "revision"}
    config = _config(base, for_base)
    if tokenizer is None:
        try:
            tokenizer = _tokenizer(source, options)
        except TokenizerError:
            if base == source:
                raise
            tokenizer = _tokenizer(base, for_base)
    else:
        allowed = {name: options.get(name) for name in ("trust_remote_code", "token")}
        tokenizer = _tokenizer(tokenizer, allowed)
    weights = _weights(source, base, config, place, options)
    return weights, tokenizer, Path(source).name if os.path.isdir(source) else source


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


def _source(model: str | os.PathLike[str]) -> str:
    """Return what to hand to transformers: a hub id or a folder, not mistyped."""
    text = os.path.expanduser(os.fspath(model))
    if os.path.isdir(text):
        if not any((Path(text) / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
            raise MissingModelError(
                f"The folder {text} has no config.json and no {ADAPTER_CONFIG}, so it is neither a "
                "saved transformers model nor an adapter."
            )
        return text
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
    return text


def _look_where_files_are(source: str, options: dict[str, Any]) -> None:
    """Look into the local cache alone where the hub does not answer, or retries take minutes."""
    if os.path.isdir(source) or options["local_files_only"]:
        return
    try:
        HfApi().model_info(source, timeout=10, token=options.get("token"))
    except HfHubHTTPError:  # the hub answers: no such model, a mirror, or a busy hour
        pass
    except Exception:  # no connection; which error says so depends on the HTTP library
        options["local_files_only"] = True


def _base(source: str, options: dict[str, Any]) -> str:
    """Return the model that an adapter was made for; the source itself if it holds a model."""
    for_hub = {name: value for name, value in options.items() if name != "trust_remote_code"}
    path = find_adapter_config_file(source, **for_hub)
    if path is None:
        return source
    if importlib.util.find_spec("peft") is None:
        raise LoadingError(f"{source} is an adapter: pip install 'dspy-greater[lora]' for peft.")
    if (Path(source) / "config.json").is_file():
        return source
    base = json.loads(Path(path).read_text(encoding="utf-8")).get("base_model_name_or_path")
    try:
        return _source(str(base or ""))
    except MissingModelError as error:
        raise MissingModelError(
            f"{error} Or correct base_model_name_or_path in the {ADAPTER_CONFIG} of {source}."
        ) from error


def _config(source: str, options: dict[str, Any]) -> Any:
    try:
        config = AutoConfig.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise MissingModelError(
            f"Cannot load {source!r}: no folder has that name, and the hub (or its local cache, "
            "when there is no connection) has no such model or revision that you may read: a gated "
            f"one needs token=... {first_line(error)}"
        ) from error
    check_config(config)
    return config


def _tokenizer(source: Any, options: dict[str, Any]) -> Any:
    if not isinstance(source, str | os.PathLike):
        return source
    try:
        return AutoTokenizer.from_pretrained(source, **options)
    except CANNOT_LOAD as error:
        raise TokenizerError(
            f"Cannot load a tokenizer from {os.fspath(source)!r}; give one with tokenizer=…. "
            f"{first_line(error)}"
        ) from error


def _weights(source: str, base: str, config: Any, place: _Place, options: dict[str, Any]) -> Any:
    """Return the model on its device, or spread over several, in its dtype."""
    device, dtype, device_map = place.default_device(), place.dtype, place.device_map
    quantization = place.quantization
    quantized = (quantization or getattr(config, "quantization_config", None)) is not None
    if dtype == "auto":
        # Quantized weights are computed with in a format that their method chooses.
        own = None if quantized and device == _CPU else config.dtype
        dtype = _preferred(own, device) or "auto"
    if quantized and device_map is None and device != _CPU:
        device_map = {"": device}  # quantized where they will be: some can't be moved
    try:
        if isinstance(quantization, Mapping):
            quantization = AutoQuantizationConfig.from_dict(dict(quantization))
        how = {"device_map": device_map, "quantization_config": quantization}
        how |= {"attn_implementation": place.attention, "config": config, "dtype": dtype}
        given = {name: value for name, value in how.items() if value is not None}
        model = AutoModelForCausalLM.from_pretrained(source, **given, **options)
    except (*CANNOT_LOAD, RuntimeError) as error:
        if isinstance(error, RuntimeError) and base == source and not quantized:
            raise  # no memory
        if "Unrecognized configuration class" in str(error):
            raise ModelError(
                f"{config.model_type} has no language-model head in transformers, so it cannot "
                "generate. Use a causal (decoder-only) language model."
            ) from error
        what = repr(source) if base == source else f"the adapter {source!r} onto {base!r}"
        advice = (
            " quantization_config takes a config of transformers, such as "
            "TorchAoConfig(Int8WeightOnlyConfig()), or its to_dict(). For torchao: "
            "pip install 'dspy-greater[quantized]'."
        )
        raise LoadingError(
            f"Cannot load {what}. {first_line(error)}{advice if quantized else ''}"
        ) from error
    return model if device_map is not None else model.to(device)


def _device(device: str | torch.device | None) -> torch.device | None:
    if device is None:
        return None
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LoadingError(
            f"device {str(device)!r} is not available here. {first_line(error)}"
        ) from error


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | str:
    if dtype is None or dtype == "auto":
        return "auto"
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise LoadingError(f"dtype must be a float type such as 'bfloat16', not {dtype!r}.")
    return found


def _preferred(own: torch.dtype | None, device: torch.device | None) -> torch.dtype | None:
    """Return the number format for a checkpoint of format ``own`` on a device or, None, several.

    On a CPU that is bfloat16, which halves the time of a product where there are instructions for
    it, and float32 on other CPUs and for checkpoints in float32 or of unknown format, which keep
    what precision they have. Elsewhere it is the checkpoint's own.
    """
    if device != _CPU:
        return own
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    halved = own not in (None, torch.float32) and any(can.get(name) for name in _BF16_PRODUCTS)
    return torch.bfloat16 if halved else torch.float32
