"""The white box: batches of token ids in; log-probabilities and generations out."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch

from dspy_greater.basics.arguments import check_positive
from dspy_greater.cost import Counts, Meter
from dspy_greater.model import checks, products
from dspy_greater.model.batching import Size, in_batches
from dspy_greater.model.encoding import ChatEncoder, Encoding
from dspy_greater.model.errors import ContextError
from dspy_greater.model.fingerprint import fingerprint
from dspy_greater.model.forward import Forward, at_least_float32
from dspy_greater.model.generation import BatchedGeneration
from dspy_greater.model.prefix import Group, Prefix, by_prefix, distinct
from dspy_greater.model.requests import (
    Generation,
    Request,
    Sampling,
    Targeted,
    log_probs_of,
)
from dspy_greater.model.rows import end_tokens

LOGITS = 2**27  # of one micro-batch, in numbers: 512 MiB
Result = TypeVar("Result")


class WhiteBox:
    """A frozen causal language model with its tokenizer.

    Every public method takes one lock and works in micro-batches under a token budget, on which
    results depend no more than by float rounding. NaN is returned as it is.

    Attributes:
        model: The transformers model.
        name: Hub id or folder name.
        fingerprint: Short hash of the weights, the vocabulary and the chat template.
        context: Most positions the model can read.
        vocab_size: Rows of the embedding; may exceed the tokenizer's vocabulary.
        end_ids: Tokens that end a text.
        thinks: Whether the model has marks for what it thinks before it answers.
        encoder: Messages to ids.
        counts: Work done so far, for whomever.
        meter: On which its work is booked besides.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str | None = None,
        token_budget: int | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Take over a model, also inside of peft's wrapper: it is frozen and put into eval mode.

        ``token_budget`` is ``rows × longest row`` of a micro-batch; by default 16k tokens on the
        CPU and 64k elsewhere.

        Raises:
            ModelError: Not a causal language model with a head.
            TokenizerError: No character offsets, or more tokens than the model has embeddings.
        """
        model = checks.unwrapped(model)
        checks.check_model(model)
        checks.check_tokenizer(tokenizer, model)
        model.requires_grad_(False).eval()
        self.model = model
        self._lock = threading.RLock()
        self.name = name or model.name_or_path or f"{model.config.model_type} (in memory)"
        self.context = checks.context_of(model, tokenizer)
        self.vocab_size = int(model.get_input_embeddings().weight.shape[0])
        self.encoder = ChatEncoder(tokenizer, chat_template_kwargs or {})
        self.thinks = self.encoder.thinking is not None
        self.counts = Counts()
        self.meter: Meter | None = None
        self.fingerprint = fingerprint(model, tokenizer, chat_template_kwargs)
        self.end_ids, pad = end_tokens(model, self.encoder)
        self._forward = Forward(model, pad)
        tokens = token_budget or (2**14 if self.device.type == "cpu" else 2**16)
        self._budget = Size(tokens, LOGITS)
        checks.check_causal(self._forward, self.vocab_size)
        self._generation = BatchedGeneration(
            self._forward, self.encoder, self.end_ids, self.context, Size(tokens, LOGITS)
        )

    def __repr__(self) -> str:
        place = f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
        return f"WhiteBox({self.name!r}, {place}, context={self.context})"

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        return self._forward.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the embeddings, and of all weights that are not quantized."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight
        return weight.dtype

    def metered(self, meter: Meter | None) -> WhiteBox:
        """Return the same model, whose work is booked on a compile's meter, too."""
        twin = copy.copy(self)
        twin.meter = meter
        return twin

    def alone(self) -> AbstractContextManager[Any]:
        """Have the model to oneself, in a ``with`` block, as every public method has it.

        Whoever calls ``model`` or a part of it needs this: a pass in another thread hooks its own.
        """
        return self._lock

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Count the time of a block on the meter, if there is one."""
        return nullcontext() if self.meter is None else self.meter.phase(name)

    def encode(self, *args: Any, **kwargs: Any) -> Encoding:
        """Turn messages into ids and spans; see `ChatEncoder.encode`."""
        with self.phase("render"):
            return self.encoder.encode(*args, **kwargs)

    def generate(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> list[Generation]:
        """Continue each prompt by its own settings; ``max_tokens`` is cut to what fits.

        Raises:
            ContextError: A prompt leaves no room for a single token.
        """
        requests = []
        for prompt, sampling in zip(prompts, samplings, strict=True):
            self._check_length(len(prompt) + 1, " (the prompt and one token to generate)")
            most = min(sampling.max_tokens, self.context - len(prompt))
            requests.append(Request(prompt, replace(sampling, max_tokens=most)))
        with self._working("generate"):
            return self._generation.generate(requests, self.counts)

    def log_probs(
        self, items: Sequence[Targeted], *, temperature: float = 1.0
    ) -> list[torch.Tensor]:
        """Return log-probabilities of each item's targets, ``[targets]`` float32 on the CPU."""
        self._check(items, temperature)
        most = [item.targets.start - 1 for item in items]
        work = partial(self._log_probs_batch, temperature=temperature)
        return self._behind_prefixes(items, most, work)

    @contextmanager
    def _working(self, phase: str) -> Iterator[None]:
        """Have the model to oneself, and book the time and what was done.

        A pass on behalf of a compile that was stopped is not begun.
        """

        def check(module: Any, args: Any) -> None:
            if self.meter is not None and self.meter.stopped.is_set():
                raise CancelledError("the compile was stopped")

        with (
            self._lock,
            self.phase(phase),
            self.model.register_forward_pre_hook(check),
            products.faster(self.model),
        ):
            before = self.counts.snapshot()
            try:
                yield
            except BaseException:
                vars(self.counts).update(vars(before))  # what failed is done again, or not at all
                raise
            if self.meter is not None:
                self.meter.book(self.counts - before)

    def _behind_prefixes(
        self,
        items: Sequence[Targeted],
        most: Sequence[int],
        work: Callable[..., list[Result]],
        budget: Size | None = None,
        phase: str = "score",
    ) -> list[Result]:
        """Run ``work`` behind the prefixes, of at most ``most`` tokens, that items share."""
        results: dict[int, Result] = {}
        with self._working(phase):
            groups = [Group(0, range(len(items)))]
            if self._forward.shares:
                groups = by_prefix([item.ids for item in items], most)
            for shared, indices in groups:
                members = [items[index] for index in indices]
                sizes = [Size(len(each.ids), len(each.rows) * self.vocab_size) for each in members]
                prefix = self._forward.read([members[0].ids[:shared]]) if shared else None
                job = partial(work, prefix=prefix)
                done = in_batches(members, sizes, budget or self._budget, job)
                self.counts.tokens_forward += shared
                results.update(zip(indices, done, strict=True))
        return [results[index] for index in range(len(items))]

    def _log_probs_batch(
        self, items: list[Targeted], temperature: float, prefix: Prefix | None
    ) -> list[torch.Tensor]:
        start = prefix.lengths[0] if prefix else 0
        # Prompts that several items continue are read once each.
        prompts, chosen = distinct([item.ids[: item.rows.start] for item in items])
        several = 2 * len(prompts) <= len(items) and min(map(len, prompts)) > start
        with torch.no_grad():
            if self._forward.shares and several:
                prefix = self._forward.read(prompts, prefix)
            else:
                chosen = [0] * len(items)
            logits = self._forward(
                [i.ids for i in items], [i.rows for i in items], prefix=prefix, chosen=chosen
            )
            log_probs = log_probs_of(at_least_float32(logits) / temperature, items)
        lengths = prefix.lengths if prefix else (0,)
        self.counts.targets_forward += len(logits)
        self.counts.tokens_forward += sum(length - start for length in lengths)
        pairs = zip(items, chosen, strict=True)
        self.counts.tokens_forward += sum(len(i.ids) - lengths[number] for i, number in pairs)
        parts = log_probs.float().cpu().split([len(item.rows) for item in items])
        return [part.clone() for part in parts]  # a mere part would keep the whole batch

    def _check(self, items: Sequence[Targeted], temperature: float) -> None:
        for index, item in enumerate(items):
            length, targets = len(item.ids), item.targets
            self._check_length(length)
            if not 1 <= targets.start <= targets.end <= length:
                raise ValueError(
                    f"Item {index}: targets [{targets.start}, {targets.end}) must lie in "
                    f"[1, {length}): a first token has nothing to be predicted from."
                )
        check_positive("temperature", temperature)

    def _check_length(self, length: int, purpose: str = "") -> None:
        if length == 0:
            raise ValueError("A sequence of no tokens cannot be read.")
        if length > self.context:
            raise ContextError(
                f"A sequence of {length} tokens{purpose} exceeds the context of {self.context} "
                f"tokens of {self.name}. Shorten the instruction, the demos or the inputs, or use "
                "a model with a longer context."
            )
