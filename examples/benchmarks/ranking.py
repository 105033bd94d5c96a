"""Do likelihoods rank whole instructions better than running a few examples does?

    python -m examples.benchmark ranking --model FOLDER --tasks disambiguation_qa \
        --instructions FILE --out examples/results/ranking.jsonl

Every instruction is run on training and held-out questions, and every answer that any of them gave
to a training question is scored under all of them. Then, a thousand times, eight training questions
and four instructions whose answers are known are drawn, and the others are ranked:

- *runs*: by their score on these eight questions;
- *success*: by the mean log-probability of known answers that earned a reward;
- *contrast*: by that, less the mean log-probability of known answers to the same question that
  earned none, where there are both;
- *label*: by the mean log-probability of the right answer in the adapter's form;
- *label, contrast*: by that, less that of known answers without a reward;
- *runs, label*: by the score on the questions, and among equal ones by *label, contrast*.

Log-probabilities are means over the tokens that were really written. A rank correlation is with the
held-out score. What is in --out already is not run again; texts are not kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from random import Random
from statistics import correlation, mean
from typing import Any

import dspy

from dspy_greater import local_lm
from examples.benchmarks.common import Cases, bootstrap, markdown
from examples.benchmarks.models import quiet
from examples.benchmarks.rollouts import Rollout, Writing, shared_arguments
from examples.tasks import load

#: Questions that a ranking sees, instructions whose answers are known; drawn so often.
SEEN, KNOWN, DRAWS = 8, 4, 1_000
#: Too little to change the order of different scores on so few questions.
TIE = 1e-5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    shared_arguments(parser)
    parser.add_argument("--train", type=int, default=30, help="training questions")
    parser.add_argument("--held-out", type=int, default=60)


def run(options: argparse.Namespace) -> str:
    """Run what is missing, and return a table with a row for each task."""
    quiet()
    listed = [json.loads(line) for line in options.instructions.read_text().splitlines()]
    name = options.name or Path(options.model).stem
    sizes = {"train": options.train, "held_out": options.held_out, "seed": options.seed}
    cases, lm = Cases(options.out, {"model": name, **sizes}), None
    for task_name in options.tasks:
        if cases.lack(task=task_name):
            lm = lm or local_lm(options.model, max_tokens=options.max_tokens, cache=False)
            task = load(task_name, options.data).without_reasoning()
            texts = list(dict.fromkeys(e["text"] for e in listed if e["task"] == task_name))
            cases.add(task=task_name, **_case(Writing(task, lm, options.max_tokens), texts, sizes))
    return table(cases.read())


def _case(writing: Writing, texts: Sequence[str], sizes: dict[str, int]) -> dict[str, Any]:
    """Run a task's instructions, and score every answer under each."""
    splits, counts = writing.task.splits(sizes["seed"]), []
    train = [*splits.train, *splits.validation][: sizes["train"]]
    model = writing.model
    before = model.counts.snapshot()
    made = writing.greedy(texts, train)
    counts.append((model.counts - before).tokens)
    held_out = writing.greedy(texts, splits.test[: sizes["held_out"]])
    before = model.counts.snapshot()
    questions = _questions(writing, texts, train, list(zip(*made, strict=True)))
    counts.append((model.counts - before).tokens)
    return {
        "digests": [sha256(text.encode()).hexdigest()[:12] for text in texts],
        "scores": [mean(each.score for each in runs) for runs in held_out],
        "questions": questions,
        "tokens": dict(zip(("runs", "log_probs"), counts, strict=True)),
    }


def _questions(
    writing: Writing,
    texts: Sequence[str],
    examples: Sequence[dspy.Example],
    answers: Sequence[Sequence[Rollout]],
) -> list[dict[str, Any]]:
    """Score the different answers to each question, and its label, under every instruction."""
    different = [list(dict.fromkeys(each for each in those if each.ids)) for those in answers]
    pairs = list(zip(examples, different, strict=True))
    # All at once: what prompts have in common is read once.
    items = [
        [
            writing.after(text, example, ids)
            for ids in (*(r.ids for r in those), writing.label(example))
        ]
        for example, those in pairs
        for text in texts
    ]
    values = iter(writing.model.log_probs(list(chain.from_iterable(items))))
    rows = [[round(float(next(values).mean()), 4) for _ in row] for row in items]
    found = []
    for index, those in enumerate(different):
        mine = rows[index * len(texts) : (index + 1) * len(texts)]
        found.append(
            {
                "runs": [each.score for each in answers[index]],
                "answers": [
                    {
                        "score": each.score,
                        "of": [i for i, other in enumerate(answers[index]) if other == each],
                        "log_probs": [row[place] for row in mine],
                    }
                    for place, each in enumerate(those)
                ],
                "label": [row[-1] for row in mine],
            }
        )
    return found


@dataclass(frozen=True)
class Draw:
    """What one ranking may see: some questions, and the answers of some instructions."""

    questions: Sequence[dict[str, Any]]
    known: frozenset[int]

    def answers(self, question: dict[str, Any], rewarded: bool, candidate: int) -> list[float]:
        """Return how likely a candidate finds the known answers with a reward, or those without."""
        return [
            each["log_probs"][candidate]
            for each in question["answers"]
            if (each["score"] > 0) == rewarded and not self.known.isdisjoint(each["of"])
        ]

    def runs(self, candidate: int) -> float:
        """Return the score on the questions."""
        return mean(question["runs"][candidate] for question in self.questions)

    def success(self, candidate: int) -> float:
        """Return the likelihood of rewarded answers."""
        right = [self.answers(question, True, candidate) for question in self.questions]
        return mean_of(mean(each) for each in right if each)

    def contrast(self, candidate: int) -> float:
        """Return how much likelier rewarded answers are than others to the same question."""
        pairs = [
            (self.answers(question, True, candidate), self.answers(question, False, candidate))
            for question in self.questions
        ]
        return mean_of(mean(right) - mean(wrong) for right, wrong in pairs if right and wrong)

    def label(self, candidate: int) -> float:
        """Return the likelihood of the right answer."""
        return mean(question["label"][candidate] for question in self.questions)

    def label_contrast(self, candidate: int) -> float:
        """Return how much likelier the right answer is than known wrong ones."""
        pairs = [
            (question["label"][candidate], self.answers(question, False, candidate))
            for question in self.questions
        ]
        return mean_of(label - mean(wrong) for label, wrong in pairs if wrong)

    def runs_label(self, candidate: int) -> float:
        """Return the score on the questions, with the contrast to break ties."""
        return self.runs(candidate) + TIE * self.label_contrast(candidate)


#: By name, what ranks.
MEASURES: dict[str, Callable[[Draw, int], float]] = {
    "runs": Draw.runs,
    "success": Draw.success,
    "contrast": Draw.contrast,
    "label": Draw.label,
    "label, contrast": Draw.label_contrast,
    "runs, label": Draw.runs_label,
}


def mean_of(values: Any) -> float:
    """Return a mean, 0 of nothing."""
    listed = list(values)
    return mean(listed) if listed else 0.0


def correlations(case: dict[str, Any]) -> dict[str, list[float]]:
    """Return, by measure, the rank correlations with held-out scores over the draws."""
    rng, count = Random(0), len(case["scores"])
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for _ in range(DRAWS):
        questions = rng.sample(case["questions"], min(SEEN, len(case["questions"])))
        known = rng.sample(range(count), KNOWN)
        draw = Draw(questions, frozenset(known))
        others = [candidate for candidate in range(count) if candidate not in known]
        held_out = [case["scores"][candidate] for candidate in others]
        for name, measure in MEASURES.items():
            values = [measure(draw, candidate) for candidate in others]
            found[name].append(rank_correlation(values, held_out))
    return found


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's correlation, ties at their mean rank; 0 where one side is all ties."""
    if min(one) == max(one) or min(other) == max(other):
        return 0.0
    return correlation(_ranks(one), _ranks(other))


def _ranks(values: Sequence[float]) -> list[float]:
    return [sum(v < value for v in values) + values.count(value) / 2 for value in values]


def table(cases: Sequence[dict[str, Any]]) -> str:
    """Return the mean rank correlations, by model and task, and over all with an interval."""
    rows, means = [], []
    for case in cases:
        found = {name: mean(values) for name, values in correlations(case).items()}
        means.append(found)
        spread = f"{100 * min(case['scores']):.0f} to {100 * max(case['scores']):.0f}"
        share = case["tokens"]["log_probs"] / case["tokens"]["runs"]
        values = [f"{value:+.2f}" for value in found.values()]
        rows.append([case["model"], case["task"], spread, f"{share:.1f}", *values])
    over = [bootstrap([found[name] for found in means]) for name in MEASURES]
    rows.append(["all", "", "", "", *(f"{m:+.2f} ({a:+.2f} to {b:+.2f})" for m, a, b in over)])
    header = ["model", "task", "held out, %", "tokens, all answers / runs", *MEASURES]
    return markdown(header, rows)
