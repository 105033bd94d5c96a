"""Generation with settings of its own in every row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from dspy_greater.model import ContextError, Sampling, WhiteBox
from dspy_greater.model.requests import Request
from dspy_greater.model.rows import RowSampler, keep_likeliest
from tests.support.families import MEASURED
from tests.support.marks import mostly_slow
from tests.support.tiny import make_model, make_tokenizer
from tests.support.white_boxes import (
    full_log_probs,
    random_ids,
    white_box_of,
)

PROMPTS = [random_ids(length, length) for length in (9, 3, 25, 1)]


def greedy_by_hand(model: Any, prompt: list[int], count: int) -> tuple[int, ...]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(full_log_probs(model, ids)[-1].argmax()))
    return tuple(ids[len(prompt) :])


@pytest.mark.parametrize(
    "architecture", mostly_slow([*MEASURED, "gemma4_text"], "llama", "gemma2", "mamba")
)
def test_greedy_in_a_batch_is_greedy_by_hand(architecture: str) -> None:
    white_box = white_box_of(architecture)
    together = white_box.generate(PROMPTS, [Sampling(12)] * 4)
    for prompt, generation in zip(PROMPTS, together, strict=True):
        count = len(generation.ids)
        assert generation.ids == greedy_by_hand(white_box.model, prompt, count)
        assert (count == 12) == (generation.finish == "length")


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_a_seed_gives_the_same_text_whatever_the_batch(architecture: str) -> None:
    white_box = white_box_of(architecture)
    samplings = [
        Sampling(10, temperature=0.7, seed=1),
        Sampling(10, temperature=1.3, top_k=40, seed=2),
        Sampling(10, temperature=1.0, top_p=0.9, seed=3),
        Sampling(10),
    ]
    together = white_box.generate(PROMPTS, samplings)
    alone = [white_box.generate([p], [s])[0] for p, s in zip(PROMPTS, samplings, strict=True)]
    backwards = white_box.generate(PROMPTS[::-1], samplings[::-1])[::-1]
    assert together == alone == backwards


def test_prompts_share_a_batch_only_where_the_model_reads_past_padding() -> None:
    # In float64 eager attention turns rows of nothing but padding into NaN.
    lengths: dict[str, list[int]] = {}
    for name, dtype in (
        ("bloom", torch.float64),
        ("bloom", torch.float32),
        ("llama", torch.float64),
    ):
        white_box = white_box_of(name, dtype=dtype)
        batches = lengths.setdefault(f"{name} {dtype}", [])
        handle = white_box.model.register_forward_pre_hook(
            lambda module, args, kwargs, batches=batches: batches.append(len(kwargs["input_ids"])),
            with_kwargs=True,
        )
        together = white_box.generate(PROMPTS, [Sampling(4)] * 4)
        handle.remove()
        for prompt, generation in zip(PROMPTS, together, strict=True):
            by_hand = greedy_by_hand(white_box.model, prompt, len(generation.ids))
            assert generation.ids == by_hand
    assert [max(batches) for batches in lengths.values()] == [1, 4, 4]


def test_seeds_matter_and_no_seed_follows_torch() -> None:
    white_box = white_box_of("llama")
    free = Sampling(8, temperature=1.5)
    texts = white_box.generate([PROMPTS[0]] * 6, [replace(free, seed=s) for s in range(6)])
    assert len({generation.ids for generation in texts}) > 3
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(white_box.generate([PROMPTS[0]] * 3, [free] * 3))
    assert runs[0] == runs[1]
    assert len({generation.ids for generation in runs[0]}) > 1


def test_samples_have_the_distribution_they_are_drawn_from() -> None:
    draws, vocab = 4000, 12
    logits = torch.randn(1, vocab, generator=torch.Generator().manual_seed(0))
    setting = Sampling(1, temperature=0.8, top_k=8)
    sampler = RowSampler([Request((1,), replace(setting, seed=seed)) for seed in range(draws)])
    chosen = sampler(torch.zeros(draws, 1), logits.expand(draws, vocab)).argmax(dim=-1)
    observed = torch.bincount(chosen, minlength=vocab) / draws
    expected = torch.softmax(keep_likeliest(logits / 0.8, [setting])[0], dim=-1)
    assert int((expected > 0).sum()) == 8
    assert float((observed - expected).abs().max()) < 4 * 0.5 / draws**0.5


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.1, 0.3, 0.06, 0.04]])).repeat(5, 1)
    settings = [
        Sampling(1),
        Sampling(1, top_k=2),
        Sampling(1, top_p=0.75),
        Sampling(1, top_p=0.01),
        Sampling(1, top_k=3, top_p=0.9),  # the nucleus of the three that top-k left
    ]
    kept = keep_likeliest(logits, settings).isfinite()
    assert [sorted(row.nonzero()[:, 0].tolist()) for row in kept] == [
        [0, 1, 2, 3, 4],
        [0, 2],
        [0, 2],
        [0],
        [0, 1, 2],
    ]


def test_rows_of_different_lengths_share_a_batch() -> None:
    white_box = white_box_of("llama")
    counts = [3, 17, 1, 9]
    whole = white_box.generate(PROMPTS, [Sampling(17)] * 4)
    cut = white_box.generate(PROMPTS, [Sampling(count) for count in counts])
    for count, long, short in zip(counts, whole, cut, strict=True):
        assert short.ids == long.ids[:count]
        assert short.finish == "length"
    assert white_box.counts.rollouts == 8
    assert white_box.counts.tokens_decoded == 4 * 17 + sum(counts)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_rows_that_have_ended_leave_the_batch(architecture: str) -> None:
    white_box = white_box_of(architecture)
    counts = [3 + 5 * (number % 7) for number in range(21)]
    prompts = [random_ids(4 + number % 5, number) for number in range(21)]
    samplings = [
        Sampling(count, temperature=number % 3 / 2, seed=number)
        for number, count in enumerate(counts)
    ]
    batches: list[int] = []
    handle = white_box.model.register_forward_pre_hook(
        lambda module, args, kwargs: batches.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    together = white_box.generate(prompts, samplings)
    handle.remove()
    for generation, prompt, sampling in zip(together, prompts, samplings, strict=True):
        (alone,) = white_box.generate([prompt], [sampling])
        assert generation == alone
    keeps_every_key = architecture != "gemma2"
    assert (min(batches) < 21) == keeps_every_key


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_rows_that_wait_take_the_places_of_rows_that_ended(architecture: str) -> None:
    head = random_ids(20)
    prompts = [(*head[: 5 * (i % 4)], *random_ids(2 + i % 7, seed=i)) for i in range(40)]
    samplings = [Sampling(2 + 9 * (i % 5), temperature=i % 3 / 2, seed=i) for i in range(40)]
    narrow = white_box_of(architecture, dtype=torch.float64, tokens=320)
    wide = white_box_of(architecture, dtype=torch.float64)
    plain = [wide.generate([p], [s])[0] for p, s in zip(prompts, samplings, strict=True)]
    widths: list[int] = []
    handle = narrow.model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["past_key_values"].get_seq_length()),
        with_kwargs=True,
    )
    assert narrow.generate(prompts, samplings) == plain
    handle.remove()
    # What is padding in all rows goes: no prompt and its answer has more than 80 tokens.
    assert max(widths) < 100
    # Ten rows of 40 tokens at a time: batches that wait for their longest row would take 150 steps.
    assert narrow.counts.tokens_decoded == wide.counts.tokens_decoded
    assert (narrow.counts.decoding_steps < 130) == (architecture != "gemma2")


def test_what_rows_are_written_by_is_what_reading_them_in_full_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Left, joined by others and padded anew: not a number of what a row is written by changes."""
    white_box = white_box_of("llama", dtype=torch.float64, tokens=320)
    prompts = [random_ids(2 + 3 * (i % 7), seed=i) for i in range(30)]
    seen: dict[int, list[torch.Tensor]] = {}
    sample = RowSampler.__call__

    def watched(self: RowSampler, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for row, own in zip(self.rows, scores, strict=True):
            seen.setdefault(row, []).append(torch.log_softmax(own.clone(), dim=-1))
        return sample(self, input_ids, scores)

    monkeypatch.setattr(RowSampler, "__call__", watched)
    written = white_box.generate(prompts, [Sampling(2 + 9 * (i % 5)) for i in range(30)])
    for row, (prompt, generation) in enumerate(zip(prompts, written, strict=True)):
        ids = [*prompt, *generation.ids]
        with torch.no_grad():
            logits = white_box.model(torch.tensor([ids])).logits[0, len(prompt) - 1 : -1]
        found = torch.stack(seen[row][: len(generation.ids)])  # float32, as the library has it
        expected = torch.log_softmax(logits, dim=-1).float()
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_every_stop_string_is_found_wherever_tokens_part() -> None:
    white_box = white_box_of("llama")
    (whole,) = white_box.generate([PROMPTS[0]], [Sampling(24, temperature=1.5, seed=3)])
    stops = [whole.text[at : at + size] for size in (1, 3) for at in range(len(whole.text) - size)]
    settings = [Sampling(24, temperature=1.5, seed=3, stop=(stop,)) for stop in stops]
    generations = white_box.generate([PROMPTS[0]] * len(stops), settings)
    for stop, generation in zip(stops, generations, strict=True):
        assert generation.text == whole.text[: whole.text.index(stop)]
        # Nothing was written beyond the token that completed it.
        assert stop not in white_box.encoder.decode(generation.ids[:-1])


def test_a_stop_string_ends_its_row_and_is_cut_off() -> None:
    white_box = white_box_of("llama")
    free = white_box.generate(PROMPTS, [Sampling(30)] * 4)
    row = max(range(4), key=lambda i: len(set(free[i].text)))
    text = free[row].text
    stop = text[len(text) // 2 : len(text) // 2 + 3]  # may begin and end inside tokens
    settings = [Sampling(30, stop=(stop, "never said") if i == row else ()) for i in range(4)]
    generations = white_box.generate(PROMPTS, settings)
    assert generations[row].text == text[: text.index(stop)]
    assert generations[row].finish == "stop"
    kept = generations[row].ids
    assert kept == free[row].ids[: len(kept)]
    assert len(kept) < 30
    assert stop in white_box.encoder.decode(kept)
    assert stop not in white_box.encoder.decode(kept[:-1])
    assert [g for i, g in enumerate(generations) if i != row] == [
        g for i, g in enumerate(free) if i != row
    ]


def with_generation_config(config: GenerationConfig) -> WhiteBox:
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    model.generation_config = config
    return WhiteBox(model, tokenizer)


def test_end_tokens_of_the_checkpoint_and_the_tokenizer_end_a_text() -> None:
    free = white_box_of("llama").generate([PROMPTS[0]], [Sampling(20)])[0]
    end = free.ids[5]
    white_box = with_generation_config(GenerationConfig(eos_token_id=[end, 1]))
    assert {end, 1, make_tokenizer().eos_token_id} == set(white_box.end_ids)
    (generation,) = white_box.generate([PROMPTS[0]], [Sampling(20)])
    assert generation.ids == free.ids[: free.ids.index(end)]
    assert generation.finish == "stop"
    rest = white_box.generate(PROMPTS, [Sampling(20)] * 4)  # others go on, undisturbed
    assert rest[0].ids == generation.ids


def test_sampling_defaults_of_the_checkpoint_do_not_apply() -> None:
    wild = GenerationConfig(
        do_sample=True, temperature=0.6, top_k=20, top_p=0.9, repetition_penalty=5.0, max_length=4
    )
    white_box = with_generation_config(wild)
    plain = white_box_of("llama").generate(PROMPTS, [Sampling(10)] * 4)
    assert white_box.generate(PROMPTS, [Sampling(10)] * 4) == plain
    assert white_box.model.generation_config is wild


def test_models_without_any_end_token_stop_at_their_length() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = tokenizer.chat_template = None
    white_box = WhiteBox(make_model("gpt_neox", len(tokenizer)), tokenizer)
    assert white_box.end_ids == ()
    short, long = white_box.generate(PROMPTS[:2], [Sampling(4), Sampling(11)])
    assert (len(short.ids), len(long.ids)) == (4, 11)


def test_max_tokens_is_cut_to_what_the_context_leaves() -> None:
    # Learned positions: a row decoded past the end of the table would be an index error.
    white_box = white_box_of("gpt2", max_position_embeddings=32)
    prompts = [random_ids(30), random_ids(4), random_ids(31)]
    generations = white_box.generate(prompts, [Sampling(100)] * 3)
    assert [len(g.ids) for g in generations if g.finish == "length"] == [2, 28, 1]
    with pytest.raises(ContextError, match=r"33 tokens .* exceeds the context of 32"):
        white_box.generate([random_ids(32)], [Sampling(1)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_k": -1},
        {"stop": "text"},
        {"stop": ("",)},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_a_greedy_row_is_the_same_beside_others_that_are_drawn() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    greedy, drawn = Request((1,), Sampling(1)), Request((1,), Sampling(1, temperature=1.0, seed=3))
    alone = RowSampler([greedy] * 3)(torch.zeros(3, 1), logits)
    beside = RowSampler([greedy, greedy, drawn])(torch.zeros(3, 1), logits)
    assert alone.argmax(dim=-1)[:2].tolist() == beside.argmax(dim=-1)[:2].tolist()
    assert (alone == logits).all()  # nothing was computed for them
    assert beside.isfinite().sum(dim=-1).tolist() == [1, 1, 1]
