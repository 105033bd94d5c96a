"""What sequences share is read once, and nothing else changes by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.basics.spans import Span
from dspy_greater.model import Generation, Sampling, Targeted, WhiteBox
from dspy_greater.model.prefix import (
    BATCH_COST,
    CHUNK,
    SHORTEST,
    Prefix,
    beginnings,
    by_prefix,
    common_length,
    of_like_length,
)
from tests.support.families import FAMILIES, SHARING
from tests.support.marks import mostly_slow
from tests.support.white_boxes import (
    random_ids,
    random_items,
    shares,
    white_box_of,
)

#: Rotary, learned and linear positions for the fast suite.
MOSTLY = mostly_slow(SHARING, "llama", "gpt2", "bloom")
# Few different tokens, so that sequences do share something.
SEQUENCES = st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=60), min_size=1, max_size=12)


def instructions_with_rollouts() -> list[Targeted]:
    """Three instructions behind one beginning, five rollouts each, and something unrelated."""
    items = []
    for instruction in range(3):
        head = (*random_ids(20), *random_ids(150, seed=10 + instruction))
        for rollout in range(5):
            tail = random_ids(3 + 4 * rollout, seed=100 * instruction + rollout)
            end = len(head) + len(tail)
            items.append(Targeted((*head, *tail), Span(len(head), end), Span(155, 170)))
    return [*items, *random_items(2)]


def alone(
    white_box: WhiteBox, prompts: Sequence[Sequence[int]], settings: Sequence[Sampling]
) -> list[Generation]:
    """Each prompt continued by itself, so that nothing can be shared."""
    pairs = zip(prompts, settings, strict=True)
    return [white_box.generate([prompt], [setting])[0] for prompt, setting in pairs]


@given(SEQUENCES)
def test_groups_hold_everything_once_and_share_what_they_say(sequences: list[list[int]]) -> None:
    most = [len(ids) - 1 for ids in sequences]
    groups = by_prefix(sequences, most)
    assert sorted(i for group in groups for i in group.members) == list(range(len(sequences)))
    for group in groups:
        beginnings = {tuple(sequences[i][: group.shared]) for i in group.members}
        assert len(beginnings) == 1
        assert all(group.shared <= most[i] for i in group.members)


@given(SEQUENCES)
def test_a_common_beginning_is_common_and_leaves_something_to_read(
    prompts: list[list[int]],
) -> None:
    shared, _ = beginnings(prompts)
    assert len({tuple(prompt[:shared]) for prompt in prompts}) == 1
    assert all(len(prompt) > shared for prompt in prompts)
    assert shared == 0 or shared >= SHORTEST


@given(SEQUENCES)
def test_beginnings_are_shared_and_leave_something_to_read(prompts: list[list[int]]) -> None:
    common, starts = beginnings(prompts)
    for prompt, start in zip(prompts, starts, strict=True):
        assert common <= start < len(prompt)
        assert prompt[:common] == prompts[0][:common]
        if start > common:
            assert sum(other[:start] == prompt[:start] for other in prompts) > 1


def tokens_read(sequences: Sequence[Sequence[int]], most: Sequence[int]) -> int:
    return sum(
        group.shared + sum(len(sequences[i]) - group.shared for i in group.members)
        for group in by_prefix(sequences, most)
    )


@given(SEQUENCES, st.sampled_from([0, 5, BATCH_COST]))
def test_no_groups_by_a_common_beginning_of_one_length_save_more(
    sequences: list[list[int]], price: int
) -> None:
    most = [len(ids) - 1 for ids in sequences]

    def saved(groups: Iterable[Sequence[int]], price: int) -> int:
        return sum((len(each) - 1) * alike(each) - price for each in groups)

    def alike(members: Sequence[int]) -> int:
        texts = [sequences[index] for index in members]
        return min(common_length(*texts), *(most[index] for index in members))

    best = saved([group.members for group in by_prefix(sequences, most, price)], price)
    for length in range(max(most) + 1):
        apart: dict[tuple[int, ...], list[int]] = {}
        for index, ids in enumerate(sequences):
            key = tuple(ids[:length]) if most[index] >= length else (*ids, -1 - index)
            apart.setdefault(key, []).append(index)
        assert best >= saved(apart.values(), price)


def test_each_instruction_is_read_once_for_all_its_rollouts() -> None:
    items = [item for item in instructions_with_rollouts() if len(item.ids) > 170]
    ids, most = [item.ids for item in items], [item.targets.start - 1 for item in items]
    assert [(g.shared, len(g.members)) for g in by_prefix(ids, most)] == [(169, 5)] * 3
    assert tokens_read(ids, most) == sum(map(len, ids)) - 3 * 4 * 169


def test_short_sequences_stay_in_one_batch() -> None:
    ids = [random_ids(30, seed=i) for i in range(9)]
    assert BATCH_COST > 30
    (group,) = by_prefix(ids, [29] * 9)
    assert group.shared == 0


@pytest.mark.parametrize("architecture", MOSTLY)
def test_log_probs_are_those_without_sharing(architecture: str) -> None:
    items = instructions_with_rollouts()
    white_box = white_box_of(architecture, dtype=torch.float64)
    shared = white_box.log_probs(items)
    plain = [white_box.log_probs([item])[0] for item in items]
    for left, right in zip(shared, plain, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", MOSTLY)
def test_gradients_are_those_without_sharing(architecture: str) -> None:
    items = instructions_with_rollouts()
    white_box = white_box_of(architecture, dtype=torch.float64)
    shared = white_box.gradients(items)
    plain = [white_box.gradients([item])[0] for item in items]
    for left, right in zip(shared, plain, strict=True):
        assert left.loss == pytest.approx(right.loss, rel=1e-5)
        scale = float(right.positions.abs().max())
        torch.testing.assert_close(left.positions / scale, right.positions / scale)


@pytest.mark.parametrize("architecture", MOSTLY)
def test_generations_are_those_without_sharing(architecture: str) -> None:
    head = random_ids(40)
    prompts = [(*head, *random_ids(1 + 5 * i, seed=i)) for i in range(6)]
    settings = [Sampling(max_tokens=8, temperature=i % 2, seed=i) for i in range(6)]
    white_box = white_box_of(architecture, dtype=torch.float64)
    assert white_box.generate(prompts, settings) == alone(white_box, prompts, settings)


@pytest.mark.parametrize("architecture", MOSTLY)
@pytest.mark.parametrize("preamble", [0, 20])
def test_prompts_under_one_instruction_read_it_once(architecture: str, preamble: int) -> None:
    head = random_ids(preamble)
    instructions = [random_ids(15 + 10 * number, seed=number) for number in range(3)]
    questions = [random_ids(2 + 3 * number, seed=10 + number) for number in range(4)]
    prompts = [(*head, *text, *question) for text in instructions for question in questions]
    prompts += [prompts[-1]] * 3 + [(*head, *random_ids(9, seed=99))]
    settings = [Sampling(max_tokens=8, temperature=i % 2, seed=i) for i in range(16)]
    white_box = white_box_of(architecture, dtype=torch.float64)
    shared = white_box.generate(prompts, settings)
    one = (*head, *instructions[2], *questions[3])
    once = sum(map(len, instructions)) + 3 * sum(map(len, questions[:3])) + 2 * len(questions[3])
    if architecture != "bloom":  # its rows of differing lengths do not mix in float64
        assert white_box.counts.tokens_prompt <= preamble + once + len(one) + 9
    assert shared == alone(white_box, prompts, settings)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_models_that_drop_keys_or_keep_a_state_read_everything(architecture: str) -> None:
    assert shares(white_box_of(architecture)) is (architecture in SHARING)


@pytest.mark.parametrize("architecture", MOSTLY)
def test_prompts_with_several_continuations_are_read_once(architecture: str) -> None:
    white_box = white_box_of(architecture, dtype=torch.float64)
    head = random_ids(40)
    prompts = [(*head, *random_ids(4 + 9 * i, seed=i)) for i in range(4)]
    items = []
    for prompt in prompts:
        for number in range(3):
            ids = (*prompt, *random_ids(2 + 5 * number, seed=number))
            items.append(Targeted(ids, Span(len(prompt), len(ids))))
    shared = white_box.log_probs(items)
    continued = sum(len(item.ids) - len(prompts[i // 3]) + 1 for i, item in enumerate(items))
    own = sum(len(prompt) - 1 - len(head) for prompt in prompts)
    assert white_box.counts.tokens_forward == len(head) + own + continued
    plain = [white_box.log_probs([item])[0] for item in items]
    for left, right in zip(shared, plain, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def test_only_what_was_read_is_counted() -> None:
    items = [item for item in instructions_with_rollouts() if len(item.ids) > 170]
    white_box = white_box_of("llama")
    white_box.log_probs(items)
    ids, most = [item.ids for item in items], [item.targets.start - 1 for item in items]
    assert white_box.counts.tokens_forward == tokens_read(ids, most)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_chunks_hold_sequences_of_like_length(lengths: list[int]) -> None:
    chunks = of_like_length(lengths)
    in_order = [lengths[index] for chunk in chunks for index in chunk]
    assert in_order == sorted(lengths, reverse=True)
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(lengths)))
    for chunk in chunks[:-1]:
        assert CHUNK <= sum(lengths[index] for index in chunk) < CHUNK + max(lengths)


def test_beginnings_of_several_reads_are_padded_on_the_right() -> None:
    def part(rows: int, places: int) -> Prefix:
        layers = ((torch.rand(rows, 2, places, 4), torch.rand(rows, 2, places, 4)),) * 3
        return Prefix((places,) * rows, torch.ones(rows, places, dtype=torch.long), layers)

    one, two = part(1, 5), part(2, 3)
    joined = Prefix.joined([one, two])
    assert joined.lengths == (5, 3, 3)
    assert joined.mask.tolist() == [[1] * 5, [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    for both, left, right in zip(joined.layers, one.layers, two.layers, strict=True):
        for tensor, its, others in zip(both, left, right, strict=True):
            assert torch.equal(tensor[:1], its)
            assert torch.equal(tensor[1:, :, :3], others)
            assert not tensor[1:, :, 3:].any()


def test_on_a_cpu_no_padding_is_read() -> None:
    """Beside a long prompt a short one takes no longer than alone."""
    white_box, rows = white_box_of("llama"), []

    def listen(module: object, args: object, kwargs: dict[str, torch.Tensor]) -> None:
        rows.append(kwargs["input_ids"].numel())

    lengths = [600, 30, 29, 600, 28, 31]
    prompts = [random_ids(length, seed=length + i) for i, length in enumerate(lengths)]
    with white_box.model.register_forward_pre_hook(listen, with_kwargs=True):
        white_box.generate(prompts, [Sampling(1)] * len(prompts))
        assert sum(rows) <= sum(lengths) + 3 * len(lengths)
        rows.clear()
        twice = [*prompts, prompts[1]]
        white_box.generate(twice, [Sampling(1)] * len(twice))
        assert sum(rows) <= sum(map(len, twice)) + 3 * len(twice)
