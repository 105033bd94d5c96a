"""What came of a compile: the program that is returned, and an outcome for each predictor."""

from __future__ import annotations

import logging
from dataclasses import asdict
from statistics import mean
from typing import Any

import dspy

from dspy_greater.basics.console import say
from dspy_greater.loop import Loop
from dspy_greater.program import excerpt
from dspy_greater.record import Candidate, ChangedExample, Outcome, Record
from dspy_greater.record.outcomes import UNCALLED
from dspy_greater.search import Program, compare


def conclude(loop: Loop) -> None:
    """Put on record what became of each predictor, and in the ``log_dir`` that it is over.

    The record stays without outcomes where nothing was validated before the user ended it all.
    """
    setup, state = loop.setup, loop.state
    if state.start not in state.scores.validation:
        return
    record, program = state.record, loop.verdict().program
    for candidate in record.candidates:
        there = {**candidate.others, candidate.predictor: candidate.instruction}
        run = Program.of({**state.start.instructions, **there})
        candidate.validation_scores = state.scores.validation.get(run)
    record.outcomes = [_outcome(loop, name) for name in state.start]
    if setup.checkpoint is not None and not loop.stopped:
        for outcome in record.outcomes:
            setup.checkpoint.save(state.dump(), asdict(outcome))
        setup.checkpoint.save_best(setup.runner.module(program))


def finished(loop: Loop) -> dspy.Module:
    """Say what came of it and return the program, with the record on it."""
    setup, state = loop.setup, loop.state
    record = state.record
    record.charge(state.meter)
    say(record.summary(), setup.progress, logging.INFO if record.improved else logging.WARNING)
    program = setup.runner.module(loop.verdict().program if record.outcomes else state.start)
    program.detailed_results = record
    program.candidate_programs = candidate_programs(record)
    return program


def candidate_programs(record: Record) -> list[dict[str, Any]]:
    """Return every instruction that was tried, best first, as other optimizers of DSPy do."""

    def standing(candidate: Candidate) -> tuple[float, float]:
        score = candidate.validation_score
        return (-1.0 if score is None else score, candidate.train_score)

    return [
        {
            "predictor": candidate.predictor,
            "instruction": candidate.instruction,
            "score": candidate.validation_score,
            "train_score": candidate.train_score,
            "others": candidate.others,
        }
        for candidate in sorted(record.candidates, key=standing, reverse=True)
    ]


def _outcome(loop: Loop, name: str) -> Outcome:
    """Return what became of one predictor, or of the demos."""
    setup, state, verdict = loop.setup, loop.state, loop.verdict()
    program = verdict.program
    before, after = state.start[name], program[name]
    changes = list(program.changes(state.start))
    changed = name in changes
    # Where this predictor is as it was, the program without its change is the same program.
    scores_after = state.scores.validation[program]
    scores_before = state.scores.validation[state.start] if changed else scores_after
    comparison = verdict.comparison if changed else compare(scores_after, scores_before)
    search = state.searches.get(name)
    views = [loop.view(p, program) for p in setup.runner.predictors if p.name == name]
    stopped, put_back = search.ended if search else "", name in verdict.put_back
    kept = program == state.start and stopped != UNCALLED
    best = comparison if changed else verdict.best if kept else None
    scored = enumerate(zip(setup.runner.validation, scores_before, scores_after, strict=True))
    steps = max((c.step for c in state.record.candidates if c.predictor == name), default=0)
    low, high = comparison.interval
    return Outcome(
        predictor=name,
        before=before,
        after=after,
        score_before=mean(scores_before),
        score_after=mean(scores_after),
        gain=comparison.gain,
        # Scores end at 0 and 1, a normal approximation does not.
        interval=(max(low, -mean(scores_before)), min(high, 1 - mean(scores_before))),
        p_value=verdict.p_value if changed else 1.0,
        looks=verdict.looks,
        steps=steps,
        stopped=stopped or loop.stopped,
        together=changes if changed and len(changes) > 1 else [],
        put_back=put_back,
        expected_gain=verdict.expected_gain if changed else 0.0,
        examples_needed=best.examples_needed(len(scores_after)) if best else None,
        yields=search.state.yields if search else {},
        tokens_before=sum(len(view.tokens(before)) for view in views),
        tokens_after=sum(len(view.tokens(after)) for view in views),
        copied_words=[word for view in views for word in view.copied_words(after)],
        changed_examples=[
            ChangedExample(place, **excerpt(example), score_before=old, score_after=new)
            for place, (example, old, new) in scored
            if old != new
        ],
    )
