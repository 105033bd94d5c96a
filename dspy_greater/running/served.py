"""Whether a server holds the weights of the white box, before any run is sent to it.

If it does not, the search is only worse. So the server first answers a few prompts without chance,
and the white box reads what it wrote: each token need not be its own choice, but about as likely.
``python -m examples.benchmark copies`` measures copies of the repository's small model: those in
16 bits and in int8 pass, int4 and twenty batches of further training do not.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from statistics import mean
from typing import NamedTuple

import dspy
import torch
from dspy import lm15
from dspy.clients.base_lm import BaseLM
from dspy.utils.exceptions import LMError

from dspy_greater.basics.overheard import TRUNCATED
from dspy_greater.basics.spans import Message
from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.program import Predictor, call_of, render
from dspy_greater.program.errors import REMEDY, shown
from dspy_greater.running.lms import REACHED_BY

#: Examples that are tried, and tokens of each answer.
PROMPTS, TOKENS = 4, 48
#: A prompt on which models differ, whatever the program is.
OPEN = "Write a short story about a lighthouse keeper who finds a letter."
#: How far behind the likeliest a token may be, in log-probability, in answers to the program's
#: prompts; and all tokens in the mean, each at most 1.
GAP, LOSS = 2.0, 0.015
# Settings of an LM that are left out here: how it is reached, what is set here, and DSPy's own.
NOT_ASKED = {
    *REACHED_BY,
    *("temperature", "max_tokens", "max_completion_tokens", "top_p", "top_k", "stop", "seed"),
    *("logprobs", "top_logprobs", "n", "num_generations", "rollout_id", "prompt_cache"),
}


class ServedError(ValueError):
    """The server behind ``rollout_lm`` cannot stand in for the white box."""


@dataclass(frozen=True)
class Answer:
    """What a server wrote, ``ended`` by itself or at the limit.

    ``prompt_tokens`` is how many the server read; 0 where it does not say.
    """

    text: str
    thinking: str = ""
    ended: bool = False
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Reading:
    """An answer as the white box reads it, and its ``own`` behind the ``read`` tokens.

    Each of the ids was chosen from log-probabilities ``[ids, vocab]``; ``end`` is by how much the
    white box would rather go on where the server ended its answer.
    """

    own: str
    read: int
    ids: tuple[int, ...]
    table: torch.Tensor
    end: float

    def gaps(self) -> list[float]:
        """Return by how much the likeliest token is likelier than each of the answer's."""
        own = self.table[range(len(self.ids)), self.ids]
        return [*(self.table.amax(dim=-1) - own).tolist(), self.end]


class Prompt(NamedTuple):
    """Messages, where they come from, and whether the program sends them as they are."""

    place: str
    messages: tuple[Message, ...]
    is_own: bool = False


def prompts_of(
    predictors: Sequence[Predictor], examples: Sequence[dspy.Example], adapter: dspy.Adapter
) -> list[Prompt]:
    """Return a few prompts of the program, each also with nothing but its inputs, and a story's.

    On the latter models of a family drift apart.
    """
    prompts = []
    for example, each in list(product(examples, predictors))[:PROMPTS]:
        call = replace(call_of(each, example), fixed=each.fixed)
        place = f"predictor {each.name!r} on the training example {shown(dict(example))}"
        prompts.append(Prompt(f"the prompt of {place}", render(adapter, call).messages, True))
        bare = "\n".join(f"{name}: {value}" for name, value in call.inputs.items())
        if bare:
            messages = (Message(role="user", content=bare),)
            prompts.append(Prompt(f"the bare inputs of {place}", messages))
    prompts.append(Prompt("an open question", (Message(role="user", content=OPEN),)))
    return prompts


def check_served(lm: BaseLM, model: WhiteBox, prompts: Sequence[Prompt]) -> None:
    """Raise unless a server answers as the white box."""
    answers = _asked(lm, prompts)
    readings = read(model, [prompt.messages for prompt in prompts], answers, TOKENS)
    if complaint := _complaint(model, prompts, answers, readings):
        raise ServedError(
            f"rollout_lm {lm.model} {complaint} Serve the model and chat template that the white "
            f"box was loaded from ({model.name}), or give it as target_lm= if another model is "
            "meant to verify."
        )


def _complaint(
    model: WhiteBox,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    readings: Sequence[Reading],
) -> str:
    """Say what is wrong with the answers, and where they are furthest from the white box's."""
    if not any(answer.text or answer.thinking for answer in answers):
        return f"answered {len(prompts)} prompts, such as {prompts[0].place}, with nothing at all."
    gaps, lost = [reading.gaps() for reading in readings], loss(readings)
    worst = max(range(len(gaps)), key=lambda index: (prompts[index].is_own, max(gaps[index])))
    if max(gaps[worst]) <= GAP:
        if lost <= LOSS:
            return ""
        worst = max(range(len(gaps)), key=lambda index: sum(gaps[index]))
    answer, reading, decode = answers[worst], readings[worst], model.encoder.decode
    cause = (
        "it holds other weights (another quantization of the same model is that, too: load here "
        "the file that it serves), or answers with other settings"
    )
    if answer.prompt_tokens not in (0, reading.read):
        cause = (
            f"it read {answer.prompt_tokens} tokens where the white box reads {reading.read}, so "
            "its chat template or tokenizer is another one"
        )
    at, step = gaps[worst].index(max(gaps[worst])), "ended its answer, where the white box goes on"
    if at < len(reading.ids):
        best = decode([int(reading.table[at].argmax())])
        step = f"took {decode([reading.ids[at]])!r}, where the white box takes {best!r}"
    return (
        f"does not answer as the white box {model.name} does: {cause}. To {prompts[worst].place} "
        f"it wrote {answer.thinking + answer.text!r} and the white box {reading.own!r}. Behind "
        f"{decode(reading.ids[:at])[-40:]!r} it {step}: a difference of {gaps[worst][at]:.2f} in "
        f"log-probability. Of a token of such a prompt {GAP:g} are allowed, and of all "
        f"{sum(map(len, gaps))} tokens in the mean, each at most 1, {LOSS:g}; here it is "
        f"{lost:.3f}."
    )


def _asked(lm: BaseLM, prompts: Sequence[Prompt]) -> list[Answer]:
    """Ask a server, without DSPy's warnings of answers that end at their limit as they are to."""

    def is_other(entry: logging.LogRecord) -> bool:
        return TRUNCATED not in entry.getMessage()

    logger = logging.getLogger("dspy.clients.lm")
    logger.addFilter(is_other)
    try:
        with ThreadPoolExecutor(max_workers=len(prompts)) as pool:
            return list(pool.map(lambda prompt: _ask(lm, prompt), prompts))
    finally:
        logger.removeFilter(is_other)


def _ask(lm: BaseLM, prompt: Prompt) -> Answer:
    request = lm15.request_from_openai_chat({"model": lm.model, "messages": list(prompt.messages)})
    given = (key for key, value in lm.kwargs.items() if value is not None)
    config = lm15.Config(
        temperature=0.0,
        max_tokens=TOKENS,
        extensions={key: lm.kwargs[key] for key in given if key not in NOT_ASKED} or None,
    )
    try:
        with dspy.context(callbacks=[]):  # no run of the program, of which the user's are to hear
            response = lm(replace(request, config=config), cache=False)
    except LMError as error:
        raise ServedError(
            f"rollout_lm {lm.model} gave no answer to {prompt.place}: "
            f"{type(error).__name__}: {error}. {REMEDY}"
        ) from error
    text, thinking = (
        "".join(part.text for part in response.message.parts if isinstance(part, kind))
        for kind in (lm15.TextPart, lm15.ThinkingPart)
    )
    ended = response.finish_reason == "stop"
    return Answer(text, thinking, ended, response.usage.input_tokens or 0)


def read(
    model: WhiteBox, prompts: Sequence[Sequence[Message]], answers: Sequence[Answer], limit: int
) -> list[Reading]:
    """Let the white box read the answers, of ``limit`` tokens at most, to some prompts."""
    before = [model.encode(messages).ids for messages in prompts]
    own = model.generate(before, [Sampling(max_tokens=limit)] * len(prompts))
    readings = []
    for messages, prompt, first, answer in zip(prompts, before, own, answers, strict=True):
        text, written = model.encoder.decode(first.ids), _written(model, prompt, answer)
        ids, ended = first.ids, answer.ended
        if written.strip() != text.strip():  # servers may leave out white space around an answer
            # What comes behind half a character, by whatever bytes, cannot be followed.
            written, half, _ = written.partition("\ufffd")
            ids = model.encode(messages, completion=written).ids[len(prompt) :][:limit]
            ended = ended and not half
        table = model.next_log_probs([(*prompt, *ids)], last=len(ids) + 1)[0]
        end = 0.0
        if ended:
            (rest,) = model.generate([(*prompt, *ids)], [Sampling(max_tokens=2)])
            if rest.text.strip() or rest.finish != "stop":  # more than white space
                end = float(table[-1].max() - table[-1, list(model.end_ids)].max())
        readings.append(Reading(text, len(prompt), ids, table[:-1], end))
    return readings


def loss(readings: Sequence[Reading]) -> float:
    """Return the mean gap, each at most 1: few large ones may be near ties that went elsewhere."""
    return mean(min(1.0, gap) for reading in readings for gap in reading.gaps())


def _written(model: WhiteBox, before: Sequence[int], answer: Answer) -> str:
    """Return all that was written; servers may take out what was thought, with the marks."""
    thinking = model.encoder.thinking
    if not answer.thinking or thinking is None:
        return answer.text
    block = thinking.written(answer.thinking, model.encoder.decode(before))
    if not answer.text:  # the limit came before the block's end
        block = block.partition(answer.thinking)[0] + answer.thinking
    return block + answer.text
