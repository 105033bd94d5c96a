"""Set optimizers side by side: same model, same data, same budget in tokens through the model.

    python examples/compare.py --quick
    python examples/compare.py --budget 60000,200000 --seeds 3 --plot compare.png
    python examples/compare.py --optimizers greater,gepa,mipro --tasks navigate,gsm8k \\
        --data FOLDER --model Qwen/Qwen2.5-1.5B-Instruct --prompt-model openai/gpt-5-mini

Rows: greater (this project's default), words (the same without worked examples), demos (it looks
for demos, too), asked (of its sources the model alone), paper (GReaTer's published schedule), and
DSPy's mipro (instructions alone), mipro-demos (as it comes), copro, gepa and simba. Those ask a
prompt model for instructions: the same local model, unless --prompt-model names another; with the
small model of this repository, which cannot be asked, a stand-in in a second row
(examples/comparison/stand_in.py). Always there: the baselines none (the start), "Let's think step
by step." and a plain hand-written instruction.

With --transfer FILE, the results of another model, nothing is searched: the instructions found
there run on the held-out questions of this one, in rows such as "greater of qwen2.5-coder-0.5b".

Finished cells are kept and not run again, so a comparison may be stopped and taken up, and its
tasks or seeds may be run apart. With --tables nothing is run and no model is loaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that the script runs from a plain checkout

from dspy_greater.program import DataError  # noqa: E402
from examples.benchmarks.common import RESULTS, Cases  # noqa: E402
from examples.comparison import cells, tables  # noqa: E402
from examples.comparison.optimizers import BASELINES, OPTIMIZERS  # noqa: E402
from examples.quickstart import SMALL_MODEL, load  # noqa: E402
from examples.tasks import NAMES, SYNTHETIC  # noqa: E402
from examples.tasks import load as load_task  # noqa: E402

#: Stands between an optimizer and the other model that it found an instruction with.
FOUND_WITH = " of "
#: What --quick runs.
QUICK = {"tasks": ["arithmetic", "weekday", "letters"], "seeds": 1, "budget": [60_000]}


def main() -> None:
    """Run the cells that are missing and show what was found."""
    options = parse()
    helped = options.model == SMALL_MODEL and not options.prompt_model
    rows = [*BASELINES, *cells.rows(options.optimizers, helped)]
    if options.tables:
        cases = Cases(options.results, {"model": options.name} if options.name else {})
    else:
        cases = run(options, rows)
    done = [case for case in cases.read() if case["task"] in options.tasks]
    told = [*rows, *dict.fromkeys(case["row"] for case in done if FOUND_WITH in case["row"])]
    models = ", ".join({case["model"]: None for case in done}) or "no finished cells"
    for budget in options.budget:
        print(f"\n{budget:,} tokens, {models}\n\n{tables.table(done, told, budget)}")
        print(f"\n{tables.by_task(done, told, budget)}\n\n{tables.leads(done, told, budget)}")
    if options.plot:
        tables.plot(done, rows, options.plot)


def run(options: argparse.Namespace, rows: Sequence[str]) -> Cases:
    """Run the cells that are missing, and return where all are."""
    tasks = {name: load_task(name, options.data) for name in options.tasks}
    if options.direct:
        tasks = {name: task.without_reasoning() for name, task in tasks.items()}
    for task in tasks.values():
        task.splits(0)  # data that are not there are told of now, not after hours
    lm = load(options.model)
    contest = cells.Contest(lm, options.prompt_model)
    settings = {"model": options.name or lm.model, "prompt_model": options.prompt_model or "same"}
    cases = Cases(options.results, {**settings, **({"direct": True} if options.direct else {})})
    searched = ["none"] if options.transfer else rows
    for seed in range(options.seeds):
        for name, task in tasks.items():
            for row in searched:
                for budget in [0] if row in BASELINES else options.budget:
                    cell = {"row": row, "task": name, "seed": seed, "budget": budget}
                    if cases.lack(**cell):
                        found = contest.cell(row, task, seed, budget)
                        cases.add(**cell, **found)
                        tell({**cell, **found})
    for case in transferred(options, settings["model"]) if options.transfer else []:
        cell = {key: case[key] for key in ("row", "task", "seed", "budget")}
        if cases.lack(**cell):
            found = contest.given(case["instruction"], tasks[case["task"]], case["seed"])
            cases.add(**cell, **found)
            tell({**cell, **found})
    return cases


def transferred(options: argparse.Namespace, model: str) -> list[tables.Case]:
    """Return the cells of other models whose instructions are to run on this one.

    A program that shows demos is left out: a cell tells how many, not which.
    """
    wanted = [
        case
        for case in Cases(options.transfer, {}).read()
        if case["model"] != model
        and case.get("direct", False) == options.direct
        and case["row"] in options.optimizers
        and case["task"] in options.tasks
        and case["seed"] < options.seeds
        and case["budget"] in options.budget
    ]
    bare = [case for case in wanted if not case["demos"] and case["error"] is None]
    if len(bare) < len(wanted):
        print(f"Not transferred, for demos or an error: {len(wanted) - len(bare)}")
    return [{**case, "row": f"{case['row']}{FOUND_WITH}{case['model']}"} for case in bare]


def parse() -> argparse.Namespace:
    """Read the command line and refuse what cannot be run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*OPTIMIZERS, *BASELINES]
    parser.add_argument("--optimizers", type=_listed(known), default=list(OPTIMIZERS))
    parser.add_argument("--tasks", type=_listed(NAMES), default=list(SYNTHETIC))
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--budget", type=_numbers, default=[200_000], help="tokens, one or more")
    parser.add_argument("--model", default=SMALL_MODEL, help="hub id or folder of a causal LM")
    parser.add_argument("--name", help="what the model is called in the results")
    parser.add_argument("--direct", action="store_true", help="no reasoning before the answer")
    parser.add_argument("--prompt-model", help="writes instructions, e.g. openai/gpt-5-mini")
    parser.add_argument("--data", help="folder of the published data, see examples/tasks")
    parser.add_argument("--results", type=Path, default=RESULTS / "compare.jsonl")
    parser.add_argument("--transfer", type=Path, help="results of other models, to run on this one")
    parser.add_argument("--tables", action="store_true", help="show what is there, run nothing")
    parser.add_argument("--plot", type=Path, help="draw accuracy against tokens and time")
    parser.add_argument("--quick", action="store_true", help="three tasks, one seed, few tokens")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    if options.seeds < 1 or min(options.budget) < 1:
        parser.error("--seeds and --budget must be at least 1")
    if options.transfer and not options.transfer.is_file():
        parser.error(f"--transfer: there is no {options.transfer}")
    wanted = [name for name in options.optimizers if name not in BASELINES]
    options.optimizers = list(dict.fromkeys(wanted))
    if "mipro" in options.optimizers and importlib.util.find_spec("optuna") is None:
        parser.error("mipro needs optuna: pip install 'dspy[optuna]', or leave it out")
    return options


def _listed(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a reader of names with commas between them."""

    def read(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {name!r}: choose from {', '.join(known)}")
        return names

    return read


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.replace("_", "").split(",")]


def tell(cell: tables.Case) -> None:
    """Print a line on a finished cell."""
    outcome = cell["error"] or repr(cell["instruction"])
    print(
        f"{cell['task']} {cell['seed']}  {cell['row']:18} {tables.accuracy(cell):6.1%}  "
        f"{cell['tokens']:>9,} tokens {cell['seconds']:>6} s  {outcome}",
        flush=True,
    )


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        raise SystemExit(str(error)) from None
