"""Continuous batching: the texts of plain generate, and the model as it was before."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from dspy_greater.model import ContextError, ModelError, Sampling, WhiteBox
from dspy_greater.model.engines import continuous
from tests.support.thinkers import reciting, thinking_tokenizer
from tests.support.tiny import make_model, make_tokenizer
from tests.support.white_boxes import model_of, random_ids, random_items, white_box_of

PROMPTS = [random_ids(length, length) for length in (9, 3, 45, 1)]


def continuous_box(architecture: str, dtype: torch.dtype = torch.float32, **more: Any) -> WhiteBox:
    tokenizer = make_tokenizer()
    model = make_model(architecture, len(tokenizer), dtype=dtype)
    return WhiteBox(model, tokenizer, generation_backend="continuous", **more)


# Attention over everything (sdpa), behind windows (eager), learned positions, biases, experts,
# sinks.
@pytest.mark.parametrize(
    "architecture", ["llama", "gemma2", "gpt2", "gpt_neox", "mixtral", "gpt_oss"]
)
def test_greedy_texts_are_those_of_generate(architecture: str) -> None:
    white_box = continuous_box(architecture)
    assert white_box.backend.name == "continuous"
    samplings = [Sampling(count) for count in (12, 30, 7, 1)]
    generations = white_box.generate(PROMPTS, samplings)
    assert generations == white_box_of(architecture).generate(PROMPTS, samplings)
    assert [len(each.ids) for each in generations] == [12, 30, 7, 1]


def test_what_the_engine_cannot_do_is_done_by_generate() -> None:
    samplings = [
        Sampling(10, temperature=0.7, seed=1),
        Sampling(10),
        Sampling(10, logprobs=3),
        Sampling(10, temperature=1.3, top_k=40, top_p=0.9, seed=2),
    ]
    passes: list[int] = []
    white_box = continuous_box("llama")
    model_of(white_box).register_forward_pre_hook(
        lambda module, args, kwargs: passes.append("cache" in kwargs), with_kwargs=True
    )
    together = white_box.generate(PROMPTS, samplings)
    plain = white_box_of("llama").generate(PROMPTS, samplings)
    assert [each.ids for each in together] == [each.ids for each in plain]
    assert [each.log_probs is not None for each in together] == [False, False, True, False]
    assert passes.count(True) == 10  # the paged cache is the engine's, for the one greedy row
    again = white_box.generate(PROMPTS[::-1], samplings[::-1])[::-1]
    assert [each.ids for each in again] == [each.ids for each in together]


def test_every_stop_string_is_found_wherever_tokens_part() -> None:
    white_box = continuous_box("llama")
    (whole,) = white_box.generate([PROMPTS[0]], [Sampling(24)])
    text = whole.text
    stops = [text[at : at + size] for size in (1, 3) for at in range(len(text) - size)]
    settings = [Sampling(24, stop=(stop, "never said")) for stop in stops]
    generations = white_box.generate([PROMPTS[0]] * len(stops), settings)
    assert generations == white_box_of("llama").generate([PROMPTS[0]] * len(stops), settings)
    assert {each.finish for each in generations} == {"stop"}


def test_a_stop_string_does_not_end_what_is_thought() -> None:
    tokenizer = thinking_tokenizer()
    script = tokenizer("<think>a.b</think>c.d<|im_end|>", add_special_tokens=False)["input_ids"]
    script = list(dict.fromkeys(script))  # the second full stop would lead back to the first
    white_box = reciting(tokenizer, script, generation_backend="continuous")
    begin = [script[0]]
    settings = [Sampling(20, stop=("b",)), Sampling(20, stop=("c",)), Sampling(20)]
    thought, stopped, whole = white_box.generate([begin] * 3, settings)
    assert white_box.backend.name == "continuous"
    assert (thought.thinking, thought.text, thought.finish) == ("a.b", "cd", "stop")
    assert (stopped.thinking, stopped.text) == ("a.b", "")
    assert thought == whole


def test_end_tokens_end_a_text_and_no_sampling_default_applies() -> None:
    (free,) = white_box_of("llama").generate([PROMPTS[0]], [Sampling(20)])
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    model.generation_config = own = GenerationConfig(
        eos_token_id=[free.ids[5]], do_sample=True, repetition_penalty=5.0, max_length=4
    )
    white_box = WhiteBox(model, tokenizer, generation_backend="continuous")
    (generation,) = white_box.generate([PROMPTS[0]], [Sampling(20)])
    assert generation.ids == free.ids[: free.ids.index(free.ids[5])]
    assert generation.finish == "stop"
    assert model.generation_config is own


def test_limits_are_those_of_generate() -> None:
    white_box = continuous_box("llama")
    assert white_box.generate([], []) == []
    with pytest.raises(ContextError, match="exceeds the context"):
        white_box.generate([[5] * white_box.context], [Sampling(1)])
    (last,) = white_box.generate([[5] * (white_box.context - 1)], [Sampling(9)])
    assert len(last.ids) == 1


def test_a_small_cache_makes_rows_wait_and_changes_nothing() -> None:
    prompts = [random_ids(4 + number % 40, number) for number in range(12)]
    samplings = [Sampling(5 + 7 * (number % 5)) for number in range(12)]
    white_box = continuous_box("llama", token_budget=96)
    generations = white_box.generate(prompts, samplings)
    assert generations == white_box_of("llama").generate(prompts, samplings)
    assert white_box.counts.tokens_decoded == sum(len(each.ids) for each in generations)
    assert white_box.counts.tokens_prompt == sum(map(len, prompts))
    assert white_box.counts.rollouts == 12


def test_less_memory_makes_a_smaller_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    white_box = continuous_box("llama", token_budget=1000)
    rooms: list[int] = []
    written = continuous.written

    def short_of_memory(decoder: Any, requests: Any, tokens: int) -> Any:
        rooms.append(tokens)
        if tokens > 50:
            raise RuntimeError("CUDA out of memory.")
        return written(decoder, requests, tokens)

    monkeypatch.setattr(continuous, "written", short_of_memory)
    together = white_box.generate(PROMPTS, [Sampling(9)] * 4)
    assert together == white_box_of("llama").generate(PROMPTS, [Sampling(9)] * 4)
    white_box.generate(PROMPTS[:1], [Sampling(2)])
    assert rooms == [1000, 47, 47]  # half of what the rows need; remembered


@pytest.mark.parametrize(
    ("architecture", "dtype", "attention"),
    [
        ("llama", torch.float64, "sdpa"),
        ("llama", torch.float32, "sdpa"),
        ("gemma2", torch.float64, "eager"),
        ("gemma2", torch.float32, "eager"),
    ],
)
def test_gradients_are_the_same_after_as_before(
    architecture: str, dtype: torch.dtype, attention: str
) -> None:
    white_box = continuous_box(architecture, dtype)
    model, items = model_of(white_box), random_items()
    assert model.config._attn_implementation == attention
    before = white_box.gradients(items), white_box.log_probs(items)
    seen: list[str] = []
    handle = model.register_forward_pre_hook(
        lambda module, args: seen.append(model.config._attn_implementation)
    )
    white_box.generate(PROMPTS, [Sampling(6)] * 4)
    handle.remove()
    assert set(seen) == {"paged|eager" if attention == "eager" else "sdpa"}
    assert model.config._attn_implementation == attention
    after = white_box.gradients(items), white_box.log_probs(items)
    for old, new in zip(before[0], after[0], strict=True):
        assert torch.equal(old.positions, new.positions)
        assert old.loss == new.loss
    assert all(torch.equal(old, new) for old, new in zip(before[1], after[1], strict=True))


def test_a_failure_says_why_and_leaves_the_model_as_it_was() -> None:
    white_box = continuous_box("gemma2")
    model = model_of(white_box)
    before = white_box.generate(PROMPTS, [Sampling(4)] * 4)

    def explode(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        raise ValueError("a layer went missing")

    handle = model.register_forward_pre_hook(explode, with_kwargs=True)
    with pytest.raises(
        RuntimeError, match=r"failed: a layer went missing.*'generate' does without"
    ):
        white_box.generate(PROMPTS, [Sampling(4)] * 4)
    handle.remove()
    assert model.config._attn_implementation == "eager"
    assert gc.get_freeze_count() == 0
    assert white_box.generate(PROMPTS, [Sampling(4)] * 4) == before


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("mamba", "does not run in it .*linear_attention"),  # a state instead of keys
        ("lfm2", "does not run in it .*conv"),
        ("llama4_text", "does not run in it .*chunked_attention"),
        ("opt", "does not run in it"),
        ("bloom", "predictions are others"),  # runs, without its distances (ALiBi)
        ("gptj", "predictions are others"),
    ],
)
def test_models_that_it_cannot_run_are_refused(architecture: str, reason: str) -> None:
    tokenizer = make_tokenizer()
    model = make_model(architecture, len(tokenizer))
    attention = model.config._attn_implementation
    with pytest.raises(ModelError, match=f"'continuous' cannot be used: .*{reason}"):
        WhiteBox(model, tokenizer, generation_backend="continuous")
    assert model.config._attn_implementation == attention


def in_parts(model: Any) -> None:
    model.hf_device_map = {"model.layers.0": 0, "model.layers.1": "cpu"}


def in_ranks(model: Any) -> None:
    model._tp_size = 2


@pytest.mark.parametrize(
    ("change", "reason"), [(in_parts, "spread over devices"), (in_ranks, "tensor-parallel")]
)
def test_weights_in_several_places_are_refused(change: Callable[[Any], None], reason: str) -> None:
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    change(model)
    with pytest.raises(ModelError, match=reason):
        WhiteBox(model, tokenizer, generation_backend="continuous")


def test_an_older_transformers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.__version__", "5.22.1")
    with pytest.raises(
        ModelError, match=r"needs transformers 5\.23 or newer, and this is 5\.22\.1"
    ):
        continuous_box("llama")


def test_parts_of_a_model_have_an_attention_each() -> None:
    part = SimpleNamespace(_attn_implementation="eager")
    whole = SimpleNamespace(
        sub_configs=("text", "vision", "audio"),
        _attn_implementation="sdpa",
        text=part,
        vision=SimpleNamespace(sub_configs=(), _attn_implementation="sdpa"),
        audio=None,
    )
    assert continuous.attention_of(part) == "eager"
    assert continuous.attention_of(whole) == {"": "sdpa", "text": "eager", "vision": "sdpa"}
