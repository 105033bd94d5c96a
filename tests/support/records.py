"""Records of runs that ended in every way, for the tests of what is made of them."""

from __future__ import annotations

import json
from typing import Any

from dspy_greater import DetailedResults
from dspy_greater.record import Candidate, ChangedExample, Outcome

START, BETTER, BEST = "Answer it.", "Answer it slowly.", "Count, then answer it slowly."


def candidate(
    instruction: str, step: int, scores: list[float], predictor: str = "predict", **more: Any
) -> Candidate:
    kind = "replace" if step else "start"
    return Candidate(predictor, instruction, step, kind, 0 if step else None, scores, **more)


def outcome(after: str = BEST, predictor: str = "predict", **more: Any) -> Outcome:
    changed = after != START
    return Outcome(
        predictor=predictor,
        before=START,
        after=after,
        score_before=0.25,
        score_after=0.75 if changed else 0.25,
        gain=0.5 if changed else 0.0,
        interval=(0.1, 0.9) if changed else (0.0, 0.0),
        p_value=0.0123 if changed else 1.0,
        looks=2,
        steps=3,
        stopped="all steps taken",
        **more,
    )


def improved() -> DetailedResults:
    """A verified run: a race lost early, an edit refused on the validation examples, two taken."""
    told = outcome(
        expected_gain=0.1,
        examples_needed=40,
        tokens_before=3,
        tokens_after=5,
        copied_words=["Lyon"],
        changed_examples=[
            ChangedExample(0, {"question": "One?"}, {"answer": "1"}, 0.0, 1.0),
            ChangedExample(3, {"question": "Two?"}, {"answer": "2"}, 1.0, 0.25),
        ],
    )
    candidates = [
        candidate(START, 0, [0, 0, 1, 0], accepted=True, validation_scores=[0.0, 0, 0, 1]),
        candidate("Guess it.", 1, [0.0, 0.0], estimate=-0.1),
        candidate(BETTER, 1, [0, 1, 1, 0], accepted=True, validation_scores=[1.0, 0, 0, 1]),
        candidate("Answer it now.", 2, [1, 1, 1, 0], validation_scores=[0.0, 0, 0, 0]),
        candidate(BEST, 3, [1, 1, 1, 1], accepted=True, validation_scores=[1.0, 1, 1, 0.25]),
    ]
    return DetailedResults(
        outcomes=[told],
        candidates=candidates,
        train_examples=4,
        validation_examples=4,
        total_calls=1234,
        counts={"rollouts": 10, "tokens_forward": 123456},
        seconds=100.0,
        phases={"render": 1.0, "generate": 71.0, "other": 28.0},
        seed=7,
        config={"schedule": "VerifiedConfig", "max_seconds": None},
        model="small@0123",
    )


def kept() -> DetailedResults:
    """Nothing that the search accepted could be verified."""
    record = improved()
    record.outcomes = [outcome(START)]
    record.parse_failures, record.left_out = 3, ["judge"]
    record.errors, record.too_long = (
        {"ValueError": 4, "KeyError": 1},
        {"training": 0, "validation": 2},
    )
    return record


def several() -> DetailedResults:
    """Two predictors, one of them improved."""
    record = improved()
    record.outcomes.append(outcome(START, "judge"))
    record.candidates.append(candidate(START, 0, [0.5, 0.5], "judge", accepted=True))
    return record


def interrupted() -> DetailedResults:
    """Stopped before the start was run on the validation examples."""
    return DetailedResults(candidates=[candidate(START, 0, [0.0, 1.0], accepted=True)])


def earlier() -> DetailedResults:
    """A record that a version without changed examples wrote."""
    saved = json.loads(json.dumps(improved().to_dict()))
    del saved["outcomes"][0]["changed_examples"]
    for name in ("phases", "left_out"):
        del saved[name]
    return DetailedResults.from_dict(saved)


HOSTILE = "<script>alert(1)</script><img src='http://x.example/' onerror=alert(2)>\"'&amp;{{ 7*7 }}"


def hostile() -> DetailedResults:
    """Every text that comes from outside tries to break out of its place."""
    told = outcome(HOSTILE, HOSTILE, copied_words=[HOSTILE])
    told.before, told.stopped = f"{HOSTILE}?", HOSTILE
    told.changed_examples = [
        ChangedExample(0, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}, 0.0, 1.0),
    ]
    held = candidate(HOSTILE, 1, [1.0], HOSTILE, accepted=True)
    held.kind = HOSTILE
    start = candidate(told.before, 0, [0.0], HOSTILE, accepted=True)
    return DetailedResults(
        outcomes=[told],
        candidates=[start, held],
        left_out=[HOSTILE],
        counts={HOSTILE: 1},
        phases={HOSTILE: 1.0},
        config={HOSTILE: HOSTILE},
        model=HOSTILE,
        versions={HOSTILE: HOSTILE},
    )


RECORDS = {
    "improved": improved(),
    "kept": kept(),
    "several": several(),
    "interrupted": interrupted(),
    "earlier": earlier(),
    "hostile": hostile(),
    "empty": DetailedResults(),
}
