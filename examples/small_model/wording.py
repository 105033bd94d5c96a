"""The grammar of instructions, and the hidden score that decides what an instruction does.

An instruction has a score for each of the two aspects of the work: words about order, care and
steps raise the *manner*, words about the task's own way of working raise the *method*, hasty words
lower both and all other words do nothing. The score of an aspect, less the difficulty of the
question, gives the log-odds that the work has that aspect. Each word adds a little, so that an
instruction can be improved one word at a time and no single word is enough.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from functools import lru_cache

from examples.small_model.clauses import (
    FILLERS,
    HASTY_CLAUSES,
    HELD_OUT_MANNER_CLAUSES,
    HELD_OUT_METHOD_CLAUSES,
    IRRELEVANT_CLAUSES,
    MANNER_CLAUSES,
    METHOD_CLAUSES,
    NEUTRAL_CLAUSES,
)
from examples.small_model.tasks import SMALLEST, Problem

BASE = -0.2  # The score of an instruction that says nothing, for either aspect.
CAP = 3.2
FLOOR = -3.5
EASIEST = -1.4  # The difficulty of the shortest question, and of the quietest place.
PER_STEP = 0.933  # Each further step of a question makes the manner harder.
PER_SCENE = 0.4  # Each louder place makes the method harder.
SLOPE = 1.6
HASTE_ON_METHOD = 0.6


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _weights(text: str) -> dict[str, float]:
    """Reads `weight: stem stem ...` lines."""
    pairs = (line.split(":") for line in text.strip().splitlines())
    return {stem: float(weight) for weight, stems in pairs for stem in stems.split()}


MANNER = _weights("""
    0.9: step
    0.8: careful slow systematic
    0.7: order thorough detail patient
    0.6: line each every precise check full
    0.5: work write show verify attention sequence complete
    0.4: through think reason one
    0.3: down first then before
""")
HASTE = _weights("""
    1.1: quick fast guess hurry
    0.9: skip glance instant immediate rough brief
    0.7: short just direct without straight
    0.5: simply
""")
METHOD: dict[str, dict[str, float]] = {
    "counting": _weights("""
        0.8: count tally category group
        0.7: total belong sum
        0.6: kind only amount running match
        0.5: item member type number
        0.4: list add
    """),
    "arithmetic": _weights("""
        0.8: sign operation compute calculate
        0.7: subtract arithmetic minus equation
        0.6: intermediate result value plus apply
        0.5: update number add
        0.4: running total
    """),
    "grid": _weights("""
        0.8: position direction coordinate track
        0.7: column row location axis
        0.6: move grid update
        0.5: left right map
        0.4: up start
    """),
    "weekday": _weights("""
        0.8: calendar forward backward weekday
        0.7: day date week
        0.6: count tomorrow next yesterday
        0.5: name shift after
        0.4: start list
    """),
    "prices": _weights("""
        0.8: compare highest maximum largest
        0.7: greatest higher larger best
        0.6: record top keep replace
        0.5: price than number
        0.4: current list
    """),
    "sorting": _weights("""
        0.8: alphabet sort dictionary arrange
        0.7: compare rank initial
        0.6: letter smallest earliest ascending
        0.5: place word
        0.4: list result
    """),
    "letters": _weights("""
        0.8: final extract ending character
        0.7: letter last join spell
        0.6: tail combine pick
        0.5: take word
        0.4: result together
    """),
}
_FILLERS = _words(FILLERS)
_SUFFIXES = _words(
    "s es d ed r er ing ly al ally ation ations ion ions ic ical ically ful fully ness ness "
    "wise ity ment ings ers ored ling led ted ting ping ning ally atically ate ates ated ating"
)


@dataclass(frozen=True)
class Chances:
    """The probabilities that the work on a question has each aspect."""

    method: float
    manner: float

    @property
    def right(self) -> float:
        """The probability of complete and right work."""
        return self.method * self.manner

    def draw(self, rng: random.Random) -> tuple[bool, bool]:
        """Decides both aspects."""
        return rng.random() < self.method, rng.random() < self.manner


@lru_cache(maxsize=200_000)
def _stems(word: str) -> frozenset[str]:
    """Returns the scored stems that a word may be a form of."""
    known = set(MANNER) | set(HASTE)
    for weights in METHOD.values():
        known |= set(weights)
    exact = {word} & known
    forms = {word.removesuffix(suffix) for suffix in _SUFFIXES if word.endswith(suffix)}
    forms |= {form + "e" for form in forms} | {form + "y" for form in forms if form.endswith("i")}
    return frozenset(exact or forms & known)


def scores(instruction: str, task: str) -> tuple[float, float]:
    """Returns the hidden scores of an instruction for a task: method and manner."""
    words = re.findall(r"[a-z]+", instruction.lower())
    stems = {stem for word in words for stem in _stems(word)}
    haste = sum(HASTE.get(stem, 0.0) for stem in stems)
    manner = BASE + sum(MANNER.get(stem, 0.0) for stem in stems) - haste
    method = BASE + sum(METHOD[task].get(stem, 0.0) for stem in stems) - HASTE_ON_METHOD * haste
    return max(FLOOR, min(CAP, method)), max(FLOOR, min(CAP, manner))


def chances(instruction: str, task: str, problem: Problem) -> Chances:
    """Returns what an instruction makes of a problem."""
    method, manner = scores(instruction, task)
    loud = EASIEST + PER_SCENE * problem.scene
    long = EASIEST + PER_STEP * (problem.size - SMALLEST)
    return Chances(_logistic(SLOPE * (method - loud)), _logistic(SLOPE * (manner - long)))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def fill(template: str, rng: random.Random) -> str:
    """Chooses one of the alternatives in every pair of brackets of a template."""
    text = re.sub(r"\(([^()]*)\)", lambda m: rng.choice(m.group(1).split("|")), template)
    return re.sub(r" +([.,])", r"\1", " ".join(text.split()))


def _sentence(template: str, rng: random.Random) -> str:
    text = fill(template, rng)
    text = text[0].upper() + text[1:]
    return text if text.endswith(".") else text + "."


def _repeat(rng: random.Random, chances_of_count: tuple[float, ...]) -> int:
    """Draws a count, from 0, with the given probabilities."""
    return rng.choices(range(len(chances_of_count)), chances_of_count)[0]


def instruction(task: str, rng: random.Random, *, suited: bool = False, edited: bool = True) -> str:
    """Draws an instruction for the training of the model.

    Args:
        task: The task of the question that the instruction goes with.
        rng: The source of randomness.
        suited: Whether to draw mostly wordings that help with this task.
        edited: Whether to change words in some of the instructions.
    """
    other = rng.choice([name for name in METHOD if name != task])
    counts = (
        (MANNER_CLAUSES, _repeat(rng, (0.1, 0.5, 0.4) if suited else (0.4, 0.3, 0.2, 0.1))),
        (METHOD_CLAUSES[task], _repeat(rng, (0.1, 0.5, 0.4) if suited else (0.4, 0.3, 0.2, 0.1))),
        (METHOD_CLAUSES[other], _repeat(rng, (0.95, 0.05) if suited else (0.8, 0.15, 0.05))),
        (HASTY_CLAUSES, _repeat(rng, (0.98, 0.02) if suited else (0.75, 0.17, 0.08))),
        (IRRELEVANT_CLAUSES, _repeat(rng, (0.97, 0.03) if suited else (0.88, 0.1, 0.02))),
    )
    drawn = [clause for clauses, count in counts for clause in rng.sample(clauses, count)]
    rng.shuffle(drawn)
    if not drawn or rng.random() < 0.4:
        drawn.insert(0, rng.choice(NEUTRAL_CLAUSES))
    text = " ".join(_sentence(clause, rng) for clause in drawn)
    share = (0.15 if suited else 0.4) if edited else 0.0
    edits = rng.randint(1, 4) if rng.random() < share else 0
    for _ in range(edits):
        text = _edited(text, task, rng)
    return text


def held_out_instruction(task: str, rng: random.Random) -> str:
    """Draws a good instruction of clauses that training never uses."""
    drawn = [*rng.sample(HELD_OUT_MANNER_CLAUSES, 2), *HELD_OUT_METHOD_CLAUSES[task]]
    rng.shuffle(drawn)
    return " ".join(_sentence(clause, rng) for clause in drawn)


def _edited(text: str, task: str, rng: random.Random) -> str:
    """Replaces, drops or inserts one word, as an optimizer of instructions does."""
    words = text.split()
    place, kind = rng.randrange(len(words)), rng.random()
    if kind < 0.2 and len(words) > 3:
        del words[place]
        return " ".join(words)
    end = 1 if kind < 0.6 else 0  # Replace the word, or insert before it.
    stop = words[place][-1] if end and words[place][-1] in ".," else ""
    word = _any_word(task, rng)
    words[place : place + end] = [(word.capitalize() if place == 0 else word) + stop]
    return " ".join(words)


def _any_word(task: str, rng: random.Random) -> str:
    sources = (METHOD[task], METHOD[rng.choice(list(METHOD))], MANNER, HASTE, _FILLERS)
    word = rng.choice(list(rng.choices(sources, (0.3, 0.15, 0.25, 0.12, 0.18))[0]))
    forms = sorted(_FORMS.get(word, ())) or [word]
    return rng.choice([word, *forms])


def vocabulary() -> list[str]:
    """Returns every word of the grammar, in the forms in which it is used."""
    return sorted(_WORDS | set(_FILLERS) | {w for ws in METHOD.values() for w in ws})


def _all_clauses() -> list[str]:
    clauses = [*MANNER_CLAUSES, *HASTY_CLAUSES, *NEUTRAL_CLAUSES, *IRRELEVANT_CLAUSES]
    clauses += HELD_OUT_MANNER_CLAUSES
    for by_task in (METHOD_CLAUSES, HELD_OUT_METHOD_CLAUSES):
        clauses += [clause for clauses_of_task in by_task.values() for clause in clauses_of_task]
    return clauses


_WORDS = {word for clause in _all_clauses() for word in re.findall(r"[a-z]+", clause.lower())}
_WORDS |= set(MANNER) | set(HASTE)
# Every scored stem with the forms in which the grammar uses it.
_FORMS: dict[str, set[str]] = {}
for _word in _WORDS:
    for _stem in _stems(_word):
        _FORMS.setdefault(_stem, set()).add(_word)
