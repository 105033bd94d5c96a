"""One forward pass of any causal language model, seen through a hook.

It hands the language-model head, which comes from the model's own ``get_output_embeddings()``, only
the wanted rows, so that logits are never computed for every position.

Padding is on the right, where under causal attention it cannot reach a real position, and is not
masked: behind a sliding window it would have nothing to attend to. ``no_grad``, never
``inference_mode``: modules cache tensors, which a later backward pass may need.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from dspy_greater.model.errors import ModelError
from dspy_greater.model.prefix import Prefix, keeps_every_key


class Forward:
    """Runs a model on right-padded sequences; ``pad`` is the token that stands for nothing."""

    def __init__(self, model: Any, pad: int) -> None:
        self.model = model
        self.pad = pad
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    @property
    def device(self) -> torch.device:
        """Where token ids must be."""
        device = self.model.get_input_embeddings().weight.device
        if device.type != "meta":
            return device
        # Off-loaded: accelerate brings weights to the first device that computes.
        places = getattr(self.model, "hf_device_map", {}).values()
        return torch.device(next((p for p in places if p not in ("cpu", "disk")), "cpu"))

    def __call__(
        self,
        sequences: Sequence[Sequence[int]],
        rows: Sequence[range],
        *,
        prefix: Prefix | None = None,
        chosen: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Return logits ``[rows, vocab]`` at the wanted positions, sequence after sequence.

        ``rows`` are these positions by sequence (t predicts token t + 1), none of which lies in
        ``prefix``. ``chosen`` says which of its beginnings each sequence has; the first if None.
        """
        inputs, starts = self._inputs(sequences, prefix, chosen)
        time = inputs["input_ids"].shape[1]
        places = enumerate(zip(rows, starts, strict=True))
        wanted = torch.tensor([row * time + t - start for row, (own, start) in places for t in own])
        with target_rows(self.model, wanted):
            every = self.model(**inputs).logits
        logits: torch.Tensor = every.reshape(-1, every.shape[-1])
        if logits.shape[0] != len(wanted):
            raise ModelError(
                f"The model returned {logits.shape[0]} rows of logits for {len(wanted)} positions: "
                "its language-model head does not read one hidden state per position."
            )
        return logits

    def read(
        self,
        beginnings: Sequence[Sequence[int]],
        behind: Prefix | None = None,
        chosen: Sequence[int] | None = None,
    ) -> Prefix:
        """Compute what the layers keep of some beginnings, which begin with ``behind`` in turn.

        ``chosen`` says with which of several; the first if None.
        """
        inputs, starts = self._inputs(beginnings, behind, chosen)
        inputs["use_cache"] = True
        inputs.setdefault("past_key_values", DynamicCache())
        with torch.no_grad(), target_rows(self.model, torch.tensor([0])):
            cache = self.model(**inputs).past_key_values
        mask = inputs["attention_mask"].clone()
        for row, ids in enumerate(beginnings):
            mask[row, mask.shape[1] - inputs["input_ids"].shape[1] + len(ids) - starts[row] :] = 0
        layers = tuple((layer.keys, layer.values) for layer in cache.layers)
        return Prefix(tuple(map(len, beginnings)), mask, layers)

    @cached_property
    def shares(self) -> bool:
        """Whether beginnings read once, of unequal length, give what reading every row gives."""
        if not keeps_every_key(self.model.config):
            return False
        ids = probe(self.model.get_input_embeddings().weight.shape[0])
        last = [range(7, 8)] * 2
        with torch.no_grad():
            plain = self([ids, ids], last)
            try:
                prefix = self.read([ids[:3], ids[:6]])
                behind = self([ids, ids], last, prefix=prefix, chosen=[0, 1])
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
                return False
        return alike(behind, plain, plain.dtype)

    def _inputs(
        self,
        sequences: Sequence[Sequence[int]],
        prefix: Prefix | None,
        chosen: Sequence[int] | None,
    ) -> tuple[dict[str, Any], list[int]]:
        """Return the model's inputs and how much of each sequence the prefix stands for."""
        count = len(sequences)
        chosen = [0] * count if chosen is None else chosen
        starts = [prefix.lengths[index] for index in chosen] if prefix else [0] * count
        pairs = zip(sequences, starts, strict=True)
        rest = [torch.as_tensor(ids[start:], dtype=torch.long) for ids, start in pairs]
        ids = pad_sequence(rest, batch_first=True, padding_value=self.pad).to(self.device)
        mask = torch.ones_like(ids)
        inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
        if prefix:
            mask = torch.cat([prefix.mask[chosen].to(ids.device), mask], dim=1)
            inputs |= {"past_key_values": prefix.cache(chosen), "use_cache": True}
        if self._takes_positions:
            first = torch.tensor(starts, device=ids.device)[:, None]
            inputs["position_ids"] = first + torch.arange(ids.shape[1], device=ids.device)
        return {**inputs, "attention_mask": mask}, starts


def target_rows(model: Any, wanted: torch.Tensor) -> Any:
    """Let the language-model head see, in a ``with`` block, only the ``wanted`` of its rows."""

    def gather(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = args
        flat = hidden.reshape(-1, hidden.shape[-1])
        return (flat[wanted.to(flat.device)].unsqueeze(0), *rest)

    return model.get_output_embeddings().register_forward_pre_hook(gather)


def probe(vocab_size: int) -> list[int]:
    """Return eight tokens to try a model with."""
    return [index * 7 % vocab_size for index in range(1, 9)]


def alike(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether logits agree but for the rounding of a model's dtype; NaN does not."""
    tolerance = 1e-3 if dtype in (torch.float32, torch.float64) else 5e-2
    return bool((found - expected).abs().max() <= tolerance * (expected.max() - expected.min()))


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Return half precision as float32, which a log-softmax needs; float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
