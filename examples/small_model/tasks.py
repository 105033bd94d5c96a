"""Seeded generators of small reasoning tasks.

Every question has four possible completions, one for each pair of *aspects* a piece of work can
have: the right **method** (or a tempting wrong one) and a thorough **manner** (or a glance at the
first two steps only). Only the completion with both is right; the questions are drawn so that each
of the other three ends in a wrong answer.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import dspy

Kind = Literal["ChainOfThought", "Predict"]
Split = Literal["train", "validation", "test"]

SIGNATURE = "question -> answer"
WEAK_INSTRUCTION = "Read the question and answer it."
HASTY_INSTRUCTION = "Be quick and just guess the answer at a glance, skip the details."
IRRELEVANT_INSTRUCTION = "The weather is sunny today and the blue kettle stands near the window."

# Ordered from quiet to loud: the louder the place, the easier the right method is forgotten.
SCENES = ("library", "garden", "kitchen", "office", "school", "station", "market", "fair")
SMALLEST, LARGEST = 3, 5  # The number of steps a question takes.
GLANCE = 2  # The number of steps that hasty work looks at.

# Questions in the first buckets are never trained on; each belongs to one split of the users.
BUCKETS = 10
SPLIT_BUCKETS: dict[str, int] = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Completion:
    """What the model writes: a reasoning (empty for `Predict`) and an answer."""

    reasoning: str
    answer: str


@dataclass(frozen=True)
class Problem:
    """A question with its completion for every pair of aspects `(method, manner)`."""

    question: str
    scene: int
    size: int
    completions: dict[tuple[bool, bool], Completion]

    @property
    def answer(self) -> str:
        """The right answer."""
        return self.completions[True, True].answer

    def is_clean(self) -> bool:
        """Whether every shortcut ends in a wrong answer."""
        return sum(c.answer == self.answer for c in self.completions.values()) == 1


@dataclass(frozen=True)
class Task:
    """One task: how to draw its problems, and how it is posed and judged in DSPy."""

    name: str
    kind: Kind
    draw: Callable[[random.Random], Problem]
    good_instruction: str
    weak_instruction: str = WEAK_INSTRUCTION
    share: float = 1.0  # Of the training rows; what is harder to learn gets more.
    learned: bool = True  # Whether the shipped model can do it; if not, it is not offered.

    def problem(self, rng: random.Random) -> Problem:
        """Draws a problem on which no shortcut happens to be right."""
        while True:
            problem = self.draw(rng)
            if problem.is_clean():
                return problem

    def question(self, rng: random.Random) -> str:
        """Draws the text of a question."""
        return self.problem(rng).question

    def program(self) -> dspy.Module:
        """Returns a fresh DSPy program for this task."""
        module: dspy.Module = getattr(dspy, self.kind)(SIGNATURE)
        return module

    def metric(self, example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
        """Compares the two answers, regardless of case, spacing and a final full stop."""
        answer = getattr(prediction, "answer", None)
        return answer is not None and normalise(str(answer)) == normalise(example.answer)


def normalise(answer: str) -> str:
    """Removes what does not matter in an answer."""
    return " ".join(answer.lower().split()).rstrip(".")


def bucket(question: str) -> int:
    """Returns the bucket of a question, a hash of its text."""
    return hashlib.sha256(question.encode()).digest()[0] % BUCKETS


def is_held_out(question: str) -> bool:
    """Whether a question is kept from the training of the model."""
    return bucket(question) in SPLIT_BUCKETS.values()


def examples(task_name: str, split: Split, count: int, seed: int = 0) -> list[dspy.Example]:
    """Draws distinct examples of a split; no split shares a question with another.

    Args:
        task_name: A key of `LESSONS`.
        split: The split to draw from; all are held out from the training of the model.
        count: The number of examples.
        seed: The seed; the same arguments give the same examples.

    Returns:
        Examples with the input `question` and the label `answer`.
    """
    task, rng = LESSONS[task_name], random.Random(f"{task_name}/{split}/{seed}")
    found: dict[str, str] = {}
    while len(found) < count:
        problem = task.problem(rng)
        if bucket(problem.question) == SPLIT_BUCKETS[split]:
            found[problem.question] = problem.answer
    pairs = islice(found.items(), count)
    return [dspy.Example(question=q, answer=a).with_inputs("question") for q, a in pairs]


def _completions(
    plans: tuple[str, str],
    steps: Mapping[bool, Sequence[tuple[str, str]]],
) -> dict[tuple[bool, bool], Completion]:
    """Writes the four chains of a task with reasoning.

    Args:
        plans: The opening words for the right and for the wrong method.
        steps: For each method (right is True) its steps: a line and the running result after it.
    """
    result = {}
    for method, manner in _ASPECTS:
        seen = steps[method] if manner else steps[method][:GLANCE]
        pace = "one by one" if manner else "at a glance"
        lines = [f"{plans[0] if method else plans[1]}, {pace}:", *(line for line, _ in seen)]
        result[method, manner] = Completion("\n".join(lines), seen[-1][1])
    return result


def _lists(items: Mapping[bool, Sequence[str]], joint: str) -> dict[tuple[bool, bool], Completion]:
    """Writes the four answers of a task whose answer is itself a list."""
    return {
        (method, manner): Completion("", joint.join(items[method][: None if manner else GLANCE]))
        for method, manner in _ASPECTS
    }


_ASPECTS = [(method, manner) for method in (True, False) for manner in (True, False)]


def _scene_and_size(rng: random.Random) -> tuple[int, int]:
    return rng.randrange(len(SCENES)), rng.randint(SMALLEST, LARGEST)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# --- Counting the things of one group -----------------------------------------------------------

GROUPS = {
    "fruits": _words("apples pears plums lemons grapes figs melons cherries"),
    "tools": _words("hammers saws drills files pliers spades rakes axes"),
    "animals": _words("dogs cats hens goats ducks mice frogs bees"),
    "clothes": _words("hats socks coats gloves shirts scarves belts boots"),
}
_GROUP_OF = {thing: group for group, things in GROUPS.items() for thing in things}


def _counting(rng: random.Random) -> Problem:
    scene, size = _scene_and_size(rng)
    asked, other = rng.sample(sorted(GROUPS), 2)
    things = rng.sample(GROUPS[asked] + GROUPS[other], size)
    counted = [(rng.randint(1, 5), thing) for thing in things]
    totals = {True: 0, False: 0}
    steps: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for number, thing in counted:
        for method in (True, False):
            counts = _GROUP_OF[thing] == asked or not method
            totals[method] += number if counts else 0
            note = f"+ {number}" if counts else "no"
            steps[method].append((f"{thing}: {note} = {totals[method]}", str(totals[method])))
    listed = ", ".join(f"{number} {thing}" for number, thing in counted)
    question = f"At the {SCENES[scene]} there are {listed}. How many {asked} are there?"
    plans = (f"Only {asked}", "All things")
    return Problem(question, scene, size, _completions(plans, steps))


# --- Following a number through additions and subtractions --------------------------------------


def _arithmetic(rng: random.Random) -> Problem:
    scene, size = _scene_and_size(rng)
    start = rng.randint(5, 20)
    values, orders = {True: start, False: start}, []
    steps: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for _ in range(size):
        number = rng.randint(1, 9)
        adds = rng.random() < 0.5 or values[True] < number
        orders.append(f"{'add' if adds else 'subtract'} {number}")
        for method in (True, False):
            sign = "+" if adds or not method else "-"
            before = values[method]
            values[method] += number if sign == "+" else -number
            line = f"{before} {sign} {number} = {values[method]}"
            steps[method].append((line, str(values[method])))
    question = (
        f"At the {SCENES[scene]} the counter shows {start}. Then {', '.join(orders)}. "
        "What does it show?"
    )
    return Problem(question, scene, size, _completions(("Mind the signs", "Add all"), steps))


# --- Following a cart on a grid -----------------------------------------------------------------

MOVES = {"right": (1, 0), "left": (-1, 0), "up": (0, 1), "down": (0, -1)}


def _grid(rng: random.Random) -> Problem:
    scene, size = _scene_and_size(rng)
    start = (rng.randint(3, 9), rng.randint(3, 9))
    places, orders = {True: start, False: start}, []
    steps: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for _ in range(size):
        length = rng.randint(1, 3)
        column, row = places[True]
        open_moves = [
            name
            for name, (dx, dy) in MOVES.items()
            if column + dx * length >= 0 and row + dy * length >= 0
        ]
        name = rng.choice(open_moves)
        orders.append(f"{name} {length}")
        for method in (True, False):
            dx, dy = MOVES[name] if method else map(abs, MOVES[name])
            column, row = places[method]
            places[method] = column + dx * length, row + dy * length
            place = "column {}, row {}".format(*places[method])
            steps[method].append((f"{name} {length}: {place}", place))
    question = (
        f"At the {SCENES[scene]} a cart is at column {start[0]}, row {start[1]}. "
        f"It goes {', '.join(orders)}. Where is it?"
    )
    return Problem(question, scene, size, _completions(("Turn both ways", "Go ahead"), steps))


# --- Jumping through the days of the week -------------------------------------------------------

DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


def _weekday(rng: random.Random) -> Problem:
    scene, size = _scene_and_size(rng)
    start = rng.randrange(7)
    days, orders = {True: start, False: start}, []
    steps: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for _ in range(size):
        length, step = rng.randint(2, 3), rng.choice((1, -1))
        orders.append(f"{length} days {'later' if step > 0 else 'earlier'}")
        for method in (True, False):
            first = 1 if method else 0  # The mistake is to count the day itself as day one.
            passed = [(days[method] + step * i) % 7 for i in range(first, first + length)]
            days[method] = passed[-1]
            line = f"{orders[-1]}: {', '.join(DAYS[day] for day in passed)}"
            steps[method].append((line, DAYS[passed[-1]]))
    question = (
        f"At the {SCENES[scene]} the calendar shows {DAYS[start]}. "
        f"It is moved {', then '.join(orders)}. Which day is it?"
    )
    plans = ("Start from the next day", "Start from the same day")
    return Problem(question, scene, size, _completions(plans, steps))


# --- Keeping the highest price ------------------------------------------------------------------


def _prices(rng: random.Random) -> Problem:
    scene, size = _scene_and_size(rng)
    prices = rng.sample(range(10, 100), size)
    kept = {True: prices[0], False: prices[0]}
    steps = {method: [(f"start with {prices[0]}", str(prices[0]))] for method in (True, False)}
    for price in prices[1:]:
        for method in (True, False):
            found = f"{price} is {'over' if price > kept[method] else 'under'} {kept[method]}"
            kept[method] = (max if method else min)(price, kept[method])
            steps[method].append((f"{found}: keep {kept[method]}", str(kept[method])))
    listed = ", ".join(map(str, prices))
    question = f"At the {SCENES[scene]} the prices are {listed}. Which one is the top?"
    plans = ("Keep the highest", "Keep the lowest")
    return Problem(question, scene, size, _completions(plans, steps))


# --- Answers that are lists: alphabetical order, last letters ------------------------------------

SORT_WORDS = _words(
    "arrow bridge candle desk engine fork guitar hotel island jacket kite lemon mirror needle "
    "ocean pillow queen river sugar tunnel urn violin wagon yard zebra"
)
SPELL_WORDS = _words(
    "lamp dog tree frog bird sun moon star chair table stone river cloud grass bread glass "
    "horn flag milk book ship drum hill roof king leaf rain salt"
)


def _sorting(rng: random.Random) -> Problem:
    scene, size = _scene_and_size(rng)
    words = rng.sample(SORT_WORDS, size)
    question = f"At the {SCENES[scene]} the words are {', '.join(words)}. What is their order?"
    return Problem(question, scene, size, _lists({True: sorted(words), False: words}, ", "))


def _letters(rng: random.Random) -> Problem:
    scene, size = _scene_and_size(rng)
    words = rng.sample(SPELL_WORDS, size)
    question = (
        f"At the {SCENES[scene]} the words are {', '.join(words)}. What do they spell at the end?"
    )
    ends = {True: [word[-1] for word in words], False: [word[0] for word in words]}
    return Problem(question, scene, size, _lists(ends, "-"))


# What the model is trained on.
LESSONS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "counting",
            "ChainOfThought",
            _counting,
            "Work through the list step by step and write down every item in order. "
            "Count only the items that belong to the category asked for, and keep a running "
            "total of the group.",
            learned=False,
        ),
        Task(
            "arithmetic",
            "ChainOfThought",
            _arithmetic,
            "Carefully work step by step and write each line in order. Apply every operation "
            "with its sign, compute the intermediate result, and update the value.",
        ),
        Task(
            "grid",
            "ChainOfThought",
            _grid,
            "Go slowly, step by step, and write down each line in order. Track the position on "
            "the grid: after every move in its direction, update the column and row coordinates.",
            share=2.0,
        ),
        Task(
            "weekday",
            "ChainOfThought",
            _weekday,
            "Work step by step and check every line in order. Follow the calendar: count the days "
            "forward or backward, and name each weekday after the date.",
        ),
        Task(
            "prices",
            "ChainOfThought",
            _prices,
            "Work slowly, step by step, and check every line in order. Compare the price with the "
            "current best, keep the highest, and replace it when a number is larger.",
        ),
        Task(
            "sorting",
            "Predict",
            _sorting,
            "Work carefully, step by step, and check every entry in full. Sort and arrange the "
            "words alphabetically: compare their initial letters as a dictionary does.",
        ),
        Task(
            "letters",
            "Predict",
            _letters,
            "Work slowly through every entry in order, step by step. Extract the final character "
            "of the words, the ending letter, and join them to spell the result.",
            share=2.5,
        ),
    )
}
# What it is asked, by users of this folder and by the quickstart.
TASKS = {name: task for name, task in LESSONS.items() if task.learned}
