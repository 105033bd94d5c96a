"""Weights in 8 or 4 bits: how they are asked for, and whether gradients go through them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers.quantizers import AutoQuantizationConfig

from dspy_greater.model.errors import LoadingError, ModelError, first_line

#: What to install, by method; transformers names the package of any other.
INSTALL = {
    "torchao": "'dspy-greater[quantized]'",
    "bitsandbytes": "bitsandbytes accelerate",
}
PROBES = 16
#: Rounding to 8 bits is off by a percent, a gradient that misses the weights by all there is.
TOLERANCE = 0.5


def quantization_of(wanted: Any, config: Any) -> Any:
    """Return the quantization to load with: the wanted one, the checkpoint's own, or None.

    Raises:
        LoadingError: Not a quantization config, or its package is not installed.
    """
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


def check_gradients(model: Any) -> None:
    """Refuse quantized layers, one of each kind is tried, through which no true gradient goes.

    Rounding has no slope: where activations are rounded, too, autograd may silently return the
    little that gets around it. The gradient of a linear layer foretells all that it does.

    Raises:
        ModelError: Such a layer was found.
    """
    kinds: dict[tuple[type, type], tuple[str, torch.nn.Linear]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and _is_quantized(module.weight):
            kinds.setdefault((type(module), type(module.weight)), (name, module))
    for name, layer in kinds.values():
        cause = ""
        try:
            wrong = not _foretells(layer, model.dtype)
        except (RuntimeError, AttributeError) as error:
            wrong, cause = True, first_line(error)
        if wrong:
            raise ModelError(
                f"No gradient goes through the quantized layer {name} "
                f"({type(layer.weight).__name__}): its activations are rounded, "
                "too, or its kernel has no backward pass. Quantize the weights alone, e.g. "
                "with TorchAoConfig(Int8WeightOnlyConfig()) or "
                f"BitsAndBytesConfig(load_in_4bit=True). {cause}".rstrip()
            )


def _is_quantized(weight: torch.Tensor) -> bool:
    if isinstance(weight, DTensor):  # a part of plain weights
        return False
    return hasattr(weight, "__tensor_flatten__") or not weight.is_floating_point()


def _foretells(layer: torch.nn.Linear, dtype: torch.dtype) -> bool:
    """Whether the gradient at one input says what the layer does to others."""
    weight = layer.weight
    device = "cpu" if weight.is_meta else weight.device
    source = torch.Generator().manual_seed(0)
    others = torch.randn(PROBES, layer.in_features, generator=source)
    upstream = torch.randn(layer.out_features, generator=source)
    dtype = weight.dtype if weight.is_floating_point() else dtype
    others, upstream = others.to(device, dtype), upstream.to(device, dtype)
    with torch.enable_grad():
        at = torch.ones_like(others[:1], requires_grad=True)
        (gradient,) = torch.autograd.grad((layer(at)[0] * upstream.to(device)).sum(), at)
    with torch.no_grad():
        linear = (layer(others) - layer(-others)) / 2  # without the bias
    made = linear.double() @ upstream.double()
    foretold = others.double() @ gradient[0].double()
    return not bool((foretold - made).norm() > TOLERANCE * made.norm())
