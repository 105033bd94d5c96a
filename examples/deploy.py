"""Find instructions with a small local model for a program that runs on another LM.

    python examples/deploy.py
    python examples/deploy.py --target FOLDER_OF_ANOTHER_MODEL
    python examples/deploy.py --target openai/gpt-5-mini

The white box proposes. Every candidate is tried on the target, which also gives the verdict and
will run the program. Without arguments the target is this repository's small model behind an
OpenAI-compatible server, which the script starts on this machine (pip install
"transformers[serving]"): the way is then shown, with the same weights on both sides.
For an API, set its key in the environment, as litellm wants it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dspy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that the script runs from a plain checkout

from dspy_greater import GreaterTeleprompter, local_lm  # noqa: E402
from examples.quickstart import SMALL_MODEL  # noqa: E402
from examples.serving import served  # noqa: E402
from examples.small_model.tasks import TASKS, Task, examples  # noqa: E402

TRAIN, VALIDATION, HELD_OUT = 24, 32, 200


def main() -> None:
    """Improve a program for the target, save it, and try what was saved."""
    options = parse()
    task = TASKS[options.task]
    # DSPy's cache knows a model by its name alone, not by the server that it was asked at.
    dspy.configure_cache(enable_disk_cache=False)
    # The LM that runs the program, now and later: dspy.configure(lm=lm) does as well.
    with target_lm(options.target, options.api_base) as lm, dspy.context(lm=lm):
        program = task.program()
        predictor = program.predictors()[0]
        predictor.signature = predictor.signature.with_instructions(task.weak_instruction)

        teleprompter = GreaterTeleprompter(
            metric=task.metric,
            lm=local_lm(options.white_box, max_tokens=200),
            seed=options.seed,
            max_metric_calls=options.max_metric_calls,
        )
        compiled = teleprompter.compile(
            program,
            trainset=examples(task.name, "train", TRAIN, options.seed),
            valset=examples(task.name, "validation", VALIDATION, options.seed),
        )
        compiled.save(options.save)

        deployed = task.program()  # in another process, say, with neither torch nor a white box
        deployed.load(options.save)
        show(task, lm, {"before": program, "after": deployed}, options.seed)
        print(f"  {compiled.detailed_results.summary()}")


@contextmanager
def target_lm(target: str, api_base: str | None) -> Iterator[dspy.LM]:
    """Give the LM that a name stands for; a folder is served for the time being."""
    settings = {"temperature": 0.0, "max_tokens": 200}
    if not Path(target).is_dir():
        yield dspy.LM(target, api_base=api_base, **settings)
        return
    folder = Path(target).resolve()
    with served(folder) as url:
        yield dspy.LM(f"openai/{folder.name}", api_base=url, api_key="none", **settings)


def show(task: Task, lm: dspy.LM, programs: dict[str, dspy.Module], seed: int) -> None:
    """Print each program's instruction and its accuracy on held-out questions."""
    held_out = examples(task.name, "test", HELD_OUT, seed)
    evaluate = dspy.Evaluate(devset=held_out, metric=task.metric, display_progress=False)
    print(f"\n{task.name} on {lm.model}, {HELD_OUT} held-out questions")
    for when, program in programs.items():
        instruction = program.predictors()[0].signature.instructions
        print(f"  {when:6} {evaluate(program).score:5.1f} %  {instruction!r}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default=str(SMALL_MODEL), help="a DSPy model name or a folder")
    parser.add_argument("--api-base", help="address of the target, if it is not its provider's")
    parser.add_argument("--white-box", default=str(SMALL_MODEL), help="hub id or folder")
    parser.add_argument("--task", default="letters", choices=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-metric-calls", type=int, help="a bound; by default auto='light'")
    parser.add_argument("--save", type=Path, default=Path("deployed.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
