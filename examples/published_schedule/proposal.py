"""Candidate tokens: what the model itself would write next in the instruction.

GReaTer, section 3.1: for ``q`` sampled inputs take the model's ``k`` likeliest next
tokens after input and instruction prefix, and keep those that all inputs
share. In a DSPy prompt the instruction stands before the inputs, where the
distribution is the same for every example; proposals therefore read a context
of their own in which the input comes first.
"""

from __future__ import annotations

import random

import torch


def propose(
    next_log_probs: torch.Tensor,
    allowed: torch.Tensor,
    rng: random.Random,
    *,
    top_k: int,
    inputs: int,
    intersections: int,
    at_least: int,
) -> list[int]:
    """Unite several intersections of top-k sets over random inputs.

    Args:
        next_log_probs: ``[examples, vocab]`` log-probabilities of the next token.
        allowed: ``[vocab]`` mask of tokens that may be proposed.
        rng: Source of the sampled inputs.
        top_k: The paper's k, widened by doubling while an intersection holds fewer than
            ``at_least`` tokens.
        inputs: The paper's q, inputs per intersection.
        intersections: How many intersections are united.
        at_least: Tokens that each intersection must hold (the paper's 2 * mu).

    Returns:
        Token ids, likeliest first (mean log-probability over all examples).
    """
    scores = next_log_probs.masked_fill(~allowed, -torch.inf)
    limit = int(allowed.sum())
    union: set[int] = set()
    for _ in range(intersections):
        rows = scores[rng.sample(range(len(scores)), min(inputs, len(scores)))]
        union |= _shared_top(rows, top_k, limit, at_least)
    mean = next_log_probs.mean(dim=0)
    return sorted(union, key=lambda token: (-float(mean[token]), token))


def _shared_top(rows: torch.Tensor, top_k: int, limit: int, at_least: int) -> set[int]:
    """Intersect the rows' top-k sets, doubling k until ``at_least`` tokens are shared."""
    order = rows.topk(limit, dim=-1).indices
    k = min(top_k, limit)
    while True:
        shared = set.intersection(*(set(row[:k].tolist()) for row in order))
        if len(shared) >= at_least or k == limit:
            return shared
        k = min(2 * k, limit)
