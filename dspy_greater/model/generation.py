"""Generation with different settings in every row of a batch.

``model.generate`` decodes greedily, and none of a checkpoint's own settings applies: a logits
processor picks each row's token and a stopping criterion ends each row (``rows``). When enough
rows have ended, others that wait take their places, with what the cache holds of those that go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from dspy_greater.cost.counts import Counts
from dspy_greater.model.batching import Size, served
from dspy_greater.model.cache import Batch
from dspy_greater.model.encoding import ChatEncoder
from dspy_greater.model.forward import Forward, alike, probe
from dspy_greater.model.prompts import Prompts
from dspy_greater.model.requests import Generation, Request
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
            prompts = Prompts([request.prompt for request in members], self._forward, self._begins)
            work = partial(self._continued, members, prompts, counts)
            done = served(range(len(members)), [*map(Size, costs)], self._budget, work)
            counts.tokens_prompt += prompts.shared
            results.update(zip(rows, done, strict=True))
        return [results[row] for row in range(len(requests))]

    def _continued(
        self,
        requests: Sequence[Request],
        prompts: Prompts,
        counts: Counts,
        take: Callable[[int], list[int]],
    ) -> list[Generation]:
        """Continue all requests that are taken, in one batch.

        Rows leave it when they have ended, and others take their places. Where there is no cache,
        the library makes its own, and all rows stay to the end.
        """
        # On MPS the library looks whether to stop one step late, when a sampled row drew again.
        leaving = self._begins and self._forward.device.type != "mps"
        entering = leaving and min(len(request.prompt) for request in requests) > 1
        sampler = RowSampler(requests)
        stops = RowStops(self._encoder, self._ends, requests, leaving=leaving)
        rows = take(0)
        batch, read = prompts.begin(rows)
        order, own = list(rows), dict[int, list[int]]()
        while rows:
            sampler.rows = rows
            ids = self._greedily(
                batch,
                most=stops.go_on(rows, batch.ids.shape[1]),
                logits_processor=LogitsProcessorList([sampler]),
                stopping_criteria=StoppingCriteriaList([stops]),
            )
            ended = [at for at, row in enumerate(rows) if stops.length[row] is not None]
            own |= {rows[at]: stops.own(rows[at], ids[at]) for at in ended}
            kept = [at for at in range(len(rows)) if at not in ended]
            rows = [rows[at] for at in kept]
            if rows:
                batch = batch.going_on(ids, kept)
            if rows and entering and (new := take(len(rows))):
                begun, more = prompts.begin(new, whole=True)
                batch, read = batch.joined(begun), read + more
                rows, order = [*rows, *new], [*order, *new]
        counts.rollouts += len(order)
        counts.tokens_prompt += read
        counts.decoding_steps += stops.steps
        done = []
        for row in order:
            done.append(self._described(requests[row], own[row], stops.stopped[row]))
            length, prompt = len(done[-1].ids), len(requests[row].prompt)
            counts.tokens_decoded += length
            counts.keys_read += length * prompt + length * (length + 1) // 2  # as if read in full
        return done

    def _greedily(self, batch: Batch, most: int, logits: bool = False, **settings: Any) -> Any:
        """Let the library add up to ``most`` tokens to a batch's rows, the likeliest.

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
                input_ids=batch.ids,
                attention_mask=batch.mask,
                past_key_values=batch.cache,
                generation_config=config,
                **settings,
            )

    def _described(self, request: Request, ids: list[int], stopped: bool) -> Generation:
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
        return Generation(tuple(ids), text, finish, block, thought)

    def _reads_past_padding(self) -> bool:
        """Whether a prompt goes on beside a longer one as it does alone, for two tokens.

        A recurrent state may take padding in, and attention with nothing to attend to gives NaN.
        """
        weight = self._model.get_input_embeddings().weight
        long = probe(weight.shape[0])
        forced = [weight.shape[0] // 2]  # so that all rows go on with the same token

        def scores(*prompts: list[int]) -> torch.Tensor:
            batch, _ = Prompts(prompts, self._forward, self._begins).begin(range(len(prompts)))
            output = self._greedily(
                batch, most=2, logits=True, prefix_allowed_tokens_fn=lambda *_: forced
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
