"""Generation with different settings in every row of a batch.

``model.generate`` decodes greedily, and none of a checkpoint's own settings applies: a logits
processor picks each row's token and a stopping criterion ends each row (``rows``). When enough
rows have ended, the others go on in a smaller batch, with what the cache holds of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from dspy_greater.cost.counts import Counts
from dspy_greater.model.batching import BatchLimit, Size, in_batches
from dspy_greater.model.forward import Forward, alike, probe
from dspy_greater.model.prefix import RoomyCache, beginnings, distinct
from dspy_greater.model.requests import Generation, Request, TokenLogProb
from dspy_greater.model.rows import EndTokens, RowSampler, RowStops
from dspy_greater.model.thinking import Thinking

#: What a token still to be generated costs, relative to one that is read: its place in the cache.
DECODED_COST = 0.25


@dataclass(frozen=True)
class Decoder:
    """What it takes to generate with one model that reads ``context`` positions at most."""

    model: Any
    tokenizer: Any
    tokens: EndTokens
    context: int
    device: torch.device
    thinking: Thinking | None


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

    Where nothing has ``begun``, the library makes its own cache, and all rows stay to the end.
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
    logits: bool = False,
    **settings: Any,
) -> Any:
    """Let the library add up to ``most`` tokens to ids ``[batch, width]``, always the likeliest.

    After one of the ``ends`` a row is only filled up. With ``logits`` an output that has them.
    """
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=most,
        eos_token_id=list(ends) or None,
        pad_token_id=decoder.tokens.pad,
        output_logits=logits,
        return_dict_in_generate=logits,
    )
    with torch.no_grad(), only_config(decoder.model, config), _hooked(decoder):
        return decoder.model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, **settings
        )


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
    how = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    text = str(decoder.tokenizer.decode(ids[block:], **how))
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

    A row with a long prompt is filled up while others go on: its position is held at the last one.
    ``generate`` counts columns, padding included, and would warn that the context is exceeded. It
    also slices the last position off a prompt, and in half precision the CPU's matrix
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
    model = decoder.model
    try:
        with (
            model.register_forward_pre_hook(hold, with_kwargs=True),
            model.get_output_embeddings().register_forward_pre_hook(in_one_piece),
        ):
            yield
    finally:
        logger.disabled = disabled


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
    """Continues prompts in micro-batches, which read once what prompts share, if that works."""

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
        lengths: dict[int, list[int]] = {}  # all may share a batch, or those of one length
        for index, request in enumerate(requests):
            lengths.setdefault(0 if self._mixes else len(request.prompt), []).append(index)
        for rows in lengths.values():
            members = [requests[row] for row in rows]
            most = [int(DECODED_COST * each.sampling.max_tokens) for each in members]
            sizes = [Size(len(each.prompt) + n) for each, n in zip(members, most, strict=True)]
            done = in_batches(members, sizes, self._budget, partial(self._batch, counts))
            results.update(zip(rows, done, strict=True))
        return [results[row] for row in range(len(requests))]

    def _batch(self, counts: Counts, requests: list[Request]) -> list[Generation]:
        prompts = [request.prompt for request in requests]
        begun = Begun.of(self._forward, prompts) if self._begins else None
        done = generate(self._decoder, requests, begun)
        lengths = [len(generation.ids) for generation in done]
        counts.rollouts += len(done)
        counts.tokens_prompt += sum(map(len, prompts))
        if begun:
            counts.tokens_prompt += begun.tokens - sum(begun.starts)
        counts.tokens_decoded += sum(lengths)
        counts.decoding_steps += max(lengths)
        for length, prompt in zip(lengths, prompts, strict=True):  # as if each was read in full
            counts.keys_read += length * len(prompt) + length * (length + 1) // 2
        return done


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
    ids, mask = padded(decoder, prompts)
    forced = [vocab_size // 2]  # so that all rows go on with the same token
    output = greedily(
        decoder,
        ids,
        mask,
        most=2,
        ends=(),
        logits=True,
        prefix_allowed_tokens_fn=lambda *_: forced,
    )
    return torch.stack(output.logits)
