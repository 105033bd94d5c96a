"""Whether a server holds the weights of the white box, before any run is sent to it.

What is accepted is accepted on the runs of the server and proposed by the gradients of the white
box. If the two are different models, nothing fails; the search is only worse, and nobody would know
why. So a few of the program's own prompts are answered by the server first, without chance, and the
white box reads what it wrote.

Two copies of the same weights do not answer alike to the letter: number formats and the order of
sums differ, and where two tokens are nearly equally likely the one or the other comes out. So each
token of an answer need not be the white box's own choice there, but about as likely as that.

Tolerances come from the small model of this repository in fp32, read against copies of it, on six
tasks with a weak instruction: 4 examples each, 9 prompts of 48 tokens
(``python -m examples.benchmark copies``). For each copy the smallest and the largest of six
figures: the widest gap in the program's own prompts, and the mean loss and distance over all
answers; and on how many of the six tasks it passes.

==================================== ============= =============== =============== =======
copy                                 gap           loss            distance        passes
==================================== ============= =============== =============== =======
fp16                                 0             0               0.0003 - 0.0010 6
bf16                                 0 - 0.05      0 - 0.0063      0.0028 - 0.0155 6
int8, weights alone                  0             0.0001 - 0.0049 0.0038 - 0.0148 6
noise of 1 % of a weight's spread    0 - 0.66      0.0016 - 0.0095 0.0064 - 0.0253 6
allowed                              2             0.015           0.04
noise of 3 %                         0 - 0.66      0.010 - 0.046   0.021 - 0.071   2
int4, a scale for each row           0 - 0.29      0.016 - 0.081   0.013 - 0.125   0
20 batches of further training       0 - 1.08      0.019 - 0.129   0.034 - 0.231   0
==================================== ============= =============== =============== =======

On the bare inputs int8 takes single tokens that the white box holds for 7 less likely, where the
small model, which never saw such prompts, copies from one place or another: in a mean, one token
counts at most 1. Weights in 4 bits are other weights by these figures; load the white box in them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from statistics import mean

import dspy
from dspy import lm15
from dspy.clients.base_lm import BaseLM
from dspy.utils.exceptions import LMError, LMInvalidRequestError, LMUnsupportedFeatureError

from dspy_greater.basics.spans import Message
from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.program import Predictor, call_of, render
from dspy_greater.program.errors import shown
from dspy_greater.program.outages import remedy
from dspy_greater.running.reading import Answer, Reading, distances, loss, read

#: Examples that are tried, and tokens of each answer.
PROMPTS, TOKENS = 4, 48
#: A prompt on which models differ, whatever the program is.
OPEN = "Write a short story about a lighthouse keeper who finds a letter."
#: How much less likely than the white box's own choice a token may be, in log-probability, in the
#: answers to the program's prompts.
GAP = 2.0
#: How much less likely the tokens of all answers may be in the mean, where one counts at most 1.
LOSS = 0.015
#: How far the server's log-probabilities may be from the white box's in the mean, likewise.
DISTANCE = 0.04
#: Sampled answers to each prompt.
SAMPLES = 4
#: How unlikely it must be that they are all alike before that is held against the server.
CHANCE = 1e-6
# What of an LM's settings says how to reach it, and not what to ask it.
CONNECTION = {
    *("api_key", "api_base", "base_url", "headers", "extra_headers", "timeout", "api_version"),
    *("organization", "project", "extra_query", "custom_llm_provider", "azure_ad_token_provider"),
}
# What is asked of it here, or is DSPy's own business.
OWN = {
    *("temperature", "max_tokens", "max_completion_tokens", "top_p", "top_k", "stop", "seed"),
    *("logprobs", "top_logprobs", "n", "num_generations", "rollout_id", "prompt_cache"),
}


class ServedError(ValueError):
    """The server behind ``rollout_lm`` cannot stand in for the white box."""


@dataclass(frozen=True)
class Prompt:
    """A prompt of the program.

    Attributes:
        place: Where it comes from, for messages: the predictor and the example.
        messages: What is sent.
        is_own: Whether the program sends it as it is.
    """

    place: str
    messages: tuple[Message, ...]
    is_own: bool = False


def prompts_of(
    predictors: Sequence[Predictor], examples: Sequence[dspy.Example], adapter: dspy.Adapter
) -> list[Prompt]:
    """Return a few prompts of the program, of several predictors if there are, and others.

    What a program asks for may be so clear that every model of a family writes the same. Without
    instructions they drift apart: each prompt comes a second time with nothing but its inputs, and
    one asks for a story.

    A predictor further down the program is shown the inputs that its example has.
    """
    prompts = []
    for index, each in list(product(range(len(examples)), predictors))[:PROMPTS]:
        call = replace(call_of(each, examples[index]), fixed=each.fixed)
        place = f"predictor {each.name!r} on the training example {shown(dict(examples[index]))}"
        prompts.append(Prompt(f"the prompt of {place}", render(adapter, call).messages, True))
        bare = "\n".join(f"{name}: {value}" for name, value in call.inputs.items())
        if bare:
            messages = (Message(role="user", content=bare),)
            prompts.append(Prompt(f"the bare inputs of {place}", messages))
    prompts.append(Prompt("an open question", (Message(role="user", content=OPEN),)))
    return prompts


def check_served(
    lm: BaseLM, model: WhiteBox, prompts: Sequence[Prompt], temperature: float | None = None
) -> None:
    """Raise unless a server answers a few prompts as the white box would.

    Args:
        lm: The server.
        model: The white box.
        prompts: What to ask it.
        temperature: Of the sampled rollouts that it is to make; None if there are none.

    Raises:
        ServedError: It gives no answer, holds other weights, or gives samples that are all alike.
            The message says what each of the two wrote and what to do.
    """
    answers = _asked(lm, [(prompt, Sampling(max_tokens=TOKENS)) for prompt in prompts])
    readings = read(model, [prompt.messages for prompt in prompts], answers, TOKENS)
    _check_choices(lm, model, prompts, answers, readings)
    _check_log_probs(lm, model, answers, readings)
    if temperature is not None:
        _check_samples(lm, prompts, readings, temperature)


def _asked(lm: BaseLM, questions: Sequence[tuple[Prompt, Sampling]]) -> list[Answer]:
    with _cut_short(), ThreadPoolExecutor(max_workers=len(questions)) as pool:
        return list(pool.map(lambda question: _ask(lm, *question), questions))


@contextmanager
def _cut_short() -> Iterator[None]:
    """Keep DSPy from warning of answers that end at their limit, as they are meant to here."""
    logger = logging.getLogger("dspy.clients.lm")

    def others(entry: logging.LogRecord) -> bool:
        return "truncated" not in entry.getMessage()

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)


def _ask(lm: BaseLM, prompt: Prompt, sampling: Sampling) -> Answer:
    """Ask a server, for log-probabilities too unless it refuses to give them."""
    config = lm15.Config(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        logprobs=0,
        extensions={
            key: value
            for key, value in lm.kwargs.items()
            if key not in CONNECTION | OWN and value is not None
        }
        or None,
    )
    try:
        try:
            response = _complete(lm, prompt, config)
        except (LMInvalidRequestError, LMUnsupportedFeatureError):
            response = _complete(lm, prompt, replace(config, logprobs=None))
    except LMError as error:
        raise ServedError(
            f"rollout_lm {lm.model} gave no answer to {prompt.place}: "
            f"{type(error).__name__}: {error}. {remedy(error)}"
        ) from error
    parts = response.message.parts
    return Answer(
        text="".join(part.text for part in parts if isinstance(part, lm15.TextPart)),
        thinking="".join(part.text for part in parts if isinstance(part, lm15.ThinkingPart)),
        ended=response.finish_reason == "stop",
        log_probs=tuple((each.token, each.logprob) for each in response.logprobs or ()),
        prompt_tokens=response.usage.input_tokens or 0,
    )


def _complete(lm: BaseLM, prompt: Prompt, config: lm15.Config) -> lm15.Response:
    request = lm15.request_from_openai_chat({"model": lm.model, "messages": list(prompt.messages)})
    # No run of the program: the user's callbacks are not to hear of it.
    with dspy.context(callbacks=[]):
        return lm(replace(request, config=config), cache=False)


def _check_choices(
    lm: BaseLM,
    model: WhiteBox,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    readings: Sequence[Reading],
) -> None:
    """Refuse a server that takes tokens which the white box would not."""
    if not any(answer.text or answer.thinking for answer in answers):
        raise ServedError(
            f"rollout_lm {lm.model} answered {len(prompts)} prompts with nothing at all, the first "
            f"of them {prompts[0].place}. {_mend(model)}"
        )
    gaps = [reading.gaps() for reading in readings]
    lost = loss(readings)
    own = [index for index, prompt in enumerate(prompts) if prompt.is_own]
    worst = max(own, key=lambda index: max(gaps[index]))
    if max(gaps[worst]) <= GAP:
        if lost <= LOSS:
            return
        worst = max(range(len(gaps)), key=lambda index: sum(gaps[index]))
    told = _difference(model, prompts[worst], answers[worst], readings[worst])
    raise ServedError(
        f"rollout_lm {lm.model} does not answer as the white box {model.name} does: {told} Of a "
        f"token of such a prompt {GAP:g} are allowed, and of all {sum(map(len, gaps))} tokens in "
        f"the mean, each at most 1, {LOSS:g}; here it is {lost:.3f}. {_mend(model)}"
    )


def _difference(model: WhiteBox, prompt: Prompt, answer: Answer, reading: Reading) -> str:
    """Say where an answer is furthest from what the white box would write."""
    gaps, ids = reading.gaps(), reading.ids
    at = gaps.index(max(gaps))
    cause = "it holds other weights, or answers with other settings"
    if answer.prompt_tokens not in (0, reading.read):
        cause = (
            f"it read {answer.prompt_tokens} tokens where the white box reads {reading.read}, so "
            "its chat template or tokenizer is another one"
        )
    if at < len(ids):
        step = f"it took {model.encoder.decode([ids[at]])!r}, where the white box takes "
        step += repr(model.encoder.decode([int(reading.table[at].argmax())]))
    elif answer.ended:
        step = "it ended its answer, where the white box goes on"
    else:
        step = "it wrote what no tokens of the white box make up"
    apart = f": a difference of {gaps[at]:.2f} in log-probability" if gaps[at] < math.inf else ""
    return (
        f"{cause}. To {prompt.place} it wrote {answer.thinking + answer.text!r} and the white box "
        f"{reading.own!r}. Behind {model.encoder.decode(ids[:at])[-40:]!r} {step}{apart}."
    )


def _check_log_probs(
    lm: BaseLM, model: WhiteBox, answers: Sequence[Answer], readings: Sequence[Reading]
) -> None:
    """Refuse a server whose log-probabilities are not the white box's, if it gives any."""
    apart = distances(model, answers, readings)
    if apart and mean(apart) > DISTANCE:
        raise ServedError(
            f"rollout_lm {lm.model} writes what the white box {model.name} would, but with other "
            f"probabilities: over {len(apart)} tokens of {len(answers)} answers, the two "
            f"models' log-probabilities are {mean(apart):.3f} apart in the mean, and "
            f"{DISTANCE:g} are allowed. It holds other weights. {_mend(model)}"
        )


def _check_samples(
    lm: BaseLM, prompts: Sequence[Prompt], readings: Sequence[Reading], temperature: float
) -> None:
    """Refuse a server whose samples are all alike though that can be no chance."""
    chances = [float(reading.log_probs(temperature).sum()) for reading in readings]
    # As few prompts as do, those first on which the model is least sure.
    asked: list[int] = []
    for index in sorted(range(len(prompts)), key=chances.__getitem__):
        asked.append(index)
        if (SAMPLES - 1) * sum(chances[index] for index in asked) < math.log(CHANCE):
            break
    else:
        return  # so sure of all that it writes that nothing can be told
    samplings = [Sampling(TOKENS, temperature, seed=seed) for seed in range(SAMPLES)]
    sampled = _asked(lm, [(prompts[index], each) for index in asked for each in samplings])
    texts = [(answer.thinking, answer.text) for answer in sampled]
    rows = [texts[start : start + SAMPLES] for start in range(0, len(texts), SAMPLES)]
    if all(len(set(row)) == 1 for row in rows):
        raise ServedError(
            f"rollout_lm {lm.model} does not sample: asked for {SAMPLES} answers at temperature "
            f"{temperature:g} and with {SAMPLES} seeds, to {prompts[asked[0]].place} it gave "
            f"{texts[0][1]!r} every time. transformers serve samples only where the folder's "
            'generation_config.json has "do_sample": true, and with --continuous-batching all '
            "requests have the settings of the first: set the former, leave out the latter, or "
            "serve with vLLM or SGLang."
        )


def _mend(model: WhiteBox) -> str:
    return (
        f"Serve the model and chat template that the white box was loaded from ({model.name}), or "
        "give it as target_lm= if another model is meant to verify."
    )
