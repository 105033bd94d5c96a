"""Generation with different settings in every row of a batch.

``model.generate`` decodes greedily, and none of a checkpoint's own settings applies: a logits
processor picks each row's token (``sampler``), a stopping criterion ends each row (``stops``). When
enough rows have ended, the others go on in a smaller batch, with what the cache holds of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from dspy_greater.cost.counts import Counts
from dspy_greater.model.batching import BatchLimit, Size, in_batches
from dspy_greater.model.forward import Forward, alike, at_least_float32, probe
from dspy_greater.model.prefix import RoomyCache, beginnings, distinct
from dspy_greater.model.requests import Generation, Request, TokenLogProb
from dspy_greater.model.sampler import RowSampler
from dspy_greater.model.stops import EndTokens, RowStops
from dspy_greater.model.thinking import Thinking

#: What a token still to be generated costs, relative to one that is read: its place in the cache.
DECODED_COST = 0.25


@dataclass(frozen=True)
class Decoder:
    """What it takes to generate with one model.

    Attributes:
        tokens: The tokens that end a text and fill rows.
        context: Most positions the model can read.
        device: Where token ids go in.
        thinking: How the model marks what it thinks before it answers.
    """

    model: Any
    tokenizer: Any
    tokens: EndTokens
    context: int
    device: torch.device
    thinking: Thinking | None = None


@dataclass(frozen=True)
class Begun:
    """Prompts of which the beginning has been read.

    Attributes:
        cache: Keys and values, row by row.
        starts: Tokens of each prompt that are in the cache.
        mask: ``[batch, places]``, 1 where a place of the cache holds a token and not padding.
        tokens: How many were read.
    """

    cache: RoomyCache
    starts: Sequence[int]
    mask: torch.Tensor
    tokens: int

    @classmethod
    def of(cls, forward: Forward, prompts: Sequence[Sequence[int]]) -> Begun:
        """Read what prompts share, once, into a cache from which all of them go on."""
        common, starts = beginnings(prompts)
        if not max(starts):
            return cls(RoomyCache(), starts, torch.zeros(len(prompts), 0, dtype=torch.long), 0)
        pairs = zip(prompts, starts, strict=True)
        heads, chosen = distinct([prompt[:start] for prompt, start in pairs])
        prefix = forward.read([prompts[0][:common]]) if common else None
        if max(starts) > common or prefix is None:
            prefix = forward.read(heads, prefix)
        cache = RoomyCache()
        prefix.fill(cache, chosen)
        tokens = common + sum(len(head) - common for head in heads)
        return cls(cache, starts, prefix.mask[chosen].cpu(), tokens)


def generate(
    decoder: Decoder, requests: Sequence[Request], begun: Begun | None = None
) -> list[Generation]:
    """Continue every prompt, in one batch that rows leave when they have ended.

    Args:
        decoder: The model.
        requests: Prompts and settings.
        begun: What has been read of the prompts. None lets the library make its own cache; all
            rows then stay to the end.
    """
    cache = begun.cache if begun else None
    ids, mask = padded(decoder, [request.prompt for request in requests], begun)
    width = ids.shape[1]
    # On MPS the library looks whether to stop one step late, when a sampled row has drawn again.
    leaving = cache is not None and decoder.device.type != "mps"
    sampler = RowSampler(requests)
    ends = decoder.tokens.ends
    stops = RowStops(
        decoder.tokenizer, ends, requests, width, leaving=leaving, thinking=decoder.thinking
    )
    ended: dict[int, list[int]] = {}
    rows = list(range(len(requests)))
    while rows:
        sampler.rows = stops.rows = rows
        ids = greedily(
            decoder,
            ids,
            mask,
            most=stops.most_left(),
            ends=ends,
            past_key_values=cache,
            logits_processor=LogitsProcessorList([sampler]),
            stopping_criteria=StoppingCriteriaList([stops]),
        )
        kept = [at for at, row in enumerate(rows) if stops.length[row] is None]
        ended |= {row: ids[at, width:].tolist() for at, row in enumerate(rows) if at not in kept}
        rows = [rows[at] for at in kept]
        if cache is not None and rows:
            ids, mask = ids[kept], mask[kept]
            mask = torch.cat([mask, mask.new_ones(len(rows), ids.shape[1] - mask.shape[1])], dim=1)
            cache.batch_select_indices(torch.tensor(kept, device=ids.device))
    return [
        _described(
            decoder,
            request,
            ended[row][: stops.length[row]],
            stopped=stops.stopped[row],
            log_probs=sampler.record(row, ended[row], request.sampling.logprobs),
        )
        for row, request in enumerate(requests)
    ]


def padded(
    decoder: Decoder, prompts: Sequence[Sequence[int]], begun: Begun | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask ``[batch, width]``; all rows continue at the same column.

    The places of the cache come first (nobody reads the ids there), then padding, then what is
    left of each prompt.
    """
    starts = begun.starts if begun else [0] * len(prompts)
    left = [prompt[start:] for prompt, start in zip(prompts, starts, strict=True)]
    longest = max(len(prompt) for prompt in left)
    ids = torch.full((len(prompts), longest), decoder.tokens.pad)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(left):
        ids[row, longest - len(prompt) :] = torch.as_tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    if begun:
        places = torch.full_like(begun.mask, decoder.tokens.pad)
        ids, mask = torch.cat([places, ids], dim=1), torch.cat([begun.mask, mask], dim=1)
    return ids.to(decoder.device), mask.to(decoder.device)


def greedily(
    decoder: Decoder,
    ids: torch.Tensor,
    mask: torch.Tensor,
    *,
    most: int,
    ends: Sequence[int],
    **settings: Any,
) -> torch.Tensor:
    """Let the library add up to ``most`` tokens, each the one with the highest score.

    Args:
        decoder: The model.
        ids: ``[batch, width]``.
        mask: The same, 1 where a token is to be read.
        most: Most tokens to add.
        ends: Tokens after which a row is only filled up.
        **settings: Further arguments of ``generate``.

    Returns:
        ``[batch, time]``, the ids given included.
    """
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=most,
        eos_token_id=list(ends) or None,
        pad_token_id=decoder.tokens.pad,
    )
    with torch.no_grad(), only_config(decoder.model, config), _hooked(decoder):
        output: torch.Tensor = decoder.model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, **settings
        )
    return output


def _described(
    decoder: Decoder,
    request: Request,
    ids: list[int],
    *,
    stopped: bool,
    log_probs: Sequence[TokenLogProb] | None,
) -> Generation:
    """Describe the tokens up to where a text ended, an end token included."""
    finish: Literal["stop", "length"] = "stop" if stopped else "length"
    if ids and ids[-1] in decoder.tokens.ends:
        ids, finish = ids[:-1], "stop"
    thinking = decoder.thinking
    block = thinking.length(request.prompt, ids) if thinking else 0
    text = str(
        decoder.tokenizer.decode(
            ids[block:], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    )
    cuts = [at for at in (text.find(stop) for stop in request.sampling.stop) if at >= 0]
    return Generation(
        ids=tuple(ids),
        text=text[: min(cuts, default=None)],
        finish=finish,
        log_probs=None if log_probs is None else tuple(log_probs[: len(ids)]),
        block=block,
        thinking=thinking.text(ids[:block]) if thinking and block else "",
    )


@contextmanager
def _hooked(decoder: Decoder) -> Iterator[None]:
    """Keep finished rows within the model's positions, and what the head reads in one piece.

    Every row ends before its own positions run out, but one with a long prompt is filled up while
    others go on: its position is held at the last one. ``generate`` counts columns, padding
    included, and would warn that the context is exceeded: it is not.

    ``generate`` also slices the last position off a prompt, and in half precision the CPU's matrix
    product is slower by orders of magnitude on such a slice.
    """

    def hold(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("position_ids") is not None:
            kwargs["position_ids"] = kwargs["position_ids"].clamp(max=decoder.context - 1)
        return args, kwargs

    def in_one_piece(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].contiguous(), *args[1:])

    logger = logging.getLogger("transformers.generation.stopping_criteria")
    disabled, logger.disabled = logger.disabled, True
    head = decoder.model.get_output_embeddings()
    handles = [
        decoder.model.register_forward_pre_hook(hold, with_kwargs=True),
        head.register_forward_pre_hook(in_one_piece),
    ]
    try:
        yield
    finally:
        logger.disabled = disabled
        for handle in handles:
            handle.remove()


@contextmanager
def only_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Hide the checkpoint's own settings, with which ``generate`` fills what is not given."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


class BatchedGeneration:
    """Continues prompts in micro-batches, which read once what prompts share.

    Args:
        decoder: The model.
        forward: The same, to read beginnings with.
        budget: The most that one micro-batch may cost.
        shares: Whether the model can go on from beginnings that were read once.
    """

    def __init__(
        self, decoder: Decoder, forward: Forward, budget: BatchLimit, *, shares: bool
    ) -> None:
        self._decoder, self._forward, self._budget = decoder, forward, budget
        rows = decoder.model.get_input_embeddings().weight.shape[0]
        self._mixes = reads_past_padding(decoder, rows)
        # Behind shared beginnings what is left of the prompts differs in length.
        self._begins = shares and self._mixes

    def generate(self, requests: Sequence[Request], counts: Counts) -> list[Generation]:
        """Continue each prompt by its own settings, and count the work."""
        results: dict[int, Generation] = {}
        for rows in self._mixable(requests):
            members = [requests[row] for row in rows]
            sizes = [
                Size(len(each.prompt) + int(DECODED_COST * each.sampling.max_tokens))
                for each in members
            ]
            done = in_batches(
                members, sizes, self._budget, lambda batch: self._batch(batch, counts)
            )
            results.update(zip(rows, done, strict=True))
        return [results[row] for row in range(len(requests))]

    def _batch(self, requests: list[Request], counts: Counts) -> list[Generation]:
        prompts = [request.prompt for request in requests]
        begun = Begun.of(self._forward, prompts) if self._begins else None
        done = generate(self._decoder, requests, begun)
        _count(counts, requests, done)
        if begun:
            counts.tokens_prompt += begun.tokens - sum(begun.starts)
        return done

    def _mixable(self, requests: Sequence[Request]) -> list[list[int]]:
        """Group the requests that may share a batch: all, or those of one length."""
        lengths: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            lengths.setdefault(0 if self._mixes else len(request.prompt), []).append(index)
        return list(lengths.values())


def _count(counts: Counts, requests: Sequence[Request], done: Sequence[Generation]) -> None:
    """Count requests that were generated together, each prompt as if it was read in full."""
    lengths = [len(generation.ids) for generation in done]
    prompts = [len(request.prompt) for request in requests]
    counts.rollouts += len(done)
    counts.tokens_prompt += sum(prompts)
    counts.tokens_decoded += sum(lengths)
    counts.decoding_steps += max(lengths)
    counts.keys_read += sum(
        length * prompt + length * (length + 1) // 2
        for length, prompt in zip(lengths, prompts, strict=True)
    )


class Forced(LogitsProcessor):
    """Keeps every row's scores, and lets all rows go on with the same token."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.seen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores ``[batch, vocab]`` in which only that token is possible."""
        self.seen.append(at_least_float32(scores))
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.token] = 0.0
        return forced


def reads_past_padding(decoder: Decoder, vocab_size: int) -> bool:
    """Whether a prompt goes on beside a longer one as it does alone, for two tokens.

    A recurrent state may take padding in, and attention with nothing to attend to may give NaN.
    """
    long = probe(vocab_size)
    short = long[:3]
    alone = _scores(decoder, [short], vocab_size)
    beside = _scores(decoder, [short, long], vocab_size)[:, :1]
    return alike(beside, alone, decoder.model.get_input_embeddings().weight.dtype)


def _scores(decoder: Decoder, prompts: list[list[int]], vocab_size: int) -> torch.Tensor:
    """Return scores of the first two tokens after each prompt, ``[2, batch, vocab]``."""
    forced = Forced(vocab_size // 2)
    processors = LogitsProcessorList([forced])
    greedily(decoder, *padded(decoder, prompts), most=2, ends=(), logits_processor=processors)
    return torch.stack(forced.seen)
