"""The small model's tasks, wording, rows, tokenizer and the shipped weights."""

from __future__ import annotations

import random
import re
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import dspy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from examples.small_model import evaluate
from examples.small_model.muon import orthogonalised
from examples.small_model.rows import (
    QUESTION,
    boilerplate,
    prompt,
    proposal_row,
    reply,
    rows,
    task_row,
)
from examples.small_model.tasks import (
    GROUPS,
    HASTY_INSTRUCTION,
    IRRELEVANT_INSTRUCTION,
    LESSONS,
    SPLIT_BUCKETS,
    bucket,
    examples,
    is_held_out,
)
from examples.small_model.train import batches, rate
from examples.small_model.wording import chances, held_out_instruction, instruction, scores

NAMES = list(LESSONS)
MODEL = evaluate.FOLDER
SPLITS = ("train", "validation", "test")


def solve(name: str, question: str) -> str:
    """Solves a question from its text alone, independently of the chains."""
    numbers = [int(n) for n in re.findall(r"\d+", question)]
    if name == "counting":
        asked = re.search(r"How many (\w+)", question)[1]  # type: ignore[index]
        pairs = re.findall(r"(\d+) (\w+)", question)
        return str(sum(int(n) for n, thing in pairs if thing in GROUPS[asked]))
    if name == "arithmetic":
        signs = {"add": 1, "subtract": -1}
        orders = re.findall(r"(add|subtract) (\d+)", question)
        return str(numbers[0] + sum(signs[word] * int(n) for word, n in orders))
    if name == "grid":
        total = {
            way: sum(int(n) for n in re.findall(way + r" (\d+)", question))
            for way in ("right", "left", "up", "down")
        }
        column = numbers[0] + total["right"] - total["left"]
        return f"column {column}, row {numbers[1] + total['up'] - total['down']}"
    if name == "weekday":
        days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
        start = days.index(re.search(r"shows (\w+)", question)[1])  # type: ignore[index]
        jumps = re.findall(r"(\d+) days (later|earlier)", question)
        return days[(start + sum(int(n) * (1 if w == "later" else -1) for n, w in jumps)) % 7]
    if name == "prices":
        return max(re.search(r"prices are ([\d, ]+)", question)[1].split(", "))  # type: ignore[index]
    words = re.search(r"words are ([\w, ]+)\.", question)[1].split(", ")  # type: ignore[index]
    return ", ".join(sorted(words)) if name == "sorting" else "-".join(w[-1] for w in words)


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10**9))
@settings(max_examples=300, deadline=None)
def test_right_chain_ends_in_the_answer_and_no_shortcut_does(name: str, seed: int) -> None:
    problem = LESSONS[name].problem(random.Random(seed))
    assert problem.answer == solve(name, problem.question)
    assert [
        aspects for aspects, c in problem.completions.items() if c.answer == problem.answer
    ] == [(True, True)]
    for completion in problem.completions.values():
        assert (completion.reasoning == "") == (LESSONS[name].kind == "Predict")
        assert completion.answer in (completion.reasoning or completion.answer)


def test_both_kinds_are_there() -> None:
    kinds = [task.kind for task in LESSONS.values()]
    assert kinds.count("ChainOfThought") >= 5
    assert kinds.count("Predict") >= 2


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_held_out_disjoint_and_repeatable(name: str) -> None:
    drawn = {split: examples(name, split, 40, seed=1) for split in SPLITS}  # type: ignore[arg-type]
    questions = [example.question for split in drawn.values() for example in split]
    assert len(set(questions)) == 120
    assert all(is_held_out(question) for question in questions)
    assert [e.answer for e in drawn["test"]] == [e.answer for e in examples(name, "test", 40, 1)]
    assert drawn["test"][0].inputs().keys() == ["question"]
    assert all(e.answer == solve(name, e.question) for e in drawn["train"])


def test_training_sees_no_held_out_question() -> None:
    for row in islice(rows(5), 1000):
        question = next(piece.text for piece in row if piece.weight == QUESTION)
        assert bucket(question) not in SPLIT_BUCKETS.values()


@pytest.mark.parametrize("name", NAMES)
def test_metric_ignores_case_and_spacing_only(name: str) -> None:
    task = LESSONS[name]
    example = examples(name, "test", 1)[0]
    loose = f"  {example.answer.upper()}. "
    assert task.metric(example, dspy.Prediction(answer=loose))
    assert not task.metric(example, dspy.Prediction(answer=example.answer + " x"))
    assert not task.metric(example, dspy.Prediction())


def expected(name: str, text: str) -> float:
    rng = random.Random(0)
    return mean(chances(text, name, LESSONS[name].problem(rng)).right for _ in range(300))


@pytest.mark.parametrize("name", NAMES)
def test_hidden_score_orders_the_instructions(name: str) -> None:
    task = LESSONS[name]
    default = expected(name, evaluate.DSPY_DEFAULT)
    assert default <= 0.4
    assert expected(name, task.weak_instruction) <= 0.45
    assert expected(name, HASTY_INSTRUCTION) < default / 2
    assert expected(name, IRRELEVANT_INSTRUCTION) == pytest.approx(default, abs=0.02)
    assert default < expected(name, evaluate.STEP_BY_STEP) < 0.6
    assert expected(name, evaluate.GENERIC) < 0.6
    assert expected(name, task.good_instruction) >= 0.95
    assert expected(name, held_out_instruction(name, random.Random(3))) >= 0.9


@pytest.mark.parametrize("name", NAMES)
def test_no_single_word_is_enough(name: str) -> None:
    words = set(LESSONS[name].good_instruction.lower().replace(",", "").split())
    assert max(expected(name, f"Answer {word}.") for word in words) < 0.5


def test_forms_of_a_word_count_once() -> None:
    assert scores("Count the items", "counting") == scores("counting, counted item", "counting")
    assert scores("Counts count", "counting") == scores("count", "counting")
    assert scores("Count the items", "grid") == scores("nothing", "grid")


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10**6), suited=st.booleans())
@settings(max_examples=100, deadline=None)
def test_instructions_are_clean_text(name: str, seed: int, suited: bool) -> None:
    text = instruction(name, random.Random(seed), suited=suited)
    assert text == " ".join(text.split())
    assert not set(text) & set("()|\n")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.mark.parametrize("name", NAMES)
def test_rows_equal_what_the_adapter_and_the_template_write(name: str, tokenizer: Any) -> None:
    task = LESSONS[name]
    problem = task.problem(random.Random(2))
    completion = problem.completions[True, True]
    row = task_row(task.kind, task.good_instruction, problem.question, completion)
    messages = prompt(task.kind, task.good_instruction, problem.question)
    messages.append({"role": "assistant", "content": reply(task.kind, completion)})
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert "".join(piece.text for piece in row) == text
    # Encoded piece by piece, as the training does, or as a whole.
    pieces = [i for piece in row for i in tokenizer.encode(piece.text, add_special_tokens=False)]
    assert pieces == tokenizer.encode(text, add_special_tokens=False)


def test_proposal_row_is_one_user_turn(tokenizer: Any) -> None:
    row = proposal_row("Why?", "Work slowly.")
    content = "question: Why?\n\ninstruction: Work slowly."
    text = tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    assert "".join(piece.text for piece in row) == text


def test_first_word_of_the_instruction_carries_its_space(tokenizer: Any) -> None:
    for kind in ("Predict", "ChainOfThought"):
        system = prompt(kind, "Read the question.", "Why?")[0]["content"]  # type: ignore[arg-type]
        tokens = tokenizer.tokenize(system)
        assert tokens[-4:] == ["ĠRead", "Ġthe", "Ġquestion", "."]
        assert len(tokens) == 5


def test_boilerplate_is_made_of_single_plain_tokens(tokenizer: Any) -> None:
    for text in boilerplate():
        assert len(tokenizer.encode(text, add_special_tokens=False)) == 1
        assert tokenizer.convert_tokens_to_ids(text) not in tokenizer.all_special_ids


def test_any_text_survives_the_tokenizer(tokenizer: Any) -> None:
    for text in ("Café 12,5 €\n\n  naïve", "\n        Then go on", "[[ ## other ## ]]\nx"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_packed_rows_see_only_themselves(tokenizer: Any) -> None:
    batch = next(batches(rows(1), tokenizer))
    seen = batch.mask(torch.float32)[:, 0] == 0
    assert torch.equal(seen, torch.tril(batch.row[:, :, None] == batch.row[:, None, :]))
    first = batch.tokens[0][batch.row[0] == 0]
    assert tokenizer.decode(first).count("<|end|>") in (1, 3)
    assert (batch.row >= 0).float().mean() > 0.9


def test_learning_rate_rises_stays_and_falls() -> None:
    assert rate(0.0) < 0.1
    assert rate(0.02) == rate(0.4) == 1.0
    assert rate(0.7) == pytest.approx(0.5)
    assert rate(1.0) == 0.0


def test_orthogonalised_brings_singular_values_near_one() -> None:
    batch = torch.randn(3, 24, 16, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(batch))
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_wilson_interval() -> None:
    low, high = evaluate.Cell(8, 10, 10).interval()
    assert (low, high) == (pytest.approx(0.490, abs=1e-3), pytest.approx(0.943, abs=1e-3))


def test_shipped_model_follows_its_instruction() -> None:
    model, tokenizer = evaluate.load(MODEL, "cpu")
    assert sum(path.stat().st_size for path in Path(MODEL).iterdir()) < 16e6
    for name in ("arithmetic", "letters"):
        task, questions = LESSONS[name], examples(name, "test", 12, seed=7)
        good = evaluate.measure(model, tokenizer, task, task.good_instruction, questions)
        hasty = evaluate.measure(model, tokenizer, task, HASTY_INSTRUCTION, questions)
        assert good.parsed == hasty.parsed == 12
        assert good.right >= hasty.right + 5
