"""Products of linear layers: as torch makes them, by other ways."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dspy_greater.model import products
from dspy_greater.model.products import FEW
from examples.published_schedule.white_box import GradientBox
from tests.support.tiny import make_model, make_tokenizer

here = pytest.mark.skipif(not products.available(), reason="this torch multiplies by other means")
SHAPES = st.tuples(st.integers(0, 3), st.integers(0, 2 * FEW)) | st.tuples(st.integers(0, 40))


@here
@given(SHAPES, st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(0, 99))
def test_a_product_is_as_exact_as_torchs_own(
    rows: tuple[int, ...], width: int, out: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer, values = nn.Linear(width, out, bias=bias), torch.randn(*rows, width)
    exact = copy.deepcopy(layer).double()(values.double())
    with torch.no_grad():
        found = products.product(layer, values)
    assert found.shape == exact.shape
    assert found.is_contiguous()
    assert torch.allclose(found.double(), exact, rtol=1e-5, atol=1e-5)


@here
def test_a_slice_is_multiplied_like_a_copy_of_it() -> None:
    layer, values = nn.Linear(8, 5), torch.randn(4, 3, 8)
    with torch.no_grad():
        assert torch.allclose(products.product(layer, values[:, -1:]), layer(values[:, -1:]))


def test_a_gradient_goes_through_torchs_own_product() -> None:
    layer, values = nn.Linear(8, 5), torch.randn(3, 8, requires_grad=True)
    products.product(layer, values).sum().backward()
    assert torch.allclose(values.grad, layer.weight.sum(0).expand(3, 8))


@here
def test_layers_are_themselves_again_afterwards() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).double(), nn.Linear(4, 4))
    own = model[2].forward = lambda values: values + 1  # as somebody's hook
    with products.faster(model):
        assert "forward" in vars(model[0])
        assert "forward" not in vars(model[1])  # in float64 there is one way
        assert model[2].forward is own
        with products.faster(model):  # twice at a time
            pass
        assert "forward" in vars(model[0])
    assert "forward" not in vars(model[0])
    assert model[2].forward is own


@here
def test_a_white_box_multiplies_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    plain = products.product

    def listening(layer: nn.Linear, values: torch.Tensor) -> torch.Tensor:
        rows.append(values.numel() // values.shape[-1])
        return plain(layer, values)

    monkeypatch.setattr(products, "product", listening)
    tokenizer = make_tokenizer()
    box = GradientBox(make_model("llama"), tokenizer)
    rows.clear()
    (ids,) = [tuple(tokenizer("a b a b")["input_ids"])]
    found = box.next_log_probs([ids])
    assert rows
    monkeypatch.setattr(products, "available", lambda: False)
    assert torch.allclose(found, box.next_log_probs([ids]), atol=1e-5)
