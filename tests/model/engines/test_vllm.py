"""vLLM as the engine: the real one where it is installed, elsewhere a stand-in for it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from dspy_greater.model import LoadingError, Sampling, WhiteBox, load
from dspy_greater.model.engines import vllm as adapter
from dspy_greater.model.engines.vllm import Vllm, generation_of, settings_of, share_of_memory
from dspy_greater.model.requests import Request
from dspy_greater.model.sampler import seed_of
from tests.model.engines import vllm_standin
from tests.support.tiny import make_model, make_tokenizer
from tests.support.white_boxes import check_recorded_log_probs, random_items

SMALL_MODEL = Path(__file__).resolve().parents[3] / "examples" / "small_model" / "model"
IS_REAL = importlib.util.find_spec("vllm") is not None
QUESTIONS = ("What is 2 plus 3?", "Which word comes first?", "Name it.", "Add the numbers 4, 5, 6.")


@pytest.fixture(scope="module")
def vllm() -> Iterator[ModuleType]:
    if IS_REAL:
        yield importlib.import_module("vllm")
        return
    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    vars(module).update(vars(vllm_standin))
    sys.modules["vllm"] = module
    yield module
    del sys.modules["vllm"]


@pytest.fixture(scope="module")
def white_box(vllm: ModuleType) -> WhiteBox:
    return load(SMALL_MODEL, device="cpu", generation_backend="vllm")


@pytest.fixture(scope="module")
def plain() -> WhiteBox:
    return load(SMALL_MODEL, device="cpu")


@pytest.fixture(scope="module")
def prompts(plain: WhiteBox) -> list[tuple[int, ...]]:
    return [plain.encode([{"role": "user", "content": text}]).ids for text in QUESTIONS]


def test_greedy_texts_are_those_of_generate(
    white_box: WhiteBox, plain: WhiteBox, prompts: list[tuple[int, ...]]
) -> None:
    assert white_box.backend.name == "vllm"
    samplings = [Sampling(count) for count in (12, 9, 24, 1)]
    generations = white_box.generate(prompts, samplings)
    assert generations == plain.generate(prompts, samplings)
    assert {each.finish for each in generations} == {"stop", "length"}
    assert white_box.generate([], []) == []


def test_stop_strings_end_a_text_where_they_end_one_of_generate(
    white_box: WhiteBox, plain: WhiteBox, prompts: list[tuple[int, ...]]
) -> None:
    (whole,) = plain.generate(prompts[:1], [Sampling(12)])
    stops = [whole.text[at : at + 3] for at in range(0, len(whole.text) - 3, 4)]
    settings = [Sampling(12, stop=(stop, "never said")) for stop in stops]
    generations = white_box.generate(prompts[:1] * len(stops), settings)
    assert generations == plain.generate(prompts[:1] * len(stops), settings)
    assert {each.finish for each in generations} == {"stop"}


def test_a_seed_gives_the_same_text_whatever_the_batch(
    white_box: WhiteBox, prompts: list[tuple[int, ...]]
) -> None:
    samplings = [
        Sampling(6, temperature=0.9, seed=1),
        Sampling(6, temperature=1.3, top_k=40, seed=1),
        Sampling(6, temperature=1.0, top_p=0.9, seed=3),
        Sampling(6),
    ]
    together = white_box.generate(prompts, samplings)
    alone = [white_box.generate([p], [s])[0] for p, s in zip(prompts, samplings, strict=True)]
    assert [each.ids for each in together] == [each.ids for each in alone]
    wild = [Sampling(4, temperature=2.0, seed=seed) for seed in range(6)]
    assert len({each.ids for each in white_box.generate(prompts[:1] * 6, wild)}) > 3


def test_recorded_log_probs_are_the_scored_ones(
    white_box: WhiteBox, prompts: list[tuple[int, ...]]
) -> None:
    check_recorded_log_probs(white_box, prompts, tolerance=1e-3)


def test_what_vllm_cannot_do_is_done_by_generate(
    white_box: WhiteBox,
    plain: WhiteBox,
    prompts: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = white_box.backend
    assert isinstance(backend, Vllm)
    asked: list[int] = []
    of_vllm = backend._llm.generate

    def generate(asked_prompts: Any, *args: Any, **kwargs: Any) -> Any:
        asked.extend(len(each["prompt_token_ids"]) for each in asked_prompts)
        return of_vllm(asked_prompts, *args, **kwargs)

    monkeypatch.setattr(backend._llm, "generate", generate)
    monkeypatch.setattr(backend, "_longest", len(prompts[3]) + 8)
    barely = Sampling(5, temperature=0.001, seed=1)
    samplings = [Sampling(5, logprobs=21), barely, Sampling(5), Sampling(9)]
    together = white_box.generate(prompts, samplings)
    assert asked == [len(prompts[2])]
    expected = plain.generate(prompts, samplings)
    assert [each.ids for each in together] == [each.ids for each in expected]
    assert together[0].log_probs is not None
    assert len(together[0].log_probs[0].top) == 21


def test_gradients_and_scores_are_those_without_vllm(white_box: WhiteBox, plain: WhiteBox) -> None:
    items = random_items()
    pairs = zip(white_box.gradients(items), plain.gradients(items), strict=True)
    for beside, alone in pairs:
        torch.testing.assert_close(beside.positions, alone.positions)
        torch.testing.assert_close(beside.log_probs, alone.log_probs)
    assert white_box.fingerprint == plain.fingerprint


def test_work_is_counted(white_box: WhiteBox, prompts: list[tuple[int, ...]]) -> None:
    before = white_box.counts.snapshot()
    generations = white_box.generate(prompts, [Sampling(5)] * 4)
    work = white_box.counts - before
    assert work.rollouts == 4
    assert work.tokens_prompt == sum(map(len, prompts))
    assert work.tokens_decoded == sum(len(each.ids) for each in generations)


@pytest.mark.skipif(IS_REAL, reason="reads what the stand-in was given")
def test_vllm_is_given_the_same_weights_in_the_same_format(white_box: WhiteBox) -> None:
    (given,) = [made for made in vllm_standin.LLM.made if made["dtype"] == "float32"]
    assert given["model"] == str(SMALL_MODEL)
    assert given["max_model_len"] == -1
    assert given["gpu_memory_utilization"] == share_of_memory(white_box.device)
    assert not Path(given["tokenizer"]).exists()  # the white box's own, written for vLLM to read


def test_a_request_in_vllms_terms(vllm: ModuleType) -> None:
    greedy = settings_of(Request((1, 2), Sampling(7, top_k=5, top_p=0.5, seed=3)), ends=[9, 8])
    # A request that is greedy asks for no seed and for no nucleus.
    assert (greedy["temperature"], greedy["seed"], greedy["top_k"], greedy["top_p"]) == (
        0,
        None,
        0,
        1,
    )
    assert (greedy["stop_token_ids"], greedy["ignore_eos"], greedy["stop"]) == ([9, 8], True, None)
    drawn = Sampling(7, temperature=0.5, top_k=5, top_p=0.5, seed=3, stop=("a", "b"), logprobs=2)
    settings = settings_of(Request((1, 2), drawn), ends=[])
    assert settings["seed"] == seed_of(3, (1, 2)) != seed_of(3, (1, 3))
    assert 0 <= settings["seed"] < 2**63
    params = vllm.SamplingParams(**settings)
    assert (params.top_k, params.top_p, params.logprobs) == (5, 0.5, 2)
    assert params.stop == ["a", "b"]


def test_a_text_that_was_not_written_to_its_end_is_an_error(white_box: WhiteBox) -> None:
    output = SimpleNamespace(finish_reason="abort", token_ids=[1])
    with pytest.raises(RuntimeError, match="did not end a text: abort"):
        generation_of(None, Request((1,), Sampling(2)), output)  # type: ignore[arg-type]


def test_what_vllm_says_when_it_cannot_load_reaches_the_user(
    vllm: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*args: Any, **kwargs: Any) -> None:
        raise ValueError("Free memory on device is less than desired GPU memory utilization")

    monkeypatch.setattr(vllm, "LLM", no_memory)
    with pytest.raises(LoadingError, match=r"beside the white box.*Free memory on device"):
        load(SMALL_MODEL, device="cpu", generation_backend="vllm")


def test_the_share_of_memory_is_one_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60, 80))
    assert share_of_memory(torch.device("cuda")) == pytest.approx(0.6 * 60 / 80)


@pytest.mark.skipif(IS_REAL, reason="vLLM is installed")
def test_without_vllm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    with pytest.raises(LoadingError, match=r"pip install 'dspy-greater\[vllm\]'"):
        load(SMALL_MODEL, device="cpu", generation_backend="vllm")


def test_models_of_which_vllm_would_load_other_weights_are_refused(
    vllm: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer()
    with pytest.raises(LoadingError, match=r"given as an object\. Give its folder"):
        load((make_model("llama", len(tokenizer)), tokenizer), generation_backend="vllm")
    origin = adapter.Origin("some/model", adapted=True)
    with pytest.raises(LoadingError, match=r"'some/model' without the adapter\. Merge the two"):
        adapter.check_possible(origin)
    with pytest.raises(LoadingError, match=r"from two models\. Leave quantization_config out"):
        adapter.check_possible(adapter.Origin("some/model", quantized=True))


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_text_that_vllm_wrote_beyond_its_object_ends_with_it(
    plain: WhiteBox, finish: str
) -> None:
    decoder = plain.backend._decoder
    ids, beyond = (
        decoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in ('{"answer": {"a": "}"}}', " and more")
    )
    output = SimpleNamespace(finish_reason=finish, token_ids=[*ids, *beyond])
    request = Request((1,), Sampling(len(ids) + len(beyond), json_object=True))
    generation = generation_of(decoder, request, output)
    assert (generation.ids, generation.finish) == (tuple(ids), "stop")
    whole = generation_of(decoder, Request((1,), Sampling(99)), output)
    assert (len(whole.ids), whole.finish) == (len(output.token_ids), finish)
