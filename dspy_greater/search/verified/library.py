"""Plain instructions of the field's best-known families, made from the task; they cost nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

#: What is added to the instruction at the start, by family; ``{field}`` is the last output field.
FAMILIES = {
    "step by step": "Think step by step, and only then give {field}.",
    "plan first": "First say what is asked, then plan the steps, then carry them out one by one.",
    "check": "Before you answer, check {field} once more against every part of the input.",
    "by elimination": "Rule out what is wrong, one after the other, and give what is left.",
    "careful": "Read every word of the input: small ones such as not, only and all decide.",
    "terse": "Write {field} alone, as briefly as possible, without any explanation.",
    "format": "Write every field under its header, exactly in the form that is asked for.",
}
EXPERT = "You are an expert in tasks of this kind."
#: How many instructions the library makes at most: one a family, an expert's, three of labels.
MOST_FAMILIES = len(FAMILIES) + 4
#: Labels that are listed: so many different ones at most, none longer than so many characters.
MOST_LABELS, LONGEST_LABEL = 20, 60
#: Chance of a label that was not seen, up to which the seen ones are taken for all there are.
UNSEEN = 0.05
#: Labels that show the form of an answer where they are too many to be listed.
SHOWN_LABELS = 3


def library(instruction: str, field: str, labels: Sequence[str]) -> dict[str, str]:
    """Return instructions by family, each the given one and a sentence more.

    ``field`` is the last output field. Its ``labels`` in the training examples make sentences of
    their own: all, and how common each is, where they are few, else the form of some.
    """
    start, name = instruction.strip(), f"`{field}`"
    start += "" if start.endswith(tuple(".!?:؟।。！？：")) else "."
    families = {family: text.replace("{field}", name) for family, text in FAMILIES.items()}
    added = {**_of_labels(name, labels), **families}
    longer = {family: f"{start} {text}" for family, text in added.items() if text not in start}
    return longer if EXPERT in start else {**longer, "expert": f"{EXPERT} {start}"}


def closed(labels: Sequence[str]) -> list[str]:
    """Return the different labels, in order, if these are probably all there are; else none.

    The share of labels seen once estimates the chance of a new one (Good and Turing); numbers go
    on beyond those that were seen.
    """
    counts = Counter(labels)
    once = sum(count == 1 for count in counts.values())
    numbers = all(re.fullmatch(r"[-+]?[\d.,]+", label) for label in counts)
    short = max(map(len, counts), default=0) <= LONGEST_LABEL
    few = len(counts) <= MOST_LABELS and once <= UNSEEN * len(labels)
    return sorted(counts) if short and few and not numbers else []


def _of_labels(field: str, labels: Sequence[str]) -> dict[str, str]:
    """Return sentences about a field's labels."""
    if names := closed(labels):
        listed = ", ".join(map(_plain, names))
        shares = (f"{_plain(n)} {round(100 * labels.count(n) / len(labels))} %" for n in names)
        return {
            "labels": f"{field} is exactly one of: {listed}.",
            "labels alone": f"Write one of these and nothing else: {listed}.",
            "shares": f"How often {field} is which: {', '.join(shares)}.",
        }
    different = dict.fromkeys(label for label in labels if len(label) <= LONGEST_LABEL)
    shown = sorted(different, key=len)
    if not shown:
        return {}
    listed = ", ".join(map(_plain, shown[:SHOWN_LABELS]))
    return {"form": f"{field} has a form like these: {listed}."}


def _plain(label: str) -> str:
    """Return a label on one line."""
    return " ".join(label.split())
