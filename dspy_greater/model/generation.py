"""Generation with different settings in every row of a batch.

``model.generate`` decodes greedily, and none of a checkpoint's own settings applies: a logits
processor picks each row's token and a stopping criterion ends each row (``rows``). When enough
rows have ended, the others go on in a smaller batch, with what the cache holds of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from dspy_greater.cost.counts import Counts
from dspy_greater.model.batching import Size, in_batches
from dspy_greater.model.cache import roomy
from dspy_greater.model.encoding import ChatEncoder
from dspy_greater.model.forward import Forward, alike, probe
from dspy_greater.model.prefix import Prefix, beginnings, distinct, of_like_length
from dspy_greater.model.requests import Generation, Request, TokenLogProb
from dspy_greater.model.rows import RowSampler, RowStops

#: What a token still to be generated costs, relative to one that is read: its place in the cache.
DECODED_COST = 0.25


class BatchedGeneration:
    """Continues prompts in micro-batches, which read once what prompts share, if that works."""

    def __init__(
        self,
        forward: Forward,
        encoder: ChatEncoder,
        ends: Sequence[int],
        context: int,
        budget: Size,
    ) -> None:
        self._forward, self._model, self._encoder = forward, forward.model, encoder
        self._ends, self._context, self._budget = ends, context, budget
        self._begins = False
        self._mixes = self._reads_past_padding()
        # Behind shared beginnings what is left of the prompts differs in length.
        self._begins = forward.shares and self._mixes

    def generate(self, requests: Sequence[Request], counts: Counts) -> list[Generation]:
        """Continue each prompt by its own settings, and count the work."""
        results: dict[int, Generation] = {}
        lengths: dict[int, list[int]] = {}  # all may share a batch, or those of one length
        for index, request in enumerate(requests):
            lengths.setdefault(0 if self._mixes else len(request.prompt), []).append(index)
        for rows in lengths.values():
            members = [requests[row] for row in rows]
            costs = [len(r.prompt) + int(DECODED_COST * r.sampling.max_tokens) for r in members]
            work = partial(self._batch, counts)
            done = in_batches(members, [*map(Size, costs)], self._budget, work)
            results.update(zip(rows, done, strict=True))
        return [results[row] for row in range(len(requests))]

    def _batch(self, counts: Counts, requests: list[Request]) -> list[Generation]:
        prompts = [request.prompt for request in requests]
        ids, mask, cache, read = self._begin(prompts)
        done = self._continued(requests, ids, mask, cache)
        lengths = [len(generation.ids) for generation in done]
        counts.rollouts += len(done)
        counts.tokens_prompt += read
        counts.tokens_decoded += sum(lengths)
        counts.decoding_steps += max(lengths)
        for length, prompt in zip(lengths, prompts, strict=True):  # as if each was read in full
            counts.keys_read += length * len(prompt) + length * (length + 1) // 2
        return done

    def _begin(
        self, prompts: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, DynamicCache | None, int]:
        """Return ids and mask ``[batch, width]``, what has been read of them, and tokens to read.

        What prompts share is read once, into a cache from which all of them go on at the same
        column. Its places come first (nobody reads the ids there), then padding, then the rest.
        """
        cache, starts, read = None, [0] * len(prompts), 0
        places = torch.zeros(len(prompts), 0, dtype=torch.long)  # 1 where there is no padding
        if self._begins:
            prefix, chosen, read = self._read(prompts)
            cache = roomy()
            if prefix is not None:
                prefix.cache(chosen, cache)
                places = prefix.mask[chosen].cpu()
                starts = [prefix.lengths[row] for row in chosen]
        pairs = zip(prompts, starts, strict=True)
        left = [torch.tensor(prompt[start:], dtype=torch.long) for prompt, start in pairs]
        padded = partial(pad_sequence, batch_first=True, padding_side="left")
        pad = self._forward.pad
        ids = torch.cat([torch.full_like(places, pad), padded(left, padding_value=pad)], dim=1)
        mask = torch.cat([places, padded([torch.ones_like(each) for each in left])], dim=1)
        device = self._forward.device
        return ids.to(device), mask.to(device), cache, read + sum(map(len, left))

    def _read(self, prompts: Sequence[Sequence[int]]) -> tuple[Prefix | None, list[int], int]:
        """Return what is read before prompts go on together, whose is whose, and tokens read.

        It is what prompts share and, on a CPU, all else but their last tokens, those of like length
        together: padding takes as long there as what is needed, and larger products gain nothing.
        """
        prefix, chosen, read = None, [0] * len(prompts), 0
        common, starts = beginnings(prompts)
        if max(starts):
            pairs = zip(prompts, starts, strict=True)
            heads, chosen = distinct([prompt[:start] for prompt, start in pairs])
            prefix = self._forward.read([prompts[0][:common]]) if common else None
            if max(starts) > common or prefix is None:
                prefix = self._forward.read(heads, prefix)
            read = common + sum(len(head) - common for head in heads)
        own = [len(prompt) - 1 - start for prompt, start in zip(prompts, starts, strict=True)]
        if self._forward.device.type != "cpu" or not min(own):
            return prefix, chosen, read
        chunks = of_like_length(own)
        parts = [
            self._forward.read([prompts[r][:-1] for r in rows], prefix, [chosen[r] for r in rows])
            for rows in chunks
        ]
        order = [row for rows in chunks for row in rows]
        places = [order.index(row) for row in range(len(prompts))]
        return Prefix.joined(parts), places, read + sum(own)

    def _continued(
        self, requests: Sequence[Request], ids: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> list[Generation]:
        """Continue every prompt, in one batch that rows leave when they have ended.

        Where there is no cache, the library makes its own, and all rows stay to the end.
        """
        width = ids.shape[1]
        # On MPS the library looks whether to stop one step late, when a sampled row drew again.
        leaving = cache is not None and ids.device.type != "mps"
        sampler = RowSampler(requests)
        stops = RowStops(self._encoder, self._ends, requests, width, leaving=leaving)
        ended: dict[int, list[int]] = {}
        rows = list(range(len(requests)))
        while rows:
            sampler.rows = stops.rows = rows
            ids = self._greedily(
                ids,
                mask,
                most=stops.most_left(),
                past_key_values=cache,
                logits_processor=LogitsProcessorList([sampler]),
                stopping_criteria=StoppingCriteriaList([stops]),
            )
            kept = [at for at, row in enumerate(rows) if stops.length[row] is None]
            ended |= zip(rows, ids[:, width:].tolist(), strict=True)
            rows = [rows[at] for at in kept]
            if cache is not None and rows:
                ids, mask = ids[kept], mask[kept]
                new = mask.new_ones(len(rows), ids.shape[1] - mask.shape[1])
                mask = torch.cat([mask, new], dim=1)
                cache.batch_select_indices(torch.tensor(kept, device=ids.device))
        own = [ended[row][:length] for row, length in enumerate(stops.length)]
        return [
            self._described(request, own[row], stops.stopped[row], sampler.record(row, own[row]))
            for row, request in enumerate(requests)
        ]

    def _greedily(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        most: int,
        logits: bool = False,
        **settings: Any,
    ) -> Any:
        """Let the library add up to ``most`` tokens to ids ``[batch, width]``, the likeliest.

        With ``logits`` no end token ends a row, and what comes back is an output that has them.
        """
        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            use_cache=True,
            max_new_tokens=most,
            eos_token_id=None if logits else list(self._ends) or None,
            pad_token_id=self._forward.pad,
            output_logits=logits,
            return_dict_in_generate=logits,
        )
        model = self._model
        with torch.no_grad(), only_config(model, config), _hooked(model, self._context):
            return model.generate(
                input_ids=ids, attention_mask=mask, generation_config=config, **settings
            )

    def _described(
        self,
        request: Request,
        ids: list[int],
        stopped: bool,
        log_probs: tuple[TokenLogProb, ...] | None,
    ) -> Generation:
        """Describe the tokens up to where a text ended, an end token included."""
        finish: Literal["stop", "length"] = "stop" if stopped else "length"
        if ids and ids[-1] in self._ends:
            ids, finish = ids[:-1], "stop"
        thinking = self._encoder.thinking
        block = thinking.length(request.prompt, ids) if thinking else 0
        how = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        text = str(self._encoder.tokenizer.decode(ids[block:], **how))
        cuts = [at for at in (text.find(stop) for stop in request.sampling.stop) if at >= 0]
        text = text[: min(cuts, default=None)]
        thought = thinking.text(ids[:block]) if thinking and block else ""
        log_probs = log_probs and log_probs[: len(ids)]
        return Generation(tuple(ids), text, finish, log_probs, block, thought)

    def _reads_past_padding(self) -> bool:
        """Whether a prompt goes on beside a longer one as it does alone, for two tokens.

        A recurrent state may take padding in, and attention with nothing to attend to gives NaN.
        """
        weight = self._model.get_input_embeddings().weight
        long = probe(weight.shape[0])
        forced = [weight.shape[0] // 2]  # so that all rows go on with the same token

        def scores(*prompts: list[int]) -> torch.Tensor:
            ids, mask, *_ = self._begin(prompts)
            output = self._greedily(
                ids, mask, most=2, logits=True, prefix_allowed_tokens_fn=lambda *_: forced
            )
            return torch.stack(output.logits)[:, 0]

        return alike(scores(long[:3], long), scores(long[:3]), weight.dtype)


@contextmanager
def _hooked(model: Any, context: int) -> Iterator[None]:
    """Keep finished rows within the model's positions, and what the head reads in one piece.

    A row with a long prompt is filled up while others go on: its position is held at the last one.
    ``generate`` counts columns, padding included, and would warn that the context is exceeded. It
    also slices the last position off a prompt, and in half precision the CPU's matrix
    product is slower by orders of magnitude on such a slice.
    """

    def hold(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("position_ids") is not None:
            kwargs["position_ids"] = kwargs["position_ids"].clamp(max=context - 1)
        return args, kwargs

    def in_one_piece(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].contiguous(), *args[1:])

    logger = logging.getLogger("transformers.generation.stopping_criteria")
    disabled, logger.disabled = logger.disabled, True
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
