"""One forward pass of any causal language model, seen through two hooks.

* *Target rows.* Logits for every position are the largest tensor of a pass (``time × vocab``; 150k
  floats a token), and nearly all of it is thrown away. A pre-hook on the language-model head hands
  it only the wanted rows of hidden states. Whatever the model does to logits afterwards
  (soft-capping, scaling) still happens, because it is the model's own forward that runs.
* *Embedding leaf.* A hook on the input embedding replaces its output by a detached leaf that asks
  for a gradient. Models that scale embeddings do so inside that module, so the gradient is taken
  after the scaling and needs no special case. With frozen weights it is also the only gradient
  computed: no ``vocab × hidden`` gradient matrix, no parameter gradients.

Both modules come from ``get_input_embeddings()`` and ``get_output_embeddings()``; nothing here
knows a model class or a model name.

Padding is on the right, where under causal attention it cannot reach a real position (`checks`
makes sure that the model is causal), so the mask hides nothing. A mask that hid the padding would
leave padded positions with nothing to attend to behind a sliding window, and attention kernels
differ in what they make of an empty softmax. Position ids are given explicitly, for models with
learned positions.

``torch.no_grad`` is used rather than ``inference_mode`` everywhere: modules cache tensors between
calls (rotary tables, masks), and a cached inference tensor would break a later backward pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from dspy_greater.model.errors import ModelError
from dspy_greater.model.prefix import Prefix, keeps_every_key


class Pass(NamedTuple):
    """Result of one forward pass.

    Attributes:
        logits: ``[rows, vocab]``, the wanted rows of all sequences, one sequence after another.
        embeddings: ``[batch, time, hidden]`` leaf, when asked for; without the prefix.
    """

    logits: torch.Tensor
    embeddings: torch.Tensor | None


class Forward:
    """Runs a model on right-padded sequences; see the module's docstring."""

    def __init__(self, model: Any, pad: int) -> None:
        self._model = model
        self._pad = pad
        self._takes_positions = _accepts(model, "position_ids")

    @property
    def device(self) -> torch.device:
        """Where token ids must be."""
        device = self._model.get_input_embeddings().weight.device
        return self._model.device if device.type == "meta" else device

    def __call__(
        self,
        sequences: Sequence[Sequence[int]],
        rows: Sequence[range],
        *,
        embeddings: bool = False,
        prefix: Prefix | None = None,
    ) -> Pass:
        """Logits at the wanted positions.

        Args:
            sequences: ``[batch]`` token ids, lengths may differ.
            rows: ``[batch]`` positions whose logits are wanted (position t predicts token t + 1).
            embeddings: Also return the embedding layer's output as a leaf that asks for a gradient.
            prefix: What all sequences begin with; no wanted position lies in it.
        """
        start = len(prefix) if prefix else 0
        sequences = [ids[start:] for ids in sequences]
        time = max(len(ids) for ids in sequences)
        ids = torch.full((len(sequences), time), self._pad, dtype=torch.long)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.as_tensor(sequence, dtype=torch.long)
        device = self.device
        ids = ids.to(device)
        mask = torch.ones(len(sequences), start + time, dtype=torch.long, device=device)
        inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": prefix is not None}
        if prefix is not None:
            inputs["past_key_values"] = prefix.fill(DynamicCache(), len(sequences))
        if self._takes_positions:
            positions = torch.arange(start, start + time, device=device)
            inputs["position_ids"] = positions.expand(len(sequences), time)
        wanted = torch.tensor(
            [row * time + place - start for row, places in enumerate(rows) for place in places]
        )
        with (
            target_rows(self._model, wanted),
            embedding_leaf(self._model, wanted=embeddings) as leaves,
        ):
            logits = self._model(**inputs).logits
        logits = logits.reshape(-1, logits.shape[-1])
        if logits.shape[0] != len(wanted):
            raise ModelError(
                f"The model returned {logits.shape[0]} rows of logits for {len(wanted)} positions: "
                "its language-model head does not read one hidden state per position."
            )
        return Pass(logits, leaves[0] if leaves else None)

    def read(self, ids: Sequence[int]) -> Prefix:
        """Compute what the layers keep of a beginning."""
        inputs = torch.as_tensor(ids, dtype=torch.long, device=self.device)[None]
        with torch.no_grad(), target_rows(self._model, torch.tensor([len(ids) - 1])):
            cache = self._model(
                input_ids=inputs, past_key_values=DynamicCache(), use_cache=True
            ).past_key_values
        return Prefix(tuple(ids), tuple((layer.keys, layer.values) for layer in cache.layers))

    def shares_prefixes(self) -> bool:
        """Whether a prefix read once gives what reading it in every row gives.

        Tried with padding between prefix and row, as it is when rows of unequal length are
        continued: a model that tells distances by the places of the cache gives itself away.
        """
        if not keeps_every_key(self._model.config):
            return False
        vocab = self._model.get_input_embeddings().weight.shape[0]
        ids = [index * 7 % vocab for index in range(1, 9)]
        rows = torch.tensor([[self._pad, *ids[4:]]], device=self.device)
        mask = torch.tensor([[1] * 4 + [0] + [1] * 4], device=self.device)
        places = {"position_ids": mask.cumsum(-1)[:, 4:] - 1} if self._takes_positions else {}
        try:
            cache = self.read(ids[:4]).fill(DynamicCache(), 1)
            behind = self._model(
                input_ids=rows, attention_mask=mask, past_key_values=cache, use_cache=True, **places
            ).logits[0, -1]
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            return False
        plain = self([ids], [range(7, 8)]).logits[0]
        tolerance = 1e-3 if plain.dtype in (torch.float32, torch.float64) else 5e-2
        return bool((behind - plain).abs().max() <= tolerance * (plain.max() - plain.min()))


@contextmanager
def target_rows(model: Any, wanted: torch.Tensor) -> Iterator[None]:
    """Let the language-model head see only the ``wanted`` rows of ``[batch × time, hidden]``."""

    def gather(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = args
        flat = hidden.reshape(-1, hidden.shape[-1])
        return (flat[wanted.to(flat.device)].unsqueeze(0), *rest)

    handle = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def embedding_leaf(model: Any, *, wanted: bool) -> Iterator[list[torch.Tensor]]:
    """Replace the embedding layer's output by a leaf; yields the list it is put into."""
    leaves: list[torch.Tensor] = []
    if not wanted:
        yield leaves
        return

    def swap(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        leaf = output.detach().requires_grad_(True)
        leaves.append(leaf)
        return leaf

    handle = model.get_input_embeddings().register_forward_hook(swap)
    try:
        yield leaves
    finally:
        handle.remove()


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Half precision as float32 (a log-softmax over 100k logits needs it); float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _accepts(model: Any, name: str) -> bool:
    """Whether ``model.forward`` takes the keyword; wrappers that only pass on are believed to."""
    parameters = inspect.signature(model.forward).parameters
    if name in parameters:
        return True
    passes_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return passes_on and "input_ids" not in parameters
