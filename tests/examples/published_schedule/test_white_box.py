"""Gradients at the embedding layer's output, against arithmetic that does not use autograd."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from dspy_greater.basics.spans import Span
from dspy_greater.model import Sampling, Targeted
from examples.published_schedule.white_box import Gradient, GradientBox
from tests.support.families import FAMILIES, MEASURED
from tests.support.marks import mostly_slow
from tests.support.tiny import make_model, make_tokenizer
from tests.support.white_boxes import random_ids, random_items, white_box_of


def loss_at(model: Any, item: Targeted, embeddings: torch.Tensor, temperature: float) -> float:
    """The loss of a plain forward pass that starts from the embedding layer's output."""
    with torch.no_grad():
        logits = model(inputs_embeds=embeddings[None]).logits[0] / temperature
    log_probs = torch.log_softmax(logits, dim=-1)
    targets = range(*item.targets)
    return -float(sum(log_probs[t - 1, item.ids[t]] for t in targets) / len(targets))


@pytest.fixture
def all_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models compute norms and rotations in float32 whatever their weights; here they may not.

    Rounding would otherwise drown a difference of two nearly equal losses.
    """
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.usefixtures("all_in_float64")
@pytest.mark.parametrize("temperature", [1.0, 0.2])
@pytest.mark.parametrize("architecture", mostly_slow(MEASURED, "llama", "gemma2", "mamba"))
def test_gradient_agrees_with_finite_differences(architecture: str, temperature: float) -> None:
    white_box = white_box_of(architecture, dtype=torch.float64)
    model = white_box.model
    item = Targeted(random_ids(20), Span(16, 20), Span(2, 7))
    (result,) = white_box.gradients([item], temperature=temperature)
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(torch.tensor(item.ids))  # scaled, if it scales
    assert result.loss == pytest.approx(loss_at(model, item, embeddings, temperature), rel=1e-6)
    source = torch.Generator().manual_seed(1)
    step = 1e-5
    for _ in range(3):
        direction = torch.zeros_like(embeddings)
        direction[2:7] = torch.randn(5, embeddings.shape[1], generator=source, dtype=torch.float64)
        up = loss_at(model, item, embeddings + step * direction, temperature)
        down = loss_at(model, item, embeddings - step * direction, temperature)
        predicted = (result.positions.double() * direction[2:7]).sum()
        assert float(predicted) == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("architecture", mostly_slow(FAMILIES, "llama", "gemma2", "mamba"))
def test_batched_gradients_are_single_gradients(architecture: str) -> None:
    white_box = white_box_of(architecture)
    items = random_items()
    for item, batched in zip(items, white_box.gradients(items), strict=True):
        (single,) = white_box.gradients([item])
        assert item.inputs is not None
        assert batched.positions.shape[0] == item.inputs.end - item.inputs.start
        assert batched.positions.dtype == torch.float32
        scale = float(single.positions.abs().max())
        assert scale > 0
        torch.testing.assert_close(
            batched.positions / scale, single.positions / scale, atol=1e-4, rtol=1e-3
        )
        assert batched.loss == pytest.approx(single.loss, rel=1e-5)
        torch.testing.assert_close(batched.log_probs, single.log_probs, atol=2e-5, rtol=1e-5)


def test_log_probs_stay_at_temperature_one_and_inputs_are_optional(white_box: GradientBox) -> None:
    item = Targeted(random_ids(12), Span(9, 12))
    (sharp,) = white_box.gradients([item], temperature=0.2)
    (plain,) = white_box.log_probs([item])
    torch.testing.assert_close(sharp.log_probs, plain)
    assert sharp.positions.shape == (0, 32)
    assert sharp.loss != pytest.approx(-float(plain.mean()))


def test_a_small_step_along_the_gradient_lowers_the_loss_as_predicted() -> None:
    """What the scores are for: the first-order change of the loss is the change that happens."""
    white_box = white_box_of("llama", dtype=torch.float64)
    model = white_box.model
    item = Targeted(random_ids(15), Span(12, 15), Span(0, 15))
    (gradient,) = white_box.gradients([item])
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(torch.tensor(item.ids))
    slope = gradient.positions.double()
    step = 1e-4 / float(slope.norm())
    change = loss_at(model, item, embeddings - step * slope, 1.0) - gradient.loss
    assert change == pytest.approx(-step * float(slope.square().sum()), rel=1e-2)


def test_weights_are_frozen_and_get_no_gradient() -> None:
    white_box = white_box_of("gpt2")
    white_box.gradients(random_items(2))
    parameters = list(white_box.model.parameters())
    assert not any(parameter.requires_grad for parameter in parameters)
    assert all(parameter.grad is None for parameter in parameters)


def test_gradients_work_after_generating() -> None:
    """Nothing that generation leaves behind (caches, rotary tables) may reach autograd."""
    white_box = white_box_of("gemma3_text")
    items = random_items(2)
    before = white_box.gradients(items)
    white_box.generate([random_ids(30)], [Sampling(8)])
    after = white_box.gradients(items)
    for left, right in zip(before, after, strict=True):
        torch.testing.assert_close(left.positions, right.positions)


def test_nan_gradients_are_returned_as_they_are() -> None:
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    white_box = GradientBox(model, tokenizer)
    (gradient,) = white_box.gradients(random_items(1))
    assert gradient.positions.isnan().all()
    assert gradient.loss != gradient.loss


def test_half_precision_gradients_point_the_same_way() -> None:
    items = random_items(2)
    exact = white_box_of("llama").gradients(items)
    for dtype in (torch.bfloat16, torch.float16):
        rough = white_box_of("llama", dtype=dtype).gradients(items)
        for left, right in zip(exact, rough, strict=True):
            cosine = torch.cosine_similarity(left.positions, right.positions, dim=-1)
            assert cosine.min() > 0.9


@pytest.mark.parametrize(
    ("item", "temperature", "message"),
    [
        (Targeted([3, 4, 5], Span(2, 2), Span(0, 1)), 1.0, "no targets"),
        (Targeted([3, 4, 5], Span(2, 3), Span(0, 1)), 0.0, "temperature"),
        (Targeted([3, 4], Span(1, 2), Span(1, 5)), 1.0, "inputs"),
    ],
)
def test_undefined_losses_are_refused(
    white_box: GradientBox, item: Targeted, temperature: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        white_box.gradients([item], temperature=temperature)


def test_threads_do_not_disturb_each_other() -> None:
    white_box = white_box_of("llama")
    items = random_items(3)
    prompt = random_ids(9)
    expected = white_box.gradients(items)
    text = white_box.generate([prompt], [Sampling(6)])
    results: list[list[Gradient]] = []
    texts: list[Any] = []

    def differentiate() -> None:
        results.append(white_box.gradients(items))

    def speak() -> None:
        texts.append(white_box.generate([prompt], [Sampling(6)]))

    threads = [threading.Thread(target=work) for work in (differentiate, speak) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [text] * 3
    for result in results:
        for left, right in zip(result, expected, strict=True):
            torch.testing.assert_close(left.positions, right.positions)
