"""The plan on paper: its formulas against kept compiles, its arithmetic against numbers by hand."""

from __future__ import annotations

import argparse
import json
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch

from dspy_greater.model import Sampling
from dspy_greater.model.counts import Counts
from dspy_greater.model.requests import Generation
from dspy_greater.model.targets import Gradient, Targeted
from dspy_greater.model.team import Order, Reply
from dspy_greater.search.verified.shortlist import CONTEXTS
from dspy_greater.spans import Span
from examples.benchmarks import plan, projection, traced
from examples.benchmarks.common import RESULTS
from examples.benchmarks.foretold import FACTOR, foretold
from examples.benchmarks.models import load_model
from examples.benchmarks.projection import Model, Projection, Rates
from examples.benchmarks.speed import Costs, Machine
from examples.benchmarks.workload import Call, Compile, Habits, Sizes, runs, tokens

KEPT = json.loads(plan.KEPT.read_text())
SPEED = json.loads((RESULTS / "speed_small.json").read_text())


def options(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    plan.arguments(parser)
    return parser.parse_args(line)


def compile_of(run: dict[str, Any]) -> Compile:
    """A kept compile with what its own search found."""
    names = ("train", "validation", "prompt", "completion", "instruction", "steps", "tidied")
    habits = Habits.of([run])
    sizes = Sizes(longest=habits.longest * run["completion"], **{n: run[n] for n in names})
    return Compile(sizes, habits, hidden=256)


def rows(calls: list[Call], kind: str) -> float:
    return sum(call.times * call.rows for call in calls if call.kind == kind)


@pytest.mark.parametrize("run", KEPT["runs"], ids=lambda run: str(run["task"]))
def test_the_formulas_give_the_rows_that_a_kept_compile_had(run: dict[str, Any]) -> None:
    planned = compile_of(run)
    first = [*planned.start(), *planned.first_step()]
    # What a step validates is a mean over all steps.
    assert rows(first, "generate") == pytest.approx(
        run["by_stage"][0]["generate"], abs=run["validation"]
    )
    for stage in run["by_stage"][1 : run["steps"]]:
        assert rows(planned.later_step(), "score") == stage["score"]
        assert rows(planned.later_step(), "gradient") == stage["gradient"]
        raced = rows(planned.later_step(), "generate")
        assert raced == pytest.approx(stage["generate"], abs=run["validation"])
    # Where no edit raced, the racers of the tidying are taken to stay to the end.
    assert runs(planned.calls()) == pytest.approx(run["runs"], rel=0.2)


def test_kept_compiles_are_foretold_within_the_factor_that_is_printed() -> None:
    cases = foretold(KEPT, SPEED)
    assert len(cases) == len(KEPT["runs"]) + 1
    for case in cases:
        planned, measured = case["seconds"]
        assert 1 / FACTOR < planned / measured < FACTOR, case
        planned, measured = case["tokens"]
        assert planned == pytest.approx(measured, rel=0.25), case


MODEL = Model(Costs(1_000_000, 100_000, 64, 2.0), 1_100_000, layers=2, hidden=10)
RATES = Rates({"generate": 0.5, "score": 1.0, "gradient": 0.25}, (1e-3, 1e-5), 2e-3)


def projected(
    *calls: Call, devices: float = 1, bandwidth: float = 1e9, flops: float = 1e9
) -> Projection:
    machine = Machine(flops, bandwidth, 1)
    settings = {"prompt": 100, "max_tokens": 40, "link": 1e6, "devices": devices}
    return Projection(calls, MODEL, machine, RATES, **settings)


def test_products_are_shared_by_the_devices_and_the_reading_of_weights_is_not() -> None:
    answers = Call("generate", 64, 50, 20, held=100, longest=40, runs=True, times=3)
    products = 3 * 2 * 64 * (70 * 1e6 + 20 * 1e5) / 1e9 / 0.5
    assert projected(answers).seconds()["generate"] == pytest.approx(products)
    four = projected(answers, devices=4)
    assert four.seconds()["generate"] == pytest.approx(products / 4)
    reading = 3 * 40 * 2 * 1.1e6 / 1e6 / 0.5
    for devices in (8, 64, math.inf):
        share = max(1, math.ceil(64 / devices))
        keys = 3 * share * 20 * 110 * 64 / 1e6 / 0.5
        slow = projected(answers, devices=devices, bandwidth=1e6)
        assert slow.seconds()["generate"] == pytest.approx(reading + keys)
    step = slow.step(8)
    assert step == pytest.approx((2 * 1.1e6 + 8 * 110 * 64) / 1e6 / 0.5)


def test_a_call_takes_as_long_as_the_device_with_most_rows() -> None:
    score, gradient = Call("score", 5, 10, 2), Call("gradient", 3, 10, 2)
    spent = projected(score, gradient, devices=2).seconds()
    assert spent["score"] == pytest.approx(3 * 2 * (10 * 1e6 + 2 * 1e5) / 1e9)
    assert spent["gradient"] == pytest.approx(2 * 4 * (10 * 1e6 + 2 * 1e5) / 1e9 / 0.25)


@pytest.mark.parametrize("devices", [1, 2, 64, math.inf])
def test_what_is_not_divided_takes_as_long_on_any_devices_and_sends_nothing(
    devices: float,
) -> None:
    alone = Call("score", 32, 10, 2, sent=1000, divides=False)
    divided = Call("score", 32, 10, 2)
    row = 2 * (10 * 1e6 + 2 * 1e5) / 1e9
    spent = projected(alone, divided, devices=devices).seconds()
    assert spent["score"] == pytest.approx(row * (32 + max(1, 32 / devices)))
    assert spent["exchange"] == 0


def test_only_how_the_model_itself_would_go_on_is_not_divided() -> None:
    planned = compile_of(KEPT["runs"][0])
    assert all(call.divides == (call.sent > 0) for call in planned.calls())
    (alone,) = [call for call in planned.later_step() if not call.divides]
    assert (alone.kind, alone.rows) == ("score", CONTEXTS)
    assert alone.targets == planned.sizes.instruction + 1
    (all_later,) = [call for call in planned.calls() if not call.divides]
    assert all_later.times == planned.sizes.steps - 1


def test_messages_are_about_as_long_as_planned() -> None:
    sizes = Sizes(50, 50, prompt=300, completion=200, longest=255, instruction=30)
    planned = Compile(sizes, Habits.of(KEPT["runs"]), hidden=64)
    ids = tuple(range(100_000, 100_500))
    item, log_probs = Targeted(ids, Span(300, 500), Span(0, 30)), torch.zeros(200)
    written = Generation(ids[:200], "word" * 200, "stop")
    cases = [
        (planned.start()[0], (ids[:300], Sampling(512)), written),
        (planned._score(1, 0), (item,), log_probs),
        (planned._gradient(1, 0), (item,), Gradient(log_probs, 1.0, torch.zeros(30, 64))),
    ]
    for call, row, result in cases:
        messages = Order("method", [[each] for each in row], {}), Reply([result], None, Counts())
        sent = sum(len(pickle.dumps(message)) for message in messages)
        assert call.sent == pytest.approx(sent, rel=0.25)


def test_a_batch_that_is_too_large_decodes_in_several() -> None:
    answers = Call("generate", 64, 50, 20, held=100, longest=40, runs=True)
    slow = projected(answers, bandwidth=1e6, flops=1e12)
    parted = replace(slow, budget=64 * 110 // 2)
    keys = 64 * 20 * 110 * 64 / 1e6 / 0.5
    assert parted.seconds()["generate"] - keys == pytest.approx(
        2 * (slow.seconds()["generate"] - keys)
    )


def test_the_first_process_works_alone_and_what_goes_between_them_takes_time() -> None:
    answers = Call("generate", 8, 50, 20, held=100, longest=40, sent=1000, runs=True)
    alone, two = (projected(answers, devices=devices).seconds() for devices in (1, 2))
    assert alone["processor"] == two["processor"] == pytest.approx(8 * (1e-3 + 1e-3 + 2e-3))
    assert alone["exchange"] == 0
    assert two["exchange"] == pytest.approx(8 * 1000 / 2 / 1e6)


def test_tokens_grow_with_the_examples_where_the_program_runs() -> None:
    planned = compile_of(KEPT["runs"][1])
    twice = replace(planned, sizes=replace(planned.sizes, train=100, validation=100))
    once, both = tokens(planned.calls()), tokens(twice.calls())
    assert 1.5 * once["generate"] < both["generate"] < 2 * once["generate"]
    assert both["score"] == once["score"]
    assert both["gradient"] == once["gradient"]
    assert plan._line(300, 500, 128) == "100 + 1.6 N"
    assert plan._line(100, 100, 128) == "100"
    assert plan._line(0, 0, 128) == "0"


def test_no_more_runs_are_made_at_a_time_than_all_devices_have_threads() -> None:
    planned = compile_of(KEPT["runs"][0])
    sizes = replace(planned.sizes, train=1000, threads=128)
    one = replace(planned, sizes=sizes)
    (few, *_), (twice, *_), (many, *_) = (one.on(n).start() for n in (1, 2, math.inf))
    assert (few.rows, few.times) == (125, 8)
    assert (twice.rows, twice.times) == (250, 4)
    assert (many.rows, many.times) == (1000, 1)


def test_the_report_says_what_is_assumed_and_what_was_measured() -> None:
    text = plan.report(options("--devices", "6", "--efficiency", "score=0.5"), KEPT)
    assert "989 TFLOP/s; 3,350 GB/s; 80 GB a device (H100 SXM by its data sheet" in text
    assert "score 50% (given)" in text
    assert "at most 128 runs at a time on each device" in text
    assert "layers, keys and vocabulary of Llama 3.1 8B" in text
    table = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    devices = [[cell.strip() for cell in row] for row in table if row[0].strip().isdigit()]
    assert [row[0] for row in devices] == ["1", "2", "4", "6"]
    spent = [float(row[6].replace(",", "")) for row in devices]
    assert spent == sorted(spent, reverse=True)
    assert "data sheet" not in plan.report(options("--flops", "1e14"), KEPT)


def test_each_row_of_the_table_is_planned_with_the_runs_at_a_time_of_its_devices() -> None:
    given = options("--threads", "16", "--devices", "8", "--examples", "100")
    planned = Compile(plan.sizes_of(given, Habits.of(KEPT["runs"])), Habits.of(KEPT["runs"]), 10)
    on = plan.projected(given, planned, MODEL, RATES)
    wide = replace(planned, sizes=replace(planned.sizes, threads=128))
    assert on(8).calls == wide.calls()
    assert on(1).most_rows() == 16 >= on(8).most_rows()
    total = sum(on(8).seconds().values())
    last = plan.by_devices(on, 8).splitlines()[-1].split("|")
    assert (last[1].strip(), last[7].strip()) == ("8", f"{total:,.1f}")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ((), "decoding: a step reads all weights"),
        (("--flops", "1e18", "--bandwidth", "1e16"), "the first process's own work"),
        (("--link", "1e5"), "what goes between the processes"),
        (
            ("--flops", "1e12", "--bandwidth", "1e18", "--completion-tokens", "1"),
            "which the first process reads alone",
        ),
    ],
)
def test_what_limits_is_named(line: tuple[str, ...], what: str) -> None:
    assert what in plan.report(options(*line), KEPT)


def test_a_model_that_fits_no_device_is_refused_and_a_tight_one_warned_of() -> None:
    with pytest.raises(SystemExit, match=r"140 GB .* over 2 devices or more.*tp_plan"):
        plan.check(options("--params", "70e9"))
    tight = options("--params", "70e9", "--bytes-per-weight", "1", "--devices", "1")
    plan.check(tight)
    assert "**More than there is**" in plan.report(tight, KEPT)
    assert "More than there is" not in plan.report(options(), KEPT)


@pytest.mark.parametrize("name", ["--params", "--devices", "--examples", "--link", "--tidied"])
def test_numbers_that_are_no_size_are_refused(name: str) -> None:
    with pytest.raises(SystemExit, match=f"{name} must be a number"):
        plan.check(options(name, "-1"))


@pytest.mark.parametrize("given", ["decode=0.5", "score=2", "score=0", "score"])
def test_an_efficiency_is_a_share_of_a_phase(given: str) -> None:
    with pytest.raises(SystemExit, match="--efficiency takes generate=SHARE"):
        plan.efficiencies([given], {"generate": 0.2, "score": 0.3})


def test_a_model_has_the_nearest_published_shape() -> None:
    assert projection.shape_of(7e9).name == "Llama 3.1 8B"
    model = Model.of(8.03e9, 0.5)
    assert model.costs.cache_bytes == 2 * 32 * 1024 * 2
    assert model.costs.body + 2 * model.costs.head == pytest.approx(8.03e9)
    assert Model.of(1.236e9, 4).costs.cache_bytes == 2 * 16 * 512 * 4


def test_a_traced_compile_notes_all_that_the_model_counted() -> None:
    box = traced.Recorded(*load_model("small"))
    run = traced.compiled(box, "letters", 0, 12)
    noted = {kind: each["rows"] for kind, each in run["calls"].items()}
    assert noted == {
        "generate": run["counts"]["rollouts"],
        "score": run["counts"]["forwards"],
        "gradient": run["counts"]["backwards"],
    }
    assert run["calls"]["generate"]["runs"] == run["runs"]
    assert sum(stage["generate"] for stage in run["by_stage"]) == noted["generate"]
    assert len(run["by_stage"]) == run["steps"] + run["tidied"]
    length, seconds = traced.rendering(box, 2)
    assert length > traced.rendering(box, 1)[0]
    assert seconds > 0
