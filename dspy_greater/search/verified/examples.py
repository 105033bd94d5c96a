"""Instructions that show worked examples behind their words, and which examples can be shown."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from dspy_greater.model import Targeted
from dspy_greater.program import Run
from dspy_greater.program.demos import drawn
from dspy_greater.search.view import PredictorView

#: How many examples an instruction shows more than the current one, by turns.
SIZES = (1, 1, 2, 4)
#: Fewer examples that were solved are filled up with some that were not.
FEWEST_SOLVED = max(SIZES)
HEADER, BETWEEN = "\n\nFor example:\n\n", "\n\n"


def with_examples(
    instruction: str, worked: Sequence[str], count: int, rng: random.Random
) -> list[str]:
    """Return so many instructions with some examples more, behind those that are shown already."""
    words, shown = apart(instruction)
    begun = words + (shown + BETWEEN if shown else HEADER)
    left = [text for text in worked if text not in shown]
    samples = drawn(left, SIZES, count, rng)
    return list(dict.fromkeys(begun + BETWEEN.join(sample) for sample in samples))


def apart(instruction: str) -> tuple[str, str]:
    """Return the words of an instruction, and the examples behind them with their header."""
    words, header, shown = instruction.partition(HEADER)
    return words, header + shown


def worked(
    view: PredictorView,
    examples: Sequence[int],
    runs: Sequence[Run],
    answers: Sequence[Targeted | None],
) -> list[str]:
    """Return examples with all that the predictor writes, as text.

    Of a program that reasons that is what it wrote where it was right. Where it hardly ever was,
    its form may be at fault: of its other runs those are added whose reasoning makes the label
    likeliest, as GReaTer's objective has it. ``answers`` are such prompts, the label their target.
    """
    solved, others, every = [], [], {*view.fields}
    for example, run, answer in zip(examples, runs, answers, strict=True):
        inputs, right, made = view.texts(example), view.label_texts(example), view.output_texts(run)
        if {*made, *right} >= every and (not inputs or any(inputs.values())):
            text = lines({**inputs, **made, **right})
            if run.score >= 1 or right.keys() >= every:
                solved.append(text)
            elif answer:
                others.append((answer, text))
    if others and len(solved) < FEWEST_SOLVED:
        log_probs = view.model.log_probs([answer for answer, _ in others])
        ranks = sorted(range(len(others)), key=lambda i: -float(log_probs[i].mean()))
        solved += [others[i][1] for i in ranks[: FEWEST_SOLVED - len(solved)]]
    return solved


def lines(fields: Mapping[str, str]) -> str:
    """Return values by field, one a line."""
    return "\n".join(f"{name}: {value}" for name, value in fields.items())
