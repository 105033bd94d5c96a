"""Log-probabilities: the same numbers as a plain forward pass, without its logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dspy_greater.basics.spans import Span
from dspy_greater.model import ContextError, Sampling, Targeted, WhiteBox
from tests.support.families import FAMILIES
from tests.support.marks import mostly_slow
from tests.support.white_boxes import (
    full_log_probs,
    random_ids,
    random_items,
    white_box_of,
)


@pytest.mark.parametrize("architecture", mostly_slow(FAMILIES, "llama", "gemma2", "mamba"))
def test_scores_are_those_of_a_plain_forward_pass(architecture: str) -> None:
    white_box = white_box_of(architecture)
    items = random_items()
    batched = white_box.log_probs(items)
    for item, scores in zip(items, batched, strict=True):
        plain = full_log_probs(white_box.model, list(item.ids))
        expected = [plain[t - 1, item.ids[t]] for t in range(*item.targets)]
        torch.testing.assert_close(scores, torch.stack(expected), atol=2e-5, rtol=1e-5)
        assert scores.dtype == torch.float32
        (single,) = white_box.log_probs([item])
        torch.testing.assert_close(scores, single, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", mostly_slow(FAMILIES, "llama", "gemma2", "mamba"))
def test_next_token_distributions(architecture: str) -> None:
    white_box = white_box_of(architecture)
    prefixes = [random_ids(length, length) for length in (3, 30, 1, 12)]
    together = white_box.next_log_probs(prefixes)
    assert together.shape == (4, white_box.vocab_size)
    assert white_box.counts.tokens_forward == sum(map(len, prefixes))
    for prefix, row in zip(prefixes, together, strict=True):
        plain = full_log_probs(white_box.model, prefix)[-1]
        torch.testing.assert_close(row, plain, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "mamba"])
def test_the_head_reads_hidden_states_in_one_piece(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    white_box = white_box_of(architecture)
    head = white_box.model.get_output_embeddings()
    plain, in_one_piece = head.forward, []

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        in_one_piece.append(hidden.is_contiguous())
        return plain(hidden)

    monkeypatch.setattr(head, "forward", watched)
    prompts = [random_ids(12, seed=1), random_ids(12, seed=2)]
    items = random_items(3)
    works: list[Callable[[], Any]] = [
        lambda: white_box.generate(prompts, [Sampling(3)] * 2),
        lambda: white_box.log_probs(items),
        lambda: white_box.gradients(items),
        lambda: white_box.next_log_probs(prompts),
    ]
    for work in works:
        in_one_piece.clear()
        work()
        assert in_one_piece
        assert all(in_one_piece)


def test_order_and_numbers_do_not_depend_on_the_token_budget() -> None:
    items = random_items(9)
    at_once = white_box_of("llama").log_probs(items)
    for tokens in (1, 60, 130):
        in_parts = white_box_of("llama", tokens=tokens).log_probs(items)
        for left, right in zip(at_once, in_parts, strict=True):
            torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-5)


def test_nothing_to_score(white_box: WhiteBox) -> None:
    assert white_box.log_probs([]) == []
    assert white_box.next_log_probs([]).shape == (0, white_box.vocab_size)
    empty, scored = white_box.log_probs(
        [Targeted([5, 6], Span(2, 2)), Targeted([5, 6], Span(1, 2))]
    )
    assert empty.shape == (0,)
    assert scored.shape == (1,)


@pytest.mark.parametrize("gradients", [False, True])
def test_only_target_rows_reach_the_head(gradients: bool) -> None:
    white_box = white_box_of("gemma2")
    head = white_box.model.get_output_embeddings()
    rows: list[int] = []
    handle = head.register_forward_hook(lambda m, args, out: rows.append(out.shape[:-1].numel()))
    items = random_items()
    white_box.gradients(items) if gradients else white_box.log_probs(items)
    handle.remove()
    assert sum(rows) == sum(item.targets.end - item.targets.start for item in items)


def test_hooks_are_gone_even_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    white_box = white_box_of("llama")
    model = white_box.model

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(model.model.layers[0], "forward", fail)
    with pytest.raises(ZeroDivisionError):
        white_box.gradients(random_items(1))
    assert not model.get_output_embeddings()._forward_pre_hooks
    assert not model.get_input_embeddings()._forward_hooks


def test_work_is_counted_in_tokens() -> None:
    white_box = white_box_of("llama")
    before = white_box.counts.snapshot()
    items = random_items(3)
    white_box.log_probs(items)
    white_box.gradients(items[:1])
    done = white_box.counts - before
    assert done.tokens_forward == sum(len(item.ids) for item in items)
    assert done.tokens_backward == len(items[0].ids)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Targeted([3, 4], Span(0, 1)), "first token"),
        (Targeted([3, 4], Span(1, 3)), "must lie in"),
        (Targeted([], Span(1, 1)), "no tokens"),
    ],
)
def test_spans_outside_the_sequence_are_refused(
    white_box: WhiteBox, item: Targeted, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        white_box.log_probs([item])


def test_a_sequence_longer_than_the_context_is_refused() -> None:
    white_box = white_box_of("gpt2", max_position_embeddings=16)
    with pytest.raises(ContextError, match=r"17 tokens exceeds the context of 16 .*Shorten"):
        white_box.log_probs([Targeted(random_ids(17), Span(1, 2))])
    assert white_box.log_probs([Targeted(random_ids(16), Span(1, 16))])[0].shape == (15,)
    with pytest.raises(ContextError):
        white_box.next_log_probs([random_ids(17)])


def test_a_real_model_prefers_fluent_text(shared: Any) -> None:
    from dspy_greater.model import load

    if not (shared / "models/tiny1m").is_dir():
        pytest.skip("no models/tiny1m among the shared assets")
    white_box = load(shared / "models/tiny1m", device="cpu")
    fluent = "Once upon a time, there was a little girl. She liked to play with her dog."
    shuffled = "girl play a with. dog little Once her upon She there liked was a to time,"
    texts = [
        white_box.encode([{"role": "user", "content": text}], open_end=True).ids
        for text in (fluent, shuffled)
    ]
    good, bad = white_box.log_probs([Targeted(ids, Span(1, len(ids))) for ids in texts])
    assert good.mean() > bad.mean() + 1


def test_a_result_takes_nothing_else_of_its_batch_along(white_box: WhiteBox) -> None:
    items = random_items(6)
    results = [*white_box.log_probs(items), *(g.log_probs for g in white_box.gradients(items))]
    for tensor in results:
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
