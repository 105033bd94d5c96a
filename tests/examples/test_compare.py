"""The comparison of optimizers: sizes, the stand-in, cells, tables."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest

from dspy_greater import StepEvent
from dspy_greater.cost import Counts
from dspy_greater.lm import white_box
from examples import compare
from examples.benchmarks.common import place_in
from examples.comparison import cells, tables
from examples.comparison.cells import STAND_IN, Contest, cost, rows
from examples.comparison.optimizers import ASKING, BASELINES, OPTIMIZERS, Within, largest
from examples.comparison.stand_in import stand_in
from examples.quickstart import SMALL_MODEL, load
from examples.tasks import BenchmarkTask, Splits
from examples.tasks import load as load_task
from tests.support.marks import slow
from tests.support.pictures import check_picture, kept_figures

START = "Given the fields `question`, produce the fields `answer`."


@pytest.fixture(scope="module")
def lm() -> dspy.LM:
    return load(SMALL_MODEL)


@pytest.fixture
def task() -> BenchmarkTask:
    """A task with just enough examples for every optimizer."""
    whole = load_task("letters")

    def splits(seed: int) -> Splits:
        train, validation, test = whole.splits(seed)
        return Splits(train[:16], validation[:25], test[:4])

    return replace(whole, splits=splits)


# --- Sizes ---------------------------------------------------------------------------------------


def test_an_optimizer_gets_the_first_size_that_fits_or_the_cheapest() -> None:
    sizes = [10, 5, 2]
    assert largest(sizes, lambda size: 10.0 * size, runs=60) == 5
    assert largest(sizes, lambda size: 10.0 * size, runs=1000) == 10
    assert largest(sizes, lambda size: 10.0 * size, runs=1) == 2


def test_our_search_ends_before_a_step_that_would_exceed_the_budget() -> None:
    def event(tokens: int) -> StepEvent:
        return StepEvent("", 1, "", False, (), 0.0, 0, tokens, 0.0)

    within = Within(budget=100)
    assert [within(event(tokens)) for tokens in (30, 60, 85)] == [False, False, True]


def test_a_token_of_a_gradient_counts_twice() -> None:
    assert cost(Counts(tokens_forward=5, tokens_backward=7, tokens_decoded=2)) == 5 + 2 * 7 + 2


def test_those_that_ask_have_a_row_with_the_stand_in_where_they_are_helped() -> None:
    assert rows(["greater", "gepa"], helped=True) == ["greater", "gepa", "gepa" + STAND_IN]
    assert rows(["greater", "gepa"], helped=False) == ["greater", "gepa"]


# --- The stand-in --------------------------------------------------------------------------------


class Advice(dspy.Signature):
    """Advise."""

    score: float = dspy.InputField()
    discussion: str = dspy.OutputField()
    advice: dict[str, str] = dspy.OutputField()


@pytest.mark.parametrize("adapter", [slow(dspy.ChatAdapter()), dspy.JSONAdapter()])
def test_the_stand_in_fills_every_field_with_words_of_the_model(
    lm: dspy.LM, task: BenchmarkTask, adapter: dspy.Adapter
) -> None:
    program, train = task.program(), task.splits(0).train[:4]
    contexts = place_in(program, train, task.metric, lm).view.contexts(range(4))

    def advised(seed: int) -> list[dspy.Prediction]:
        writer = stand_in(white_box(lm), contexts, ["first", "second"], seed)
        with dspy.context(lm=writer, adapter=adapter):
            return [dspy.Predict(Advice)(score=score) for score in (0.5, 1.0)]

    one, two = advised(0)
    assert set(one.advice) == {"first", "second"}
    texts = [one.discussion, *one.advice.values(), two.discussion]
    assert all(texts)
    assert len(set(texts)) > 1
    assert [each.discussion for each in advised(0)] == [one.discussion, two.discussion]
    assert [each.discussion for each in advised(1)] != [one.discussion, two.discussion]


def test_the_stand_in_refuses_what_no_adapter_wrote(lm: dspy.LM) -> None:
    writer = stand_in(white_box(lm), [(1, 2)], ["predict"], 0)
    with pytest.raises(Exception, match="adapters alone"):
        writer("Write something nice.")


# --- Cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["greater", *(name + STAND_IN for name in ASKING)])
def test_every_optimizer_runs_on_the_smallest_budget(
    row: str, lm: dspy.LM, task: BenchmarkTask
) -> None:
    cell = Contest(lm).cell(row, task, seed=0, budget=1000)
    assert cell["error"] is None
    assert len(cell["scores"]) == 4
    assert 0 < cell["tokens"] < 60_000
    assert cell["instruction"]


def test_an_optimizer_that_raises_is_kept_as_failed(
    lm: dspy.LM, task: BenchmarkTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(setting: Any) -> dspy.Module:
        setting.task.program()(question="?")
        raise ValueError("no field named rationale")

    monkeypatch.setitem(OPTIMIZERS, "gepa", broken)
    cell = Contest(lm).cell("gepa", task, seed=0, budget=1000)
    assert cell["error"] == "ValueError: no field named rationale"
    assert cell["instruction"] == START
    assert cell["tokens"] > 0


@pytest.mark.parametrize("row", BASELINES)
def test_baselines_cost_nothing(row: str, lm: dspy.LM, task: BenchmarkTask) -> None:
    cell = Contest(lm).cell(row, task, seed=0, budget=0)
    assert (cell["tokens"], cell["error"]) == (0, None)
    assert (cell["instruction"] == START) == (row == "none")


# --- Tables --------------------------------------------------------------------------------------


def case(row: str, task: str, right: int, budget: int = 100, error: str | None = None) -> Any:
    scores = [1.0] * right + [0.0] * (10 - right)
    cell = {"row": row, "task": task, "seed": 0, "budget": 0 if row in BASELINES else budget}
    cost = {"tokens": 0, "seconds": 0.0} if row in BASELINES else {"tokens": 50, "seconds": 2.0}
    return {**cell, "scores": scores, **cost, "error": error}


CASES = [
    case("none", "one", 2),
    case("none", "two", 4),
    case("greater", "one", 8),
    case("greater", "two", 3),
    case("gepa", "one", 2, error="AdapterParseError"),
    case("gepa", "one", 9, budget=200),
]


def test_the_table_compares_with_the_start_on_shared_runs() -> None:
    lines = tables.table(CASES, ["none", "greater", "gepa", "mipro"], 100).splitlines()
    assert lines[2].startswith("| none | 2 | 30.0 | +0.0 (+0.0 to +0.0) | 0 |  |")
    assert lines[3] == "| greater | 2 | 55.0 | +25.0 (-10.0 to +60.0) | 1 |  | 50 | 2 |"
    assert lines[4] == "| gepa | 1 | 20.0 | +0.0 (+0.0 to +0.0) | 0 | 1 | 50 | 2 |"
    assert len(lines) == 5


def test_tasks_have_columns_and_leads_are_paired() -> None:
    lines = tables.by_task(CASES, ["none", "greater", "gepa"], 100).splitlines()
    assert lines[0] == "| optimizer | one | two |"
    assert lines[3:] == ["| greater | 80 | 30 |", "| gepa | 20 |  |"]
    assert tables.leads(CASES, ["none", "greater", "gepa"], 100).splitlines() == [
        "- greater - none: +25.0 points (-10.0 to +60.0)",
        "- greater - gepa: +60.0 points (+60.0 to +60.0), "
        "in 1.00 of its seconds (by run 1.00 to 1.00), 1 run",
    ]
    (_, lead) = tables.leads(CASES, ["none", "gepa", "greater"], 100).splitlines()
    assert lead.startswith("- gepa - greater: -60.0 points")


def test_a_plot_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, figures = tmp_path / "plots" / "compare.png", kept_figures(monkeypatch)
    tables.plot(CASES, [*BASELINES, "greater", "gepa"], path)
    (figure,) = figures
    check_picture(path, figure)
    left, right = figure.axes
    # From the start, 20 % without a token, through the budgets; the start has a line across, too.
    # The other task is left out, for not all have run it.
    lines = {line.get_label(): line.get_xydata().round(6).tolist() for line in left.lines}
    assert lines["greater"] == [[0, 20], [0.05, 80]]
    assert lines["gepa"] == [[0, 20], [0.05, 20], [0.05, 90]]
    assert [[0, 20], [1, 20]] in lines.values()
    assert [text.get_text() for text in left.texts] == ["none"]
    assert [text.get_text() for text in left.get_legend().texts] == ["greater", "gepa"]
    assert left.get_ylabel() == "held-out accuracy, %"
    # The same against time.
    lines = {line.get_label(): line.get_xydata().round(6).tolist() for line in right.lines}
    assert lines["greater"] == [[0, 20], [0.033333, 80]]
    assert right.get_xlabel() == "minutes"


# --- The command ---------------------------------------------------------------------------------


def test_finished_cells_are_kept_and_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def cell(self: Contest, row: str, task: BenchmarkTask, seed: int, budget: int) -> Any:
        ran.append(row)
        outcome = ("scores", "tokens", "seconds", "error")
        whole = case(row, task.name, 5)
        return {**{key: whole[key] for key in outcome}, "instruction": "Think."}

    monkeypatch.setattr(cells.Contest, "cell", cell)
    results = tmp_path / "cells.jsonl"
    command = ["compare.py", "--optimizers", "greater,none", "--tasks", "letters", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--budget", "100", "--results", str(results)])
    compare.main()
    assert ran == [*BASELINES, "greater"]
    compare.main()
    assert len(ran) == 4
    assert "| greater | 1 | 50.0 |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--tables"])
    monkeypatch.setattr(compare, "load", None)  # no model is loaded
    results.write_text(results.read_text().splitlines()[-1] + "\n")
    compare.main()
    assert len(ran) == 4
    assert capsys.readouterr().out.startswith("\n100 tokens, local/")


def test_instructions_of_another_model_run_on_this_one(
    lm: dspy.LM,
    task: BenchmarkTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def found(row: str, instruction: str, **more: Any) -> str:
        whole = {**case(row, "letters", 1), "model": "other", "demos": 0}
        return json.dumps({**whole, "instruction": instruction, **more})

    theirs, results = tmp_path / "theirs.jsonl", tmp_path / "cells.jsonl"
    lines = [
        found("greater", "Think."),
        found("greater", "Shows demos.", demos=2, seed=1),
        found("greater", "Of this very model.", model="mine"),
        found("greater", "Of another budget.", budget=200),
        found("greater", "Without reasoning.", direct=True),
        found("gepa", "Not asked for."),
    ]
    theirs.write_text("\n".join(lines))
    monkeypatch.setattr(compare, "load", lambda model: lm)
    monkeypatch.setattr(compare, "load_task", lambda name, data: task)
    command = ["compare.py", "--name", "mine", "--optimizers", "greater", "--tasks", "letters"]
    command += ["--seeds", "2", "--budget", "100", "--results", str(results)]
    monkeypatch.setattr(sys, "argv", [*command, "--transfer", str(theirs)])
    compare.main()
    new = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(cell["row"], cell["seed"]) for cell in new] == [
        ("none", 0), ("none", 1), ("greater of other", 0),
    ]  # fmt: skip
    assert (new[2]["instruction"], len(new[2]["scores"])) == ("Think.", 4)
    out = capsys.readouterr().out
    assert "Not transferred, for demos or an error: 1" in out
    assert "| greater of other | 1 |" in out


def test_what_another_model_found_is_in_the_tables_and_not_in_the_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It costs nothing here, and was run on one of the two seeds."""
    free = {"budget": 100, "tokens": 0, "seconds": 0.0}
    found = [case("none", "letters", 2), case("greater", "letters", 8)]
    found += [{**cell, "seed": 1, "scores": [0.0] * 10} for cell in found]
    found.append({**case("greater of other", "letters", 5), **free})
    results, figures = tmp_path / "cells.jsonl", kept_figures(monkeypatch)
    results.write_text("".join(json.dumps({**cell, "model": "mine"}) + "\n" for cell in found))
    command = ["compare.py", "--tables", "--optimizers", "greater", "--tasks", "letters"]
    command += ["--budget", "100", "--results", str(results), "--plot", str(tmp_path / "plot.png")]
    monkeypatch.setattr(sys, "argv", command)
    compare.main()
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "- greater - greater of other: +30.0 points (+30.0 to +30.0)"
    (figure,) = figures
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines["greater"] == [[0, 10], [0.05, 40]]
    assert "greater of other" not in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--transfer", "nowhere.jsonl"], "there is no nowhere.jsonl"),
        (["--optimizers", "greater,gpea"], "no 'gpea': choose from greater"),
        (["--tasks", "navigat"], "no 'navigat': choose from"),
        (["--seeds", "0"], "at least 1"),
        (["--budget", "0"], "at least 1"),
        (["--budget", "many"], "invalid"),
    ],
)
def test_a_mistaken_command_is_refused_before_any_work(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    with pytest.raises(SystemExit):
        compare.main()
    assert message in capsys.readouterr().err


def test_missing_data_are_told_of_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", "--tasks", "navigate", "--data", str(tmp_path)])
    with pytest.raises(Exception, match="navigate"):
        compare.main()
