"""Muon with the orthogonalisation of all matrices of one shape done in one batch.

`torch.optim.Muon` works on one matrix at a time, which is slow for the many small matrices of a
small model on a CPU; the update is the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Optimizer):
    """Steps along the orthogonalised momentum of each matrix."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        """Groups the matrices by shape, so that each shape is one batch."""
        shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for matrix in params:
            shapes[matrix.shape].append(matrix)
        groups = [{"params": matrices} for matrices in shapes.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every matrix with Nesterov momentum; there is no closure to call."""
        for group in self.param_groups:
            matrices: list[Tensor] = group["params"]
            gradient = torch.stack([matrix.grad for matrix in matrices])  # type: ignore[misc]
            state: dict[str, Any] = self.state[matrices[0]]
            average = state.setdefault("average", torch.zeros_like(gradient))
            average.lerp_(gradient, 1 - group["momentum"])
            update = orthogonalised(gradient.lerp(average, group["momentum"]))
            rows, columns = matrices[0].shape
            scale = group["lr"] * max(1.0, rows / columns) ** 0.5
            for matrix, change in zip(matrices, update, strict=True):
                matrix.sub_(change, alpha=scale)


def orthogonalised(batch: Tensor, iterations: int = 5) -> Tensor:
    """Brings the singular values of each matrix near 1 by a Newton-Schulz iteration."""
    tall = batch.size(-2) > batch.size(-1)
    x = batch.mT if tall else batch
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x
