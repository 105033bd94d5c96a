"""What a gradient says of other tokens, and whether it is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from dspy_greater.model import ModelError, WhiteBox
from dspy_greater.model.errors import first_line

LOOKUP = 16_384  # embedding rows at once, so that a large vocabulary is never copied whole
PROBES = 16
#: Rounding to 8 bits is off by a percent, a gradient that misses the weights by all there is.
TOLERANCE = 0.5


def substitution(
    white_box: WhiteBox, gradient: torch.Tensor, tokens: Sequence[int]
) -> torch.Tensor:
    """Return the first-order loss of putting each token at each position.

    From a gradient ``[positions, hidden]`` it is ``[positions, tokens]``, float32 on the CPU: two
    tokens of a row differ by the estimated change of the loss when one replaces the other.
    """
    embed, parts = white_box.model.get_input_embeddings(), []
    direction = gradient.to(white_box.device).float()
    with white_box.alone(), torch.no_grad():
        for ids in torch.as_tensor(tokens, dtype=torch.long).split(LOOKUP):
            vectors = embed(ids.to(white_box.device)[None])[0].float()
            parts.append((direction.to(vectors.device) @ vectors.T).cpu())
    return torch.cat(parts, dim=1)


def check_gradients(model: Any) -> None:
    """Refuse quantized layers, one of each kind is tried, through which no true gradient goes.

    Rounded activations have no slope: autograd may silently return what little gets around them.
    """
    kinds: dict[tuple[type, type], tuple[str, torch.nn.Linear]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or isinstance(module.weight, DTensor):
            continue  # parts of plain weights look like quantized ones
        weight = module.weight
        if hasattr(weight, "__tensor_flatten__") or not weight.is_floating_point():
            kinds.setdefault((type(module), type(weight)), (name, module))
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
