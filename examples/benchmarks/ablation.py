"""What the stages of the search are worth: accuracy against tokens spent, by short-list."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import dspy

from dspy_greater import GreaterTeleprompter, PaperConfig, StepEvent, VerifiedConfig
from examples.benchmarks.common import (
    RESULTS,
    TRAIN,
    VALIDATION,
    Cases,
    accuracies,
    bootstrap,
    choose_cases,
    default_instruction,
    markdown,
    program_with,
)
from examples.quickstart import SMALL_MODEL, load
from examples.small_model.tasks import TASKS, examples

HELD_OUT = 200
BUDGET = 200_000
# Whole instructions and phrases come from the model itself and need no short-list: without them
# the edits are single tokens, and only what ranks them differs.
EDITS = VerifiedConfig(max_steps=1000, starts=0, phrases=0, patience=1000, tidy_rounds=0)
ARMS: dict[str, VerifiedConfig | PaperConfig] = {
    "verified": VerifiedConfig(max_steps=1000, patience=1000),
    "exact": EDITS,
    "gradient": replace(EDITS, shortlist="gradient"),
    "lm": replace(EDITS, shortlist="lm"),
    "random": replace(EDITS, shortlist="random"),
    "paper": PaperConfig(max_steps=1000),
    "paper, random": PaperConfig(max_steps=1000, shortlist="random"),
}
MARKS = (0.1, 0.2, 0.5, 1.0)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    choose_cases(parser)
    parser.add_argument("--budget", type=int, default=BUDGET, help="tokens of each run")
    parser.add_argument("--plot", type=Path, help="draw accuracy against tokens")


def run(options: argparse.Namespace) -> str:
    """Fill in the missing runs and return the table."""
    lm = load(SMALL_MODEL)
    cases = Cases(RESULTS / "ablation.jsonl", {"model": lm.model, "budget": options.budget})
    for seed in options.seeds:
        for task in options.tasks:
            for arm in options.arms:
                if cases.lack(task=task, arm=arm, seed=seed):
                    path = trace(task, arm, seed, options.budget, lm)
                    cases.add(task=task, arm=arm, seed=seed, path=path)
    if options.plot:
        plot(cases.read(), options.budget, options.plot)
    done = cases.read()
    parts = [part(done, options.budget) for part in (table, by_task, against_baselines)]
    return "\n\n".join(parts)


def trace(name: str, arm: str, seed: int, budget: int, lm: Any) -> list[dict[str, Any]]:
    """Compile within the budget; return held-out accuracy by the tokens spent."""
    dspy.cache.reset_memory_cache()  # no arm profits from what another has run
    task = TASKS[name]
    held = [(0, default_instruction(task))]

    def listen(event: StepEvent) -> None:
        if event.instruction != held[-1][1]:
            held.append((event.tokens, event.instruction))

    GreaterTeleprompter(
        metric=task.metric,
        schedule=ARMS[arm],
        max_tokens=budget,
        callback=listen,
        seed=seed,
        progress=False,
    ).compile(
        program_with(task),
        trainset=examples(name, "train", TRAIN, seed),
        valset=examples(name, "validation", VALIDATION, seed),
    )
    texts = [text for _, text in held]
    scores = accuracies(task, texts, examples(name, "test", HELD_OUT, seed), lm)
    return [
        {"tokens": tokens, "instruction": text, "accuracy": mean(each)}
        for (tokens, text), each in zip(held, scores, strict=True)
    ]


def at(path: list[dict[str, Any]], tokens: float) -> float:
    """Return the accuracy of the instruction held when so many tokens were spent."""
    return float([step["accuracy"] for step in path if step["tokens"] <= tokens][-1])


def table(cases: list[dict[str, Any]], budget: int) -> str:
    """Return mean accuracy over runs at shares of the budget, by arm."""
    rows = []
    for arm in ARMS:
        paths = [case["path"] for case in cases if case["arm"] == arm]
        if paths:
            columns = [bootstrap([at(path, mark * budget) for path in paths]) for mark in MARKS]
            cells = [
                f"{100 * middle:.0f} ({100 * low:.0f}-{100 * high:.0f})"
                for middle, low, high in columns
            ]
            rows.append([arm, str(len(paths)), *cells])
    header = ["arm", "runs", *(f"{mark * budget / 1000:,.0f}k tokens" for mark in MARKS)]
    return markdown(header, rows)


def by_task(cases: list[dict[str, Any]], budget: int) -> str:
    """Return mean final accuracy by task and arm, and the default's lead over the published one."""
    final: dict[tuple[str, str], dict[int, float]] = {}
    for case in cases:
        final.setdefault((case["task"], case["arm"]), {})[case["seed"]] = at(case["path"], budget)
    arms = [arm for arm in ARMS if any(key[1] == arm for key in final)]
    rows = []
    for task in TASKS:
        cells = [final.get((task, arm), {}) for arm in arms]
        if not any(cells):
            continue
        ours, theirs = final.get((task, "verified"), {}), final.get((task, "paper"), {})
        lead = [ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]
        means = [f"{100 * mean(cell.values()):.0f}" if cell else "" for cell in cells]
        rows.append([task, *means, f"{100 * mean(lead):+.0f}" if lead else ""])
    return markdown(["task", *arms, "verified - paper"], rows)


def against_baselines(cases: list[dict[str, Any]], budget: int) -> str:
    """Say, on the runs that both have, how arms compare with random edits and the published one."""
    paths = {(c["arm"], c["task"], c["seed"]): c["path"] for c in cases}

    def paired(arm: str, other: str) -> list[tuple[Any, Any]]:
        runs = [run for (name, *run) in paths if name == arm and (other, *run) in paths]
        return [(paths[(arm, *run)], paths[(other, *run)]) for run in runs]

    lines = []
    for arm in ARMS:
        pairs = paired(arm, "random")
        if arm != "random" and pairs:
            final = mean(at(theirs, budget) for _, theirs in pairs)
            ticks = (budget * i // 200 for i in range(201))
            reached = (t for t in ticks if mean(at(ours, t) for ours, _ in pairs) >= final)
            tokens = next(reached, None)
            there = "never" if tokens is None else f"with {tokens:,} tokens"
            lines.append(f"{arm}: at random's final {final:.0%} {there} ({len(pairs)} runs)")
    if pairs := paired("verified", "paper"):
        leads = [100 * (at(ours, budget) - at(theirs, budget)) for ours, theirs in pairs]
        lead, low, high = bootstrap(leads)
        lines.append(
            f"verified - paper: {lead:+.0f} points ({low:+.0f} to {high:+.0f}), {min(leads):+.1f} "
            f"at least ({len(pairs)} runs)"
        )
    accepted = [c["path"][1]["tokens"] for c in cases if c["arm"] == "verified" and c["path"][1:]]
    if accepted:
        lines.append(f"verified accepts its first instruction after {mean(accepted):,.0f} tokens")
    return "\n".join(f"- {line}" for line in lines)


def plot(cases: list[dict[str, Any]], budget: int, path: Path) -> None:
    """Draw the mean held-out accuracy of each arm against the tokens spent."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    ticks = [budget * i / 200 for i in range(201)]
    for arm in ARMS:
        paths = [case["path"] for case in cases if case["arm"] == arm]
        if paths:
            curve = [100 * mean(at(each, tick) for each in paths) for tick in ticks]
            axes.step([tick / 1000 for tick in ticks], curve, where="post", label=arm)
    axes.set_xlabel("thousand tokens through the model")
    axes.set_ylabel("held-out accuracy, %")
    axes.set_ylim(0, 100)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
