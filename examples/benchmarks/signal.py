"""Which cheap estimate of an edit foretells its true effect on held-out accuracy."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import dspy
import numpy as np
import torch
from scipy.stats import spearmanr

from dspy_greater.lm import white_box
from dspy_greater.model import Targeted
from dspy_greater.search import Answer, Mixture, Objective, Policy, Success
from dspy_greater.search.verified.estimates import exact, own_log_probs, slope, substitutions
from dspy_greater.search.verified.objectives import Rollouts, Term, softened
from examples.benchmarks.common import (
    RESULTS,
    Cases,
    accuracies,
    bootstrap,
    markdown,
    starting_points,
    subject_of,
)
from examples.quickstart import SMALL_MODEL, load
from examples.small_model.tasks import TASKS, examples

# By name, with whether their rewards are softened.
OBJECTIVES: dict[str, tuple[Objective, bool]] = {
    "answer": (Answer(), False),
    "policy": (Policy(), False),
    "policy, soft rewards": (Policy(), True),
    "success": (Success(), False),
    "policy + answer": (Mixture(((Policy(), 1.0), (Answer(), 0.1))), False),
}
TRAIN, ROLLOUTS, CONTEXTS = 24, 4, 8
LIKELY = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--edits", type=int, default=60, help="candidate edits of each case")
    parser.add_argument("--held-out", type=int, default=128, help="questions for the true effect")
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> str:
    """Fill in the missing cases and return the table."""
    lm = load(SMALL_MODEL)
    settings = {"model": lm.model, "edits": options.edits, "held_out": options.held_out}
    cases = Cases(RESULTS / "signal.jsonl", {**settings, "seed": options.seed})
    for task in options.tasks:
        for start, text in starting_points(task).items():
            if cases.lack(task=task, start=start):
                cases.add(task=task, start=start, **Case(task, text, options, lm).measure())
    return table(cases.read())


@dataclass
class Case:
    """One task from one starting instruction: predictions and true effects of the same edits."""

    task: str
    instruction: str
    options: argparse.Namespace
    lm: dspy.LM

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.task} {self.instruction} {self.options.seed}")
        self.model = white_box(self.lm)
        self.subject = subject_of(self.task, self.instruction, TRAIN, self.options.seed, self.lm)
        self.tokens = self.subject.tokens(self.instruction)
        self.known: dict[Targeted, np.ndarray] = {}
        contexts = self.subject.contexts(range(CONTEXTS))
        self.taste, self.taste_cost = self._costing(
            lambda: own_log_probs(self.model, self.tokens, contexts)
        )

    def measure(self) -> dict[str, Any]:
        """Return predictions by name, their cost in tokens, and the true effects."""
        edits = self._edits()
        rollouts, sampling_cost = self._costing(self._rollouts)
        predictions: dict[str, list[float]] = {
            "random": [self.rng.random() for _ in edits],
            "model's taste": [self._taste(place, token) for place, token, _ in edits],
        }
        costs = {"random": 0, "model's taste": self.taste_cost}
        rewarded = {False: rollouts, True: softened(self.subject, rollouts)}
        for name, (objective, soft) in OBJECTIVES.items():
            terms = objective.terms(self.subject, rewarded[soft])
            length = sum(len(term.item.ids) for term in terms)
            predictions[f"{name}, gradient"] = self._first_order(terms, edits)
            costs[f"{name}, gradient"] = sampling_cost + length
            predictions[f"{name}, exact"] = self._exact(terms, edits)
            costs[f"{name}, exact"] = sampling_cost + length * (len(edits) + 1)
        return {
            "instruction": self.instruction,
            "edits_tried": [text for _, _, text in edits],
            "predictions": predictions,
            "tokens": costs,
            **self._truth([text for _, _, text in edits]),
        }

    def _rollouts(self) -> Rollouts:
        seeds = [self.rng.randrange(2**31) for _ in range(ROLLOUTS)]
        sampled = self.subject.sample(self.instruction, range(TRAIN), seeds, 1.0)
        runs = tuple(run for each in sampled for run in each)
        rewards = tuple(run.score for run in runs)
        return Rollouts(self.instruction, tuple(range(TRAIN)) * ROLLOUTS, runs, rewards)

    def _edits(self) -> list[tuple[int, int, str]]:
        """Draw replacements of one token, in turn of what the model likes there and of anything."""
        allowed = self.model.allowed_tokens().nonzero()[:, 0].tolist()
        liked = self.taste[:-1, allowed].topk(LIKELY, dim=1).indices
        found: dict[str, tuple[int, int, str]] = {}
        while len(found) < self.options.edits:
            place = self.rng.randrange(len(self.tokens))
            from_model = len(found) % 2 == 0
            index = int(liked[place, self.rng.randrange(LIKELY)]) if from_model else None
            token = self.rng.choice(allowed) if index is None else allowed[index]
            text = self.subject.text_of((*self.tokens[:place], token, *self.tokens[place + 1 :]))
            if text is not None and text != self.instruction:
                found.setdefault(text, (place, token, text))
        return list(found.values())

    def _taste(self, place: int, token: int) -> float:
        return float(self.taste[place, token] - self.taste[place, self.tokens[place]])

    def _first_order(self, terms: Any, edits: Sequence[tuple[int, int, str]]) -> list[float]:
        found = slope(self.model, terms) if terms else None
        if found is None:
            return [0.0] * len(edits)
        tokens = sorted({token for _, token, _ in edits})
        gains: torch.Tensor = substitutions(self.model, found.positions, self.tokens, tokens)
        return [float(gains[place, tokens.index(token)]) for place, token, _ in edits]

    def _exact(self, terms: Sequence[Term], edits: Sequence[tuple[int, int, str]]) -> list[float]:
        """Score each item under every edit, once: objectives differ in their weights only."""
        texts = [(*self.tokens[:p], t, *self.tokens[p + 1 :]) for p, t, _ in edits]
        for item in {term.item for term in terms} - self.known.keys():
            before, *after = exact(self.model, [Term(item, 1.0)], [self.tokens, *texts])
            self.known[item] = np.array(after) - before
        total = sum((term.weight * self.known[term.item] for term in terms), np.zeros(len(edits)))
        return total.tolist()

    def _costing(self, work: Callable[[], Any]) -> tuple[Any, int]:
        before = self.model.counts.snapshot()
        result = work()
        return result, (self.model.counts - before).tokens

    def _truth(self, texts: Sequence[str]) -> dict[str, Any]:
        """Run every edit on held-out questions, greedily, as it would be used."""
        task, count = TASKS[self.task], self.options.held_out
        questions = examples(self.task, "validation", count, self.options.seed)
        before, *after = accuracies(task, [self.instruction, *texts], questions, self.lm)
        return {"base": mean(before), "effects": [mean(scores) - mean(before) for scores in after]}


def table(cases: list[dict[str, Any]]) -> str:
    """Return how well each estimate ranks edits: all, and those of either source alone."""
    parts = {
        "All edits": slice(None),
        f"Edits to one of the model's {LIKELY} likeliest tokens there": slice(0, None, 2),
        "Edits to any token": slice(1, None, 2),
    }
    tables = [f"{title}:\n\n{_table(cases, part)}" for title, part in parts.items()]
    return "\n\n".join([*tables, _paired(cases, "success, exact", "policy, exact")])


def _paired(cases: list[dict[str, Any]], one: str, other: str) -> str:
    """Return how far one estimate is ahead of another on the same cases."""
    pairs = [
        [_quality(c["predictions"][name], c["effects"]) for name in (one, other)] for c in cases
    ]
    ahead = [bootstrap([first[i] - second[i] for first, second in pairs]) for i in range(3)]
    measures = ("rank correlation", "precision at 5", "gain of the best 5")
    found = [
        f"{measure} {middle:+.3f} ({low:+.3f} to {high:+.3f})"
        for measure, (middle, low, high) in zip(measures, ahead, strict=True)
    ]
    return f"{one} against {other}, paired: {', '.join(found)}"


def _table(cases: list[dict[str, Any]], part: slice) -> str:
    """Return rank correlations and what the best-ranked edits were worth, over all cases."""
    rows = []
    for name in cases[0]["predictions"]:
        measured = [_quality(c["predictions"][name][part], c["effects"][part]) for c in cases]
        columns = [bootstrap([m[i] for m in measured]) for i in range(3)]
        cost = mean(c["tokens"][name] for c in cases)
        rows.append(
            [
                name,
                "{:+.2f} ({:+.2f} to {:+.2f})".format(*columns[0]),
                "{:.0%} ({:.0%}-{:.0%})".format(*columns[1]),
                "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in columns[2])),
                f"{cost:,.0f}",
            ]
        )
    header = ["estimate", "Spearman", "precision at 5", "gain of the best 5, points", "tokens"]
    return markdown(header, rows)


def _quality(predicted: Sequence[float], effects: Sequence[float]) -> tuple[float, float, float]:
    """Return rank correlation, share of the best 5 in the true top tenth, and their mean effect.

    Equal predictions carry no rank: their order is chance.
    """
    constant = len(set(predicted)) == 1 or len(set(effects)) == 1
    correlation = 0.0 if constant else float(spearmanr(predicted, effects).statistic)
    order = np.random.default_rng(0).permutation(len(predicted))
    best = sorted(order.tolist(), key=lambda i: -predicted[i])[:5]
    count = min(max(5, len(effects) // 10), len(effects))
    top = sorted(effects, reverse=True)[count - 1]
    hits = [effects[i] >= top and effects[i] > 0 for i in best]
    return correlation, mean(hits), mean(effects[i] for i in best)
