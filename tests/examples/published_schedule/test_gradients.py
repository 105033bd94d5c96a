"""First-order scores of other tokens, and layers through which no true gradient goes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import TorchAoConfig

from dspy_greater.basics.spans import Span
from dspy_greater.model import ModelError, Targeted, load
from examples.published_schedule import PaperConfig, PaperState
from examples.published_schedule.gradients import check_gradients, substitution
from tests.support.tiny import make_model, make_tokenizer
from tests.support.weights import SIZES, int8, quantization
from tests.support.white_boxes import random_ids, white_box_of


def test_substitution_is_the_one_hot_gradient_of_an_unscaled_model() -> None:
    white_box = white_box_of("llama", dtype=torch.float64)
    model = white_box.model
    item = Targeted(random_ids(15), Span(12, 15), Span(3, 8))
    table = model.get_input_embeddings().weight
    one_hot = torch.nn.functional.one_hot(torch.tensor(item.ids), table.shape[0]).double()
    one_hot.requires_grad_(True)
    logits = model(inputs_embeds=(one_hot @ table)[None]).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[11:14], torch.tensor(item.ids[12:15]))
    (expected,) = torch.autograd.grad(loss, one_hot)
    (gradient,) = white_box.gradients([item])
    scores = substitution(white_box, gradient.positions, range(white_box.vocab_size))
    torch.testing.assert_close(scores, expected[3:8].float(), atol=1e-5, rtol=1e-4)
    some = substitution(white_box, gradient.positions, [7, 400])
    torch.testing.assert_close(some, scores[:, [7, 400]])
    assert substitution(white_box, gradient.positions, []).shape == (5, 0)


def test_substitution_waits_for_a_pass_in_another_thread() -> None:
    white_box = white_box_of("llama")
    item = Targeted(random_ids(15), Span(12, 15), Span(3, 8))
    (alone,) = white_box.gradients([item])
    expected = substitution(white_box, alone.positions, [7, 400])

    found: list[torch.Tensor] = []
    other = threading.Thread(
        target=lambda: found.append(substitution(white_box, alone.positions, [7, 400]))
    )

    def beside(*_: Any) -> None:  # the embedding layer has its hook by then
        if not other.ident:
            other.start()
            other.join(timeout=0.2)
            assert other.is_alive()

    first = white_box.model.get_input_embeddings().register_forward_pre_hook(beside)
    (disturbed,) = white_box.gradients([item])
    other.join(timeout=60)
    first.remove()
    torch.testing.assert_close(disturbed.positions, alone.positions)
    torch.testing.assert_close(found, [expected])


def test_substitution_includes_the_scale_of_the_embedding_layer() -> None:
    white_box = white_box_of("gemma2")
    model = white_box.model
    gradient = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    scores = substitution(white_box, gradient, [5, 6, 7])
    unscaled = gradient @ model.get_input_embeddings().weight[5:8].T
    torch.testing.assert_close(scores, unscaled * 32**0.5, atol=1e-4, rtol=1e-4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved tiny Llama, wide enough for groups of 32 weights."""
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer), **SIZES).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_rounded_activations_are_refused_before_the_search(folder: Path) -> None:
    rounding = TorchAoConfig(quantization.Int8DynamicActivationInt8WeightConfig())
    view = cast(Any, SimpleNamespace(model=load(folder, quantization_config=rounding)))
    with pytest.raises(ModelError, match=r"No gradient .*\.q_proj \(.*Int8WeightOnlyConfig"):
        PaperConfig().schedule(view, cast(Any, None), "seed", PaperState("start"))


def test_rounded_weights_let_gradients_through(folder: Path) -> None:
    check_gradients(load(folder, quantization_config=int8()).model)
