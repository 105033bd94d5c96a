"""Instructions of several sources, to run a score matrix on.

    python -m examples.benchmark instructions --model FOLDER --tasks banking77 scone --out FILE

One line of JSON an instruction: its task, its source and its text. Sources: *default*, DSPy's own;
*handwritten*, as a person would write it without trying any; *library*, plain ones for any task;
the families of the optimizer's own library; *proposal*, what the model goes on with behind an
example; *asked*, what it writes when it is asked in its own chat template; *rewrite*, its rewording
of the handwritten one.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import dspy

from dspy_greater import local_lm
from dspy_greater.basics.files import write_whole
from dspy_greater.search.verified.library import library
from dspy_greater.search.verified.proposals import starts
from examples.benchmarks.common import place_in
from examples.tasks import NAMES, BenchmarkTask, load

#: Plain instructions of the field's best-known families.
LIBRARY = (
    "Think step by step, then give the answer.",
    "Work out the answer, check it once more against the input, and correct it where it is wrong.",
    "Rule out the wrong answers one after the other, and give the one that is left.",
    "Answer at once, as briefly as possible, without any explanation.",
    "Fill in every output field exactly in the form that is asked for, and write nothing else.",
)
#: Instructions of each source that the model writes, and the most tokens of one.
WRITTEN, LONGEST = 2, 100
#: Training examples that the model is shown.
SHOWN = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--model", required=True, help="folder, hub id or GGUF file")
    parser.add_argument("--tasks", nargs="+", choices=NAMES, required=True)
    parser.add_argument("--data", help="folder of the published data")
    parser.add_argument("--dtype", default="auto", help="number format of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)


def run(options: argparse.Namespace) -> str:
    """Write the file and return how many instructions there are of each task."""
    lm = local_lm(options.model, dtype=options.dtype, max_tokens=LONGEST)
    tasks = [load(name, options.data) for name in options.tasks]
    with ThreadPoolExecutor(len(tasks)) as pool:  # the model answers all tasks' requests together
        found = list(pool.map(lambda task: sources(task, lm, options.seed), tasks))
    lines = [
        json.dumps({"task": task.name, "source": source, "text": text})
        for task, texts in zip(tasks, found, strict=True)
        for text, source in texts.items()
    ]
    write_whole(options.out, ("\n".join(lines) + "\n").encode(), "list of instructions")
    return "\n".join(f"{task.name}: {len(t)}" for task, t in zip(tasks, found, strict=True))


def sources(task: BenchmarkTask, lm: dspy.LM, seed: int) -> dict[str, str]:
    """Return a task's instructions, each with its source."""
    train = task.splits(seed).train
    (predictor,) = task.program().predictors()
    shown = "\n\n".join(map(as_text, train[:SHOWN]))
    asked = (
        f"Here are examples of a task:\n\n{shown}\n\nWrite an instruction that tells a language "
        f"model how to find {', '.join(train[0].labels())} for other inputs. Write the instruction "
        "alone."
    )
    reworded = f"Say this instruction in other words, and write nothing else:\n\n{task.handwritten}"
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda request: ask(lm, request, seed), (asked, reworded)))
    texts = {
        "default": [str(predictor.signature.instructions)],
        "handwritten": [task.handwritten],
        "library": LIBRARY,
        **families(task, train),
        "proposal": proposals(task, train, lm, seed),
        "asked": answers[0],
        "rewrite": answers[1],
    }
    return {text: source for source in reversed(texts) for text in texts[source]}


def families(task: BenchmarkTask, train: list[dspy.Example]) -> dict[str, list[str]]:
    """Return the instructions of the optimizer's library by family."""
    (predictor,) = task.program().predictors()
    *_, field = predictor.signature.output_fields
    labels = [str(example[field]) for example in train if field in example]
    found = library(str(predictor.signature.instructions), field, labels)
    return {family: [text] for family, text in found.items()}


def proposals(task: BenchmarkTask, train: list[dspy.Example], lm: dspy.LM, seed: int) -> list[str]:
    """Return whole instructions as the default search has them written."""
    view = place_in(task.program(), train[:SHOWN], task.metric, lm).view
    contexts = view.contexts(range(SHOWN))
    written = starts(view.model, contexts, Random(seed), WRITTEN, LONGEST)
    return [text for text in map(view.instruction, written) if text is not None]


def ask(lm: dspy.LM, request: str, seed: int) -> list[str]:
    """Return what the model answers, without quotes around it."""
    messages = [{"role": "user", "content": request}]

    def answer(sample: int) -> str:
        (found,) = lm(messages=messages, temperature=0.7, top_p=0.9, seed=seed + sample)
        return str(found["text"] if isinstance(found, dict) else found).strip().strip('"').strip()

    with ThreadPoolExecutor(WRITTEN) as pool:
        return [text for text in pool.map(answer, range(WRITTEN)) if text]


def as_text(example: dspy.Example) -> str:
    """Return an example as it is shown to a model, a field a line."""
    return "\n".join(f"{name}: {value}" for name, value in example.toDict().items())
