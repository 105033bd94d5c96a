"""Take a weak instruction to a better one, and check it on questions nobody has seen.

    python examples/quickstart.py
    python examples/quickstart.py --task weekday --seed 1
    python examples/quickstart.py --model Qwen/Qwen2.5-1.5B-Instruct

Without arguments it uses the small model of this repository, in which the effect
of words is built in (examples/small_model/README.md): it shows that the optimizer works,
not what large models do.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import dspy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that the script runs from a plain checkout

from dspy_greater import GreaterTeleprompter, local_lm  # noqa: E402
from examples.small_model.tasks import TASKS, Task, examples  # noqa: E402

SMALL_MODEL = ROOT / "examples" / "small_model" / "model"
TRAIN, VALIDATION, HELD_OUT = 24, 32, 200


def main() -> None:
    """Parse the command line, run, and print what a reader wants to know."""
    arguments = parse()
    if arguments.json:  # found out now rather than after the work
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
    load(arguments.model)
    effort = {"auto": arguments.auto} if arguments.steps is None else {"max_steps": arguments.steps}
    task = TASKS[arguments.task]
    result = improve(task, arguments.seed, **effort)
    result = {"model": str(arguments.model), **result}
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=SMALL_MODEL, help="hub id or folder of a causal LM")
    parser.add_argument("--task", default=next(iter(TASKS)), choices=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--auto", default="light", choices=["light", "medium", "heavy"])
    parser.add_argument("--steps", type=int, help="steps of the search, instead of --auto")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    return parser.parse_args()


def load(model: str | Path) -> dspy.LM:
    """Load a local model and make it DSPy's LM, without answers cached by earlier runs."""
    logging.getLogger("dspy.evaluate").setLevel(logging.WARNING)  # the score is printed below
    dspy.configure_cache(enable_disk_cache=False)
    lm = local_lm(str(model), max_tokens=200, max_batch=128)
    dspy.configure(lm=lm)
    return lm


def improve(task: Task, seed: int, **knobs: Any) -> dict[str, Any]:
    """Compile one task from its weak instruction and score it before and after."""
    program = task.program()
    predictor = program.predictors()[0]
    predictor.signature = predictor.signature.with_instructions(task.weak_instruction)
    held_out = examples(task.name, "test", HELD_OUT, seed)

    teleprompter = GreaterTeleprompter(metric=task.metric, seed=seed, **knobs)
    began = time.perf_counter()
    compiled = teleprompter.compile(
        program,
        trainset=examples(task.name, "train", TRAIN, seed),
        valset=examples(task.name, "validation", VALIDATION, seed),
    )
    seconds = time.perf_counter() - began
    record = compiled.detailed_results
    return {
        "task": task.name,
        "seed": seed,
        "instruction_before": task.weak_instruction,
        "instruction_after": compiled.predictors()[0].signature.instructions,
        "score_before": accuracy(program, task, held_out),
        "score_after": accuracy(compiled, task, held_out),
        "heldout": len(held_out),
        "rollouts": record.counts["rollouts"],
        "tokens": sum(n for name, n in record.counts.items() if name.startswith("tokens")),
        "seconds": round(seconds, 1),
    }


def accuracy(program: dspy.Module, task: Task, questions: list[dspy.Example]) -> float:
    """Return the fraction of questions answered right."""
    evaluate = dspy.Evaluate(
        devset=questions, metric=task.metric, num_threads=128, display_progress=False
    )
    return round(float(evaluate(program).score) / 100, 4)


def show(result: dict[str, Any]) -> None:
    """Print the instruction and the held-out accuracy before and after."""
    print(f"\n{result['task']}, seed {result['seed']}, {result['heldout']} held-out questions")
    for when in ("before", "after"):
        print(f"  {when:6} {result[f'score_{when}']:6.1%}  {result[f'instruction_{when}']!r}")
    print(
        f"  {result['seconds']:.0f} s, {result['rollouts']} rollouts, "
        f"{result['tokens']:,} tokens through the model"
    )


if __name__ == "__main__":
    main()
