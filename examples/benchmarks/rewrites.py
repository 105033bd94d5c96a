"""Does a gradient say which part of an instruction to rewrite?

    python -m examples.benchmark rewrites --model FOLDER --tasks disambiguation_qa \
        --instructions FILE --out examples/results/rewrites.jsonl

From each of a few instructions the model rewrites one clause, as often for each way to choose it:

- *gradient*: where the objective's gradient is longest, in the mean over the clause's tokens;
- *masked*: the one whose absence raises the objective most, or lowers it least;
- *random*: any;
- *whole*: all of them at once.

The objective is the mean, over training questions, of how much likelier the right answer is than
the wrong ones that were written under any of the instructions (mean log-probability of a token).
Half of the rewrites are asked for in the chat template, the other half are filled in between what
stands before and behind, where the tokenizer has marks for that. A rewrite improves an instruction
that has a lower score on questions of which the choice knows nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import numpy as np

from dspy_greater import local_lm
from dspy_greater.basics.spans import Message
from dspy_greater.model import Sampling, Targeted
from dspy_greater.search.verified.requests import read
from examples.benchmarks.common import Cases, markdown
from examples.benchmarks.instructions import as_text
from examples.benchmarks.models import quiet
from examples.benchmarks.rollouts import Rollout, Writing, shared_arguments
from examples.published_schedule.white_box import GradientBox
from examples.tasks import load

ARMS = ("gradient", "masked", "random", "whole")
#: A clause ends at such a mark before a space, or at the end of a line.
_CLAUSE = re.compile(r".+?(?:[.,;:!?](?=\s)|\n|\Z)\s*", re.DOTALL)
#: Fewest clauses of an instruction that is rewritten; examples that the model is shown.
CLAUSES, SHOWN = 3, 3
#: What marks the middle that is to be filled in, as Qwen, StarCoder and others write it.
FILL = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
REQUEST = (
    "Here are examples of a task:\n\n{examples}\n\nThis instruction tells a language model how to "
    "do it:\n\n{instruction}\n\nIt is not good enough. Write something better in the place of this "
    "part of it:\n\n{part}\n\nWrite the new text for this part alone."
)
TEMPERATURE = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    shared_arguments(parser)
    parser.add_argument("--starts", type=int, default=3, help="instructions to rewrite")
    parser.add_argument("--rewrites", type=int, default=4, help="for each start and each way")
    parser.add_argument("--train", type=int, default=16, help="questions of the objective")
    parser.add_argument("--judged", type=int, default=32, help="questions that tell what improves")


def run(options: argparse.Namespace) -> str:
    """Run what is missing, and return a table with a row for each way to choose."""
    quiet()
    listed = [json.loads(line) for line in options.instructions.read_text().splitlines()]
    sizes = {k: vars(options)[k] for k in ("train", "judged", "rewrites", "seed")}
    cases = Cases(options.out, {"model": options.name or Path(options.model).stem, **sizes})
    lm = None
    for name in options.tasks:
        texts = [
            e["text"] for e in listed if e["task"] == name and len(parts(e["text"])) >= CLAUSES
        ]
        starts = list(dict.fromkeys(texts))[: options.starts]
        missing = [i for i in range(len(starts)) if cases.lack(task=name, start=i)]
        if missing:
            lm = lm or local_lm(options.model, max_tokens=options.max_tokens, cache=False)
            task = load(name, options.data).without_reasoning()
            trial = Trial(Writing(task, lm, options.max_tokens), starts, options)
            for index in missing:
                cases.add(task=name, start=index, **trial.case(starts[index]))
    return table(cases.read())


@dataclass
class Trial:
    """One task's rewrites."""

    writing: Writing
    starts: Sequence[str]
    options: argparse.Namespace

    def __post_init__(self) -> None:
        splits = self.writing.task.splits(self.options.seed)
        self.train = splits.train[: self.options.train]
        self.judged = splits.test[: self.options.judged]
        made = self.writing.greedy(self.starts, self.train)
        self.wrong = [wrong([runs[i] for runs in made]) for i in range(len(self.train))]

    def case(self, start: str) -> dict[str, Any]:
        """Return, by way to choose, the scores of the rewrites of one start."""
        clauses, rng = parts(start), Random(f"{self.options.seed} {start}")
        chosen = {
            "gradient": int(np.argmax(self.lengths(start))),
            "masked": int(np.argmax([self.objective(t) for t in without_each(clauses)])),
        }
        (base,) = self.scores([start])
        found: dict[str, Any] = {"clauses": len(clauses), "base": base, "chosen": chosen}
        for arm in ARMS:
            texts = []
            for number in range(self.options.rewrites):
                place = chosen.get(arm, rng.randrange(len(clauses)))
                span = range(len(clauses)) if arm == "whole" else range(place, place + 1)
                texts.append(self.rewrite(clauses, span, number, rng))
            found[arm] = self.scores(texts)
        return found

    def terms(self, instruction: str) -> Iterator[tuple[float, Targeted]]:
        """Yield the objective's items, each with its weight."""
        for example, ids in zip(self.train, self.wrong, strict=True):
            if ids:
                yield (
                    1.0,
                    self.writing.after(instruction, example, self.writing.label(example)),
                )
                yield from (
                    (-1 / len(ids), self.writing.after(instruction, example, each)) for each in ids
                )

    def objective(self, instruction: str) -> float:
        """Return the objective's value."""
        weights, items = zip(*self.terms(instruction), strict=True)
        values = self.writing.model.log_probs(items)
        return sum(w * float(v.mean()) for w, v in zip(weights, values, strict=True))

    def lengths(self, instruction: str) -> list[float]:
        """Return the mean length of the objective's gradient in each clause."""
        weights, items = zip(*self.terms(instruction), strict=True)
        gradients = GradientBox.of(self.writing.model).gradients(items)
        pairs = zip(weights, gradients, strict=True)
        total = sum(-weight * gradient.positions for weight, gradient in pairs)
        norms = [float(row.norm()) for row in total]
        prompt = items[0]
        ids = prompt.ids[slice(*prompt.inputs)]
        ends = np.cumsum([len(part) for part in parts(instruction)])
        decode = self.writing.model.encoder.decode
        # The clause of a token is that in which it ends.
        places = [
            int(np.searchsorted(ends, min(len(decode(ids[: i + 1])), ends[-1])))
            for i in range(len(ids))
        ]
        return [
            float(
                np.mean(
                    [n for n, place in zip(norms, places, strict=True) if place == clause] or [0]
                )
            )
            for clause in range(len(ends))
        ]

    def rewrite(self, clauses: Sequence[str], span: range, number: int, rng: Random) -> str:
        """Return an instruction with other words in a span; the old one where none came."""
        before, after = "".join(clauses[: span.start]), "".join(clauses[span.stop :])
        part = "".join(clauses[span.start : span.stop])
        model = self.writing.model
        shown = "\n\n".join(as_text(e) for e in rng.sample(self.train, SHOWN))
        fills = all(model.encoder.special_tokens_in(mark) for mark in FILL)
        if fills and number % 2:
            first, behind, middle = FILL
            text = f"{first}{shown}\n\nInstruction: {before}{behind}{after}{middle}"
            prompt = model.encoder.tokenizer.encode(text, add_special_tokens=False)
        else:
            text = REQUEST.format(
                examples=shown, instruction=before + part + after, part=part.strip()
            )
            prompt = model.encode([Message(role="user", content=text)]).ids
        limit = 2 * len(model.encoder.tokenizer.encode(part)) + 16
        sampling = Sampling(
            limit, TEMPERATURE, top_p=0.9, stop=("\n\n",), seed=rng.randrange(2**32)
        )
        (written,) = model.generate([prompt], [sampling])
        new = read(written.text, whole=written.finish == "stop").strip()
        return f"{before}{new}{part[len(part.rstrip()) :]}{after}" if new else before + part + after

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the mean scores of instructions on the questions that tell what improves."""
        return [mean(r.score for r in runs) for runs in self.writing.greedy(texts, self.judged)]


def wrong(answers: Sequence[Rollout]) -> list[tuple[int, ...]]:
    """Return the different answers to a question that earned no reward."""
    return list(dict.fromkeys(each.ids for each in answers if not each.score and each.ids))


def parts(instruction: str) -> list[str]:
    """Return the clauses of an instruction; together they are the whole."""
    return _CLAUSE.findall(instruction)


def without_each(clauses: Sequence[str]) -> list[str]:
    """Return an instruction without each of its clauses in turn."""
    return ["".join(c for i, c in enumerate(clauses) if i != left) for left in range(len(clauses))]


def table(cases: Sequence[dict[str, Any]]) -> str:
    """Return, by way to choose, how many rewrites improve, beside the random clause's share."""
    rows = []
    for arm in ARMS:
        gains = [[score - case["base"] for score in case[arm]] for case in cases]
        every = [gain for each in gains for gain in each]
        ratio, low, high = yield_ratio(cases, arm)
        rows.append(
            [
                arm,
                str(len(every)),
                f"{mean(gain > 0 for gain in every):.0%}",
                f"{100 * mean(every):+.1f}",
                f"{100 * mean(max(each) for each in gains):+.1f}",
                f"{ratio:.2f} ({low:.2f} to {high:.2f})",
            ]
        )
    header = ["clause", "rewrites", "improve", "mean gain", "mean best", "improve / random [95 %]"]
    return markdown(header, rows)


def yield_ratio(cases: Sequence[dict[str, Any]], arm: str) -> tuple[float, float, float]:
    """Return how many times as often as random ones an arm's rewrites improve, by bootstrap.

    Starts are drawn with replacement; one success is added to both sides, so that none is not
    infinitely many.
    """
    counts = np.array(
        [[sum(s > case["base"] for s in case[name]) for name in (arm, "random")] for case in cases]
    )
    picks = np.random.default_rng(0).integers(0, len(counts), (10_000, len(counts)))
    sums = counts[picks].sum(axis=1) + 1
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    mine, random = counts.sum(axis=0) + 1
    return float(mine / random), float(low), float(high)
