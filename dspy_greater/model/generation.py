"""Generation with different settings in every row of a batch.

``model.generate`` does the decoding (caches, positions, masks). It is called in its greedy mode;
one logits processor picks each row's token by that row's own settings, and one stopping criterion
ends each row by its own limits. Requests with different temperatures, seeds, stop strings and
lengths can so share a batch, and none of a checkpoint's own sampling defaults applies. When enough
rows have ended, the others go on in a smaller batch, with what the cache holds of them.

A seeded row draws from a generator of its own, by Gumbel-max: ``argmax(log p - log E)`` with
``E ~ Exp(1)`` is a sample from p, and the same noise gives the same token whatever else is in the
batch, as long as the log-probabilities agree but for rounding.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from dspy_greater.model.cache import RoomyCache
from dspy_greater.model.forward import at_least_float32

#: Rows that have ended before the others go on without them; beginning anew has a price.
FEWEST_LEAVING = 4


@dataclass(frozen=True)
class Sampling:
    """How to generate one text.

    Attributes:
        max_tokens: Most tokens to generate.
        temperature: 0 is greedy.
        top_p: Sample among the likeliest tokens that together have this probability.
        top_k: Sample among this many likeliest tokens; 0 is all.
        stop: Strings that end the text; they are cut off.
        seed: Same seed and prompt, same text, whatever the batch; other prompts draw on their
            own. None takes a seed from torch's global state.
        logprobs: Record log-probabilities, with this many alternatives a token. None is neither.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}.")
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be 0 (greedy) or more, not {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or more, not {self.top_k}.")
        if self.logprobs is not None and self.logprobs < 0:
            raise ValueError(f"logprobs must be None, 0 or more, not {self.logprobs}.")
        stop: object = self.stop  # a bare string is an easy mistake: it would stop at each letter
        if not isinstance(stop, tuple) or not all(isinstance(s, str) and s for s in stop):
            raise ValueError(f"stop must be a tuple of non-empty strings, not {self.stop!r}.")


@dataclass(frozen=True)
class TokenLogProb:
    """Log-probability of a generated token under the model (temperature 1, nothing cut away).

    Attributes:
        id: The token.
        log_prob: Its log-probability.
        top: The likeliest (token, log-probability) pairs at its place, likeliest first.
    """

    id: int
    log_prob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Generation:
    """One generated text.

    Attributes:
        ids: The generated tokens without the end token. The tokens of a stop string are among
            them: a stop string may begin in the middle of a token.
        text: Their text without special tokens, the stop string cut off.
        finish: ``stop`` at an end token or a stop string, ``length`` at the limit.
        log_probs: One per id, when asked for.
    """

    ids: tuple[int, ...]
    text: str
    finish: Literal["stop", "length"]
    log_probs: tuple[TokenLogProb, ...] | None = None


@dataclass(frozen=True)
class Request:
    """A prompt and how to continue it; ``sampling.max_tokens`` fits the context."""

    prompt: Sequence[int]
    sampling: Sampling


@dataclass(frozen=True)
class EndTokens:
    """Tokens that end a text, and the one that fills finished rows."""

    ends: tuple[int, ...]
    pad: int


@dataclass(frozen=True)
class Decoder:
    """What it takes to generate with one model.

    Attributes:
        model: The causal language model.
        tokenizer: Its tokenizer.
        tokens: The tokens that end a text and fill rows.
        context: Most positions the model can read.
        device: Where token ids go in.
    """

    model: Any
    tokenizer: Any
    tokens: EndTokens
    context: int
    device: torch.device


@dataclass(frozen=True)
class Begun:
    """Prompts of which the beginning has been read.

    Attributes:
        cache: Keys and values, row by row.
        starts: Tokens of each prompt that are in the cache.
        mask: ``[batch, places]``, 1 where a place of the cache holds a token and not padding.
    """

    cache: RoomyCache
    starts: Sequence[int]
    mask: torch.Tensor


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
    ids, mask = (each.to(decoder.device) for each in _padded(requests, decoder.tokens.pad, begun))
    width = ids.shape[1]
    # On MPS the library looks whether to stop one step late, when a sampled row has drawn again.
    leaving = cache is not None and decoder.device.type != "mps"
    sampler, stops = RowSampler(requests), RowStops(decoder, requests, width, leaving=leaving)
    ended: dict[int, list[int]] = {}
    rows = list(range(len(requests)))
    while rows:
        sampler.rows = stops.rows = rows
        ids = _continued(decoder, ids, mask, cache, sampler, stops)
        kept = [at for at, row in enumerate(rows) if stops.length[row] is None]
        ended |= {row: ids[at, width:].tolist() for at, row in enumerate(rows) if at not in kept}
        rows = [rows[at] for at in kept]
        if cache is not None and rows:
            ids, mask = ids[kept], mask[kept]
            mask = torch.cat([mask, mask.new_ones(len(rows), ids.shape[1] - mask.shape[1])], dim=1)
            cache.batch_select_indices(torch.tensor(kept, device=ids.device))
    return [
        _generation(decoder, request.sampling, ended[row], stops, sampler, row)
        for row, request in enumerate(requests)
    ]


def _padded(
    requests: Sequence[Request], pad: int, begun: Begun | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask ``[batch, width]``; all rows continue at the same column.

    The places of the cache come first (nobody reads the ids there), then padding, then what is
    left of each prompt.
    """
    starts = begun.starts if begun else [0] * len(requests)
    left = [request.prompt[start:] for request, start in zip(requests, starts, strict=True)]
    longest = max(len(prompt) for prompt in left)
    ids = torch.full((len(requests), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(left):
        ids[row, longest - len(prompt) :] = torch.as_tensor(prompt, dtype=torch.long)
        mask[row, longest - len(prompt) :] = 1
    if begun is None:
        return ids, mask
    places = torch.full_like(begun.mask, pad)
    return torch.cat([places, ids], dim=1), torch.cat([begun.mask, mask], dim=1)


def _continued(
    decoder: Decoder,
    ids: torch.Tensor,
    mask: torch.Tensor,
    cache: Cache | None,
    sampler: RowSampler,
    stops: RowStops,
) -> torch.Tensor:
    """Let the library add tokens to ``ids`` until ``stops`` ends all rows; ``[batch, time]``."""
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=stops.most_left(),
        eos_token_id=list(decoder.tokens.ends) or None,
        pad_token_id=decoder.tokens.pad,
    )
    with torch.no_grad(), only_config(decoder.model, config), within_context(decoder):
        output: torch.Tensor = decoder.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            past_key_values=cache,
            logits_processor=LogitsProcessorList([sampler]),
            stopping_criteria=StoppingCriteriaList([stops]),
        )
    return output


def _generation(
    decoder: Decoder,
    sampling: Sampling,
    ids: list[int],
    stops: RowStops,
    sampler: RowSampler,
    row: int,
) -> Generation:
    """Cut one row at its end and describe it."""
    ids = ids[: stops.length[row]]
    finish: Literal["stop", "length"] = "stop" if stops.stopped[row] else "length"
    if ids[-1] in decoder.tokens.ends:
        ids, finish = ids[:-1], "stop"
    text = str(
        decoder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )
    cuts = [at for at in (text.find(stop) for stop in sampling.stop) if at >= 0]
    log_probs = None
    if sampling.logprobs is not None:
        log_probs = sampler.record(row, ids, sampling.logprobs)
    return Generation(tuple(ids), text[: min(cuts)] if cuts else text, finish, log_probs)


@contextmanager
def within_context(decoder: Decoder) -> Iterator[None]:
    """Keep finished rows within the model's positions while the others go on.

    Every row ends before its own positions run out, but a row with a long prompt is filled up while
    one with a short prompt goes on, and would leave a table of learned positions. What such a row
    reads and writes no longer matters, so its position is held at the last one. ``generate`` counts
    columns, padding included, and would warn that the context is exceeded: it is not.
    """

    def hold(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("position_ids") is not None:
            kwargs["position_ids"] = kwargs["position_ids"].clamp(max=decoder.context - 1)
        return args, kwargs

    warnings = logging.getLogger("transformers.generation.stopping_criteria")
    handle = decoder.model.register_forward_pre_hook(hold, with_kwargs=True)
    warnings.addFilter(_nothing)
    try:
        yield
    finally:
        warnings.removeFilter(_nothing)
        handle.remove()


def _nothing(record: logging.LogRecord) -> bool:
    """A logging filter that lets nothing through."""
    return False


@contextmanager
def only_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Hide the checkpoint's generation defaults.

    ``generate`` fills every setting that is not given from ``model.generation_config``; a
    checkpoint's temperature or repetition penalty would make "greedy" something else.
    """
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


class RowSampler(LogitsProcessor):
    """Chooses each row's next token by that row's own settings.

    The choice is handed on as scores of which only the chosen token's is finite, so that the
    greedy search that follows takes it.

    Attributes:
        rows: Which request each row of the batch continues.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.rows = list(range(len(requests)))
        self._requests = requests
        self._generators: dict[int, torch.Generator] = {}
        wanted = [r.sampling.logprobs for r in requests if r.sampling.logprobs is not None]
        self._alternatives = max(wanted, default=None)
        self._steps: list[tuple[list[int], torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores ``[batch, vocab]`` in which only the chosen token is possible."""
        log_probs = torch.log_softmax(at_least_float32(scores), dim=-1)
        chosen = log_probs.argmax(dim=-1)
        sampled = [
            at for at, row in enumerate(self.rows) if self._requests[row].sampling.temperature > 0
        ]
        if sampled:
            places = torch.tensor(sampled, device=scores.device)
            chosen[places] = self._draw(log_probs[places], [self.rows[at] for at in sampled])
        if self._alternatives is not None:
            top = log_probs.topk(min(self._alternatives, log_probs.shape[-1]), dim=-1)
            of_chosen = log_probs.gather(1, chosen[:, None])[:, 0]
            self._steps.append((self.rows, of_chosen, top.values, top.indices))
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    def record(self, row: int, ids: Sequence[int], count: int) -> tuple[TokenLogProb, ...]:
        """Return what was recorded of a request's tokens, with ``count`` alternatives each."""
        records = []
        for token, (rows, chosen, top, top_ids) in zip(ids, self._steps, strict=False):
            at = rows.index(row)
            pairs = zip(top_ids[at, :count].tolist(), top[at, :count].tolist(), strict=True)
            records.append(TokenLogProb(token, float(chosen[at]), tuple(pairs)))
        return tuple(records)

    def _draw(self, log_probs: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """One token for each of some requests; ``[rows, vocab]`` to ``[rows]``."""
        settings = [self._requests[row].sampling for row in rows]
        temperature = torch.tensor([s.temperature for s in settings], device=log_probs.device)
        scaled = log_probs / temperature[:, None]
        if any(s.top_k or s.top_p < 1 for s in settings):
            scaled = keep_likeliest(scaled, settings)
        noise = torch.empty_like(scaled)
        for row, into in zip(rows, noise, strict=True):
            into.exponential_(generator=self._generator(row, log_probs.device))
        return (scaled - noise.log()).argmax(dim=-1)

    def _generator(self, row: int, device: torch.device) -> torch.Generator:
        if row not in self._generators:
            request = self._requests[row]
            self._generators[row] = generator(request.sampling.seed, request.prompt, device)
        return self._generators[row]


def keep_likeliest(scaled: torch.Tensor, settings: Sequence[Sampling]) -> torch.Tensor:
    """Apply each row's top-k, then its top-p; ``[rows, vocab]``, the rest at minus infinity."""
    vocab = scaled.shape[-1]
    device = scaled.device
    top_k = torch.tensor([s.top_k or vocab for s in settings], device=device)
    top_p = torch.tensor([s.top_p for s in settings], device=device)
    ordered, order = scaled.sort(dim=-1, descending=True, stable=True)
    keep = torch.arange(vocab, device=device) < top_k[:, None]
    probs = torch.softmax(ordered.masked_fill(~keep, -torch.inf), dim=-1)
    before = probs.cumsum(dim=-1) - probs
    # A row without top-p keeps its tail even where rounding lets the sum reach one early.
    keep &= (before < top_p[:, None]) | (top_p[:, None] >= 1)
    keep[:, 0] = True
    ordered = ordered.masked_fill(~keep, -torch.inf)
    return torch.empty_like(scaled).scatter_(1, order, ordered)


def generator(seed: int | None, prompt: Sequence[int], device: torch.device) -> torch.Generator:
    """A random generator of one row's own.

    The prompt goes into the seed: rows that share a seed would otherwise all draw the same
    noise, and their samples would err in the same direction.
    """
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    text = f"{seed} {list(prompt)}".encode()
    mixed = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    return torch.Generator(device=device).manual_seed(mixed % 2**63)


class RowStops(StoppingCriteria):
    """Ends each row at its own length, at an end token or at a stop string.

    Attributes:
        rows: Which request each row of the batch continues.
        length: By request, tokens generated when it ended, end token included; None before.
        stopped: By request, whether a stop string ended it.
    """

    def __init__(
        self, decoder: Decoder, requests: Sequence[Request], width: int, *, leaving: bool
    ) -> None:
        """Begin with all rows running.

        Args:
            decoder: The model.
            requests: All requests.
            width: Columns before the first token that is generated.
            leaving: Whether to end the whole batch as soon as enough rows have ended, so that
                the others can go on without them.
        """
        self.rows = list(range(len(requests)))
        self.length: list[int | None] = [None] * len(requests)
        self.stopped = [False] * len(requests)
        self._decoder = decoder
        self._samplings = [request.sampling for request in requests]
        self._width = width
        self._leaving = leaving
        # A token stands for at least one byte, so a stop string spans at most as many tokens as it
        # has bytes; a few more, because decoding may drop a space at the start of the tail.
        self._tails = [
            max((len(text.encode()) + 4 for text in sampling.stop), default=0)
            for sampling in self._samplings
        ]
        self._pieces: dict[int, str] = {}
        self._produced = 0

    def most_left(self) -> int:
        """Return how many tokens the longest of the rows may still have."""
        return max(self._samplings[row].max_tokens for row in self.rows) - self._produced

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Bool ``[batch]``: which rows are done; all of them when it is time to leave."""
        self._produced = input_ids.shape[1] - self._width
        running = [at for at, row in enumerate(self.rows) if self.length[row] is None]
        last = input_ids[:, -1].tolist()
        stopping = self._stopping(input_ids, running)
        for at in running:
            row = self.rows[at]
            self.stopped[row] = at in stopping
            full = self._produced >= self._samplings[row].max_tokens
            if self.stopped[row] or full or last[at] in self._decoder.tokens.ends:
                self.length[row] = self._produced
        done = [self.length[row] is not None for row in self.rows]
        if self._leaving and sum(done) >= max(FEWEST_LEAVING, len(done) / 4):
            done = [True] * len(done)
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)

    def _may_end(self, row: int, token: int) -> bool:
        """Whether one of a row's stop strings can end in a token: a look that is nearly free."""
        stop = self._samplings[row].stop
        if stop and token not in self._pieces:
            self._pieces[token] = str(self._decoder.tokenizer.convert_ids_to_tokens(token))
        return any(_may_hold(self._pieces[token], text[-1]) for text in stop)

    def _stopping(self, input_ids: torch.Tensor, running: Sequence[int]) -> set[int]:
        """Return the running rows whose last tokens contain one of their stop strings."""
        newest = input_ids[:, -1].tolist()
        watched = [at for at in running if self._may_end(self.rows[at], newest[at])]
        if not watched:
            return set()
        last = input_ids[:, -min(self._produced, max(self._tails)) :].tolist()
        tails = self._decoder.tokenizer.batch_decode(
            [last[at][-self._tails[self.rows[at]] :] for at in watched],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        return {
            at
            for at, tail in zip(watched, tails, strict=True)
            if any(stop in tail for stop in self._samplings[self.rows[at]].stop)
        }


def _may_hold(piece: str, character: str) -> bool:
    """Whether a token's name allows for a character: as it stands, or hidden in bytes."""
    visible = "!" <= character <= "~"  # what every kind of tokenizer writes as it is
    return not visible or character in piece or piece.startswith("<0x")
