"""Products of linear layers in float32 on a CPU, faster than torch makes them.

torch leaves them to MKL, which on a processor of AMD's takes up to three times as long for the few
rows of a decoding step as oneDNN, or as itself with the weights on the left, and a fifth longer for
a prompt (``python -m examples.benchmark products``). Both are in the same builds of torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

#: Rows up to which MKL is faster than oneDNN, with the weights on the left; not for one.
FEW = 8


@contextmanager
def faster(model: Any) -> Iterator[None]:
    """Let the linear layers of a model that can multiply faster do so, in a ``with`` block.

    No gradient goes through such a product: where one is wanted, and in every other layer, torch
    does as it always does. A layer whose ``forward`` somebody replaced keeps it.
    """
    layers = [each for each in model.modules() if _suits(each)] if available() else []
    for layer in layers:
        layer.forward = partial(product, layer)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def available() -> bool:
    """Whether torch has both libraries, and oneDNN's product for layers."""
    both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return both and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(layer: nn.Linear, values: torch.Tensor) -> torch.Tensor:
    """Return what a linear layer makes of values ``[..., width]``."""
    weight, bias, rows = layer.weight, layer.bias, values.numel() // values.shape[-1]
    if torch.is_grad_enabled() or not rows or values.dtype != torch.float32:
        return nn.functional.linear(values, weight, bias)
    if 1 < rows <= FEW:
        left = (weight @ values.reshape(rows, -1).t()).t().contiguous()
        return (left if bias is None else left.add_(bias)).view(*values.shape[:-1], -1)
    # Nothing is done to the result on the way.
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
    return result


def _suits(module: Any) -> bool:
    """Whether a module is a linear layer with weights of its own in float32 on the CPU."""
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    plain = type(weight) is nn.Parameter and type(weight.data) is torch.Tensor
    return plain and weight.dtype == torch.float32 and weight.device.type == "cpu"
