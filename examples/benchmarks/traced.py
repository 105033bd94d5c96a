"""One light compile, with every bulk call on the model on record: what a plan is computed from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean
from typing import Any

import dspy

from dspy_greater import GreaterTeleprompter, local_lm
from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.results import DetailedResults
from dspy_greater.search import VerifiedConfig
from examples.benchmarks.common import program_with
from examples.benchmarks.models import load_model
from examples.benchmarks.speed import SEED, TASK, Costs, Machine, prompt_of
from examples.small_model.tasks import TASKS, examples

#: Task, seed, and training examples, of which as many again validate. One ends after a step, one
#: takes several, and one has twice the examples.
RUNS = (("arithmetic", 0, 50), ("sorting", 0, 50), ("letters", 1, 100))
MAX_TOKENS = 200
#: How often a question stands in the prompts whose rendering is timed.
LENGTHS = (1, 4, 16)


class Recorded(WhiteBox):
    """A white box that notes how many rows its calls had, and how long they took.

    Attributes:
        stage: Steps of the search so far.
        noted: By kind of work, ``rows``, ``calls``, ``full`` (tokens of the rows, shared ones and
            all) and ``seconds``; of generation also ``runs``, rows that answer a request of the
            program, and ``sampled``, those of them with a temperature.
        by_stage: Rows of ``noted`` by stage.
    """

    stage = 0

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.noted: dict[str, Counter[str]] = {}
        self.by_stage: list[Counter[str]] = []

    def generate(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> list[Any]:
        """Continue prompts; see :meth:`WhiteBox.generate`."""
        # What the program asks for ends at the adapter's marks; what the search writes does not.
        runs = [sampling for sampling in samplings if sampling.stop]
        more = {"runs": len(runs), "sampled": sum(s.temperature > 0 for s in runs)}
        work = partial(super().generate, prompts, samplings)
        return self._note("generate", prompts, work, more)

    def log_probs(self, items: Sequence[Any], **settings: Any) -> list[Any]:
        """Score targets; see :meth:`WhiteBox.log_probs`."""
        ids = [item.ids for item in items]
        return self._note("score", ids, partial(super().log_probs, items, **settings))

    def gradients(self, items: Sequence[Any], **settings: Any) -> list[Any]:
        """Take gradients; see :meth:`WhiteBox.gradients`."""
        ids = [item.ids for item in items]
        return self._note("gradient", ids, partial(super().gradients, items, **settings))

    def next_log_probs(self, sequences: Sequence[Sequence[int]], last: int = 1) -> Any:
        """Return distributions; see :meth:`WhiteBox.next_log_probs`."""
        return self._note("score", sequences, partial(super().next_log_probs, sequences, last))

    def _note(
        self,
        kind: str,
        sequences: Sequence[Sequence[int]],
        work: Callable[[], Any],
        more: dict[str, int] | None = None,
    ) -> Any:
        began = time.perf_counter()
        result = work()
        noted: dict[str, Any] = {
            "rows": len(sequences),
            "calls": 1,
            "full": sum(map(len, sequences)),
            "seconds": time.perf_counter() - began,
            **(more or {}),
        }
        self.noted.setdefault(kind, Counter()).update(noted)
        while len(self.by_stage) <= self.stage:
            self.by_stage.append(Counter())
        self.by_stage[self.stage][kind] += len(sequences)
        return result


def measure() -> dict[str, Any]:
    """Compile each of :data:`RUNS` and return machine, model and runs, JSON-able."""
    model, tokenizer = load_model("small")
    costs, config = Costs.of(model), model.config
    measured: dict[str, Any] = {
        "machine": vars(Machine.measure()),
        "model": {
            **vars(costs),
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "vocab": config.vocab_size,
        },
    }
    box = Recorded(model, tokenizer)
    box.generate([(5, 6, 7)], [Sampling(8)])  # what is done once
    measured["rendering"] = [rendering(box, times) for times in LENGTHS]
    measured["runs"] = [compiled(Recorded(model, tokenizer), *each) for each in RUNS]
    return measured


def rendering(box: WhiteBox, times: int) -> list[float]:
    """Return the tokens of prompts, in the mean, and the seconds that tokenising one takes."""
    asked = [
        dspy.Example(question=" ".join([each.question] * times), answer="").with_inputs("question")
        for each in examples(TASK, "train", 16, SEED)
    ]
    with dspy.context(adapter=dspy.ChatAdapter()):
        length = mean(len(prompt_of(box, each)) for each in asked)
        before = box.phases.seconds()["render"]
        for each in asked:
            prompt_of(box, each)
    return [length, (box.phases.seconds()["render"] - before) / len(asked)]


def compiled(box: Recorded, name: str, seed: int, size: int) -> dict[str, Any]:
    """Compile one task, and return what it did."""

    def step_over(event: Any) -> None:
        box.stage += 1

    task = TASKS[name]
    lm = local_lm(box, max_tokens=MAX_TOKENS, cache=False)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        teleprompter = GreaterTeleprompter(
            metric=task.metric,
            seed=seed,
            auto="light",
            progress=False,
            callback=step_over,
            max_examples=size,
        )
        program = teleprompter.compile(
            program_with(task),
            trainset=examples(name, "train", size, seed),
            valset=examples(name, "validation", size, seed),
        )
    return {"task": name, "seed": seed, **described(program.detailed_results, box)}


def described(record: DetailedResults, box: Recorded) -> dict[str, Any]:
    """Return what a compile of one predictor did: how far races went, rows, tokens and seconds."""
    (outcome,) = record.outcomes
    size, config = record.train_examples, VerifiedConfig()
    edits = [c for c in record.candidates if c.kind not in ("start", "tidy")]
    starts = [c for c in record.candidates if c.kind == "start" and c.step]
    searched = max((c.step for c in (*starts, *edits)), default=0)
    raced = {
        name: [sum(len(c.train_scores) > done for c in group) for done in (0, 8, 16, 32)]
        for name, group in (("starts", starts), ("edits", edits))
    }
    generated = box.noted["generate"]
    return {
        "train": size,
        "validation": record.validation_examples,
        "steps": searched,
        # What comes after the last step is tidying, the round that found nothing included.
        "tidied": len(box.by_stage) - searched,
        "stopped": outcome.stopped,
        "raced": raced,
        "validated": sum(c.validation_scores is not None for c in record.candidates) - 1,
        "sampled": generated["sampled"] / min(config.rollout_examples, size),
        "prompt": generated["full"] / generated["rows"],
        "completion": record.counts["tokens_decoded"] / record.counts["rollouts"],
        "instruction": outcome.tokens_after,
        "runs": record.total_calls,
        "calls": {kind: dict(noted) for kind, noted in box.noted.items()},
        "by_stage": [dict(rows) for rows in box.by_stage],
        "counts": record.counts,
        "phases": record.phases,
        "seconds": record.seconds,
    }
