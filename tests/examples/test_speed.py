"""The speed benchmarks compare like with like."""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from functools import partial
from pathlib import Path

import dspy
import pytest
import torch

from dspy_greater.model import Sampling
from examples.benchmarks import batches, hundred_steps, memory, models, products, speed
from examples.benchmarks import machine as floors
from examples.benchmarks.against_published import against_published
from examples.benchmarks.models import AnyText, load_model
from examples.benchmarks.published import AsPublished
from examples.published_schedule.white_box import GradientBox
from examples.quickstart import SMALL_MODEL
from tests.support.tiny import make_model, make_tokenizer
from tests.support.white_boxes import random_ids, random_items


@pytest.fixture(scope="module")
def boxes() -> tuple[GradientBox, AsPublished]:
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    return GradientBox(model, tokenizer), AsPublished(model, tokenizer)


def test_the_published_way_gives_the_same_numbers(boxes: tuple[GradientBox, GradientBox]) -> None:
    ours, published = boxes
    items, prompts = random_items(5), [random_ids(4 + number, number) for number in range(11)]
    pairs = zip(
        ours.gradients(items, temperature=0.2),
        published.gradients(items, temperature=0.2),
        strict=True,
    )
    for left, right in pairs:
        assert left.loss == pytest.approx(right.loss, rel=1e-4)
        torch.testing.assert_close(left.positions, right.positions, rtol=1e-3, atol=1e-5)
    for left, right in zip(ours.log_probs(items), published.log_probs(items), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        ours.next_log_probs(prompts), published.next_log_probs(prompts), rtol=1e-4, atol=1e-4
    )
    settings = [Sampling(9)] * len(prompts)
    assert [g.ids for g in ours.generate(prompts, settings)] == [
        g.ids for g in published.generate(prompts, settings)
    ]


def test_the_published_way_leaves_our_weights_frozen(
    boxes: tuple[GradientBox, AsPublished],
) -> None:
    ours, published = boxes
    assert not any(p.requires_grad for p in ours.model.parameters())
    assert all(p.requires_grad for p in published.unfrozen.parameters())


@pytest.mark.slow
def test_both_ways_score_the_same_candidates_alike() -> None:
    model, tokenizer = load_model("small")
    options = argparse.Namespace(examples=4, steps=1, published_steps=1, max_tokens=24)
    rates = floors.Machine(flops=1e11, bandwidth=1e10, threads=2)
    with dspy.context(adapter=dspy.ChatAdapter()):
        steps = against_published(
            model, tokenizer, rates, options, partial(speed.place, options=options)
        )
    assert steps["published_edits"] == steps["paper_edits"] == 3
    assert steps["largest_difference"] < 1e-4
    assert 0 < steps["paper_floor"] < steps["paper_seconds"]
    kernels = {
        "score": 0.5,
        "gradient": 0.4,
        "decode_1": 10.0,
        "decode_64": 100.0,
        "decode_1_at_best": 50.0,
        "decode_64_at_best": 600.0,
    }
    text = speed.report({"steps": steps, "kernels": kernels, "machine": vars(rates)})
    assert "100 GFLOP/s, 10.0 GB/s, 2 threads" in text
    assert "(10.0 times; 12.0 times, were both at the machine's rates)" in text
    assert "| published schedule, ours |" in text


def test_a_floor_is_what_the_weights_and_the_cache_ask_for() -> None:
    machine = floors.Machine(flops=1e9, bandwidth=1e9, threads=1)
    costs = floors.Costs(body=1_000_000, head=100_000, cache_bytes=64)
    counts = dict.fromkeys(
        [
            "tokens_forward",
            "tokens_backward",
            "tokens_prompt",
            "tokens_decoded",
            "targets_forward",
            "targets_backward",
            "decoding_steps",
            "keys_read",
        ],
        0,
    )
    read = costs.floors({**counts, "tokens_forward": 100, "targets_forward": 10}, machine)
    assert read == {"generate": 0.0, "gradient": 0.0, "score": pytest.approx(0.202)}
    alone = {**counts, "tokens_decoded": 10, "decoding_steps": 10, "keys_read": 1000}
    assert costs.floors(alone, machine)["generate"] == pytest.approx(0.044 + 6.4e-5)


def test_the_costs_of_a_llama_are_its_weights() -> None:
    model, _ = load_model("small-untrained")
    costs = floors.Costs.of(model)
    assert costs.head == 2048 * 256
    assert costs.body + costs.head == sum(p.numel() for p in model.parameters())
    assert costs.cache_bytes == 4 * 2 * 4 * 256


@pytest.mark.parametrize("direct", [False, True])
def test_a_compile_is_timed_pass_by_pass(direct: bool, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    speed.arguments(parser)
    given = [
        "--model",
        str(SMALL_MODEL),
        "--task",
        "weekday",
        "--runs",
        "200",
        "--max-tokens",
        "60",
    ]
    out = tmp_path / "figures.json"
    options = parser.parse_args([*given, "--json", str(out), *(["--direct"] if direct else [])])
    with dspy.context(adapter=dspy.ChatAdapter()):
        told = speed.run(options)
    figures = json.loads(out.read_text())
    passes = figures["passes"]
    assert figures["runs"] <= 200
    assert passes["read"]["tokens"] > sum(its["count"] for its in passes.values())
    assert any(kind.startswith("decode") for kind in passes)
    assert sum(its["seconds"] for its in passes.values()) < figures["seconds"]
    assert all(its["floor"] > 0 for its in passes.values())
    assert "passes over training and validation examples at that rate" in told


@pytest.mark.slow
def test_a_published_step_is_timed_on_a_folders_model() -> None:
    parser = argparse.ArgumentParser()
    speed.arguments(parser)
    given = ["--model", str(SMALL_MODEL), "--task", "weekday", "--published", "--max-tokens", "40"]
    options = parser.parse_args([*given, "--examples", "4", "--steps", "1"])
    with dspy.context(adapter=dspy.ChatAdapter()):
        figures = hundred_steps.measured(options)
    steps = figures["steps"]
    assert steps["largest_difference"] < 1e-4
    assert steps["paper_seconds"] > 0
    assert steps["published_seconds"] > 0
    whole = {**figures, "start": 0.5, "pass": 150}
    timed = {"examples": 10, "published_seconds": 6.0, "paper_seconds": 2.0}
    told = hundred_steps.report({**whole, "steps": {**steps, **timed}})
    # Three edits of 6 s on 10 examples are 90 s a step on 50; a pass takes 75 s.
    assert "| as published | 18.0 | 2.5 | 120 |" in told


def test_an_untrained_models_text_is_its_reasoning() -> None:
    signature = dspy.ChainOfThought("question -> answer").predict.signature
    assert AnyText().parse(signature, "x y") == {"reasoning": "x y", "answer": ""}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_growth_and_activations_are_those_of_what_is_kept(
    boxes: tuple[GradientBox, GradientBox],
) -> None:
    size = 64 * memory.MEBIBYTE
    # Wide bounds: meanwhile the system may take back pages that nobody uses.
    assert size / 2 <= memory.growth(lambda: torch.ones(size // 4)) <= 2 * size
    ours, _ = boxes
    kept = [
        memory.activations(ours.model, lambda rows=rows: ours.gradients(random_items(rows)))
        for rows in (1, 6)
    ]
    assert 0 < kept[0] < kept[1]


def test_a_process_apart_has_the_environment_asked_for_and_this_one_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "measured", os.getenv)
    assert memory.elsewhere("SOME_SETTING", SOME_SETTING="its value") == "its value"
    assert memory.elsewhere("SOME_SETTING") is None
    assert "SOME_SETTING" not in os.environ


def test_texts_and_scores_that_hang_on_the_batch_are_counted(
    monkeypatch: pytest.MonkeyPatch, boxes: tuple[GradientBox, GradientBox]
) -> None:
    ours, _ = boxes
    asked = batches.questions(ours, 2)
    assert len({each.prompt for each in asked}) == len(asked)
    right = [
        f"[[ ## reasoning ## ]]\nyes\n\n[[ ## answer ## ]]\n{each.example.answer}" for each in asked
    ]
    assert [each.score(text) for each, text in zip(asked, right, strict=True)] == [1] * len(asked)
    assert asked[0].score("no field") == 0
    texts = dict(zip(asked, ["no field", *right[1:]], strict=True))
    monkeypatch.setattr(batches, "written", lambda box, batch: [texts[each] for each in batch])
    found = batches.differing(ours, asked, right, rows=5)
    assert found == {"rows": 5, "texts": 12, "other texts": 1, "better": 0, "worse": 1}


def test_a_model_for_an_accelerator_is_measured_in_its_own_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048}
    monkeypatch.setattr(models, "BILLION", {**models.BILLION, **tiny, **heads})
    model, tokenizer = load_model("billion")
    costs = floors.Costs.of(model)
    assert (costs.weight_bytes, costs.cache_bytes) == (2, 2 * 2 * 2 * 2 * 8)
    assert costs.body + 2 * costs.head == sum(p.numel() for p in model.parameters())
    machine = floors.Machine.measure(floors.CPU, model.dtype, size=64)
    assert machine.flops > 0
    with dspy.context(adapter=AnyText()):
        found = speed.kernels(model, GradientBox(model, tokenizer), machine, length=4)
    decoding = {f"decode_{rows}{best}" for rows in (1, 64) for best in ("", "_at_best")}
    assert found.keys() == {"score", "gradient", *decoding}
    assert all(value > 0 for value in found.values())


def test_the_published_way_works_in_half_precision(boxes: tuple[GradientBox, GradientBox]) -> None:
    _, published = boxes
    half = AsPublished(copy.deepcopy(published.unfrozen).to(torch.bfloat16), published.tokenizer)
    items = random_items(2)
    for gradient in half.gradients(items):
        assert gradient.positions.dtype == torch.float32
        assert gradient.positions.isfinite().all()
    assert half.next_log_probs([random_ids(4, 0)]).isfinite().all()


def test_both_ways_to_multiply_are_timed() -> None:
    options = argparse.Namespace(rows=3, width=8, inner=12, vocab=20, repeats=1, dtype="bfloat16")
    table = products.run(options)
    cells = [row.strip("| ").split(" | ") for row in table.splitlines() if row[2:3].isdigit()]
    assert len(cells) == len(products.ROWS) + 1
    assert all(float(cell) >= 0 for row in cells for cell in row[-3:])
