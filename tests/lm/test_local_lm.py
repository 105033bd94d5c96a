"""The whole path: DSPy, engine and a real (tiny, random) model."""

from __future__ import annotations

import asyncio
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
import torch
from dspy.utils.exceptions import AdapterParseError

from dspy_greater.lm import local_lm, white_box
from dspy_greater.model import MissingModelError, Sampling, WhiteBox

QUESTION = "What is 2 + 3?"


@pytest.fixture(scope="module")
def box(white_box: WhiteBox) -> WhiteBox:
    """The shared white box, under a name that leaves ``white_box`` to the function."""
    return white_box


@pytest.fixture
def lm(box: WhiteBox) -> Iterator[dspy.LM]:
    lm = local_lm(box, max_tokens=12, cache=False)
    yield lm
    lm.engine.close()


def test_it_is_a_plain_lm_over_the_given_model(lm: dspy.LM, box: WhiteBox) -> None:
    assert isinstance(lm, dspy.LM)
    assert white_box(lm) is box
    assert lm.model == f"local/tiny-llama@{box.fingerprint[:12]}"
    assert not lm.supports_function_calling
    assert not lm.supports_response_schema
    assert "response_format" in lm.supported_params


def test_greedy_answers_repeat_themselves(lm: dspy.LM) -> None:
    (first,) = lm(QUESTION)
    assert first
    assert lm(QUESTION) == lm(QUESTION, temperature=None) == [first]


def test_max_tokens_and_usage(lm: dspy.LM, box: WhiteBox) -> None:
    lm(QUESTION, max_tokens=5)
    usage = lm.history[-1]["usage"]
    prompt = box.encode([{"role": "user", "content": QUESTION}]).ids
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(prompt), 5)
    assert lm.history[-1]["response"].finish_reason == "length"


def test_stop_strings_are_cut_off(lm: dspy.LM) -> None:
    (text,) = lm(QUESTION)
    stop = text[len(text) // 2 :][:3]
    assert lm(QUESTION, stop=[stop, "never said"]) == [text[: text.index(stop)]]
    assert lm.history[-1]["response"].finish_reason == "stop"


def test_a_seed_makes_samples_repeatable(lm: dspy.LM) -> None:
    def sample(**settings: Any) -> list[str]:
        return lm(QUESTION, temperature=1.5, **settings)

    assert sample(seed=1) == sample(seed=1) != sample(seed=2)
    assert len(set(sample(seed=1, n=3))) == 1


def test_without_a_seed_candidates_differ(lm: dspy.LM) -> None:
    assert len(set(lm(QUESTION, temperature=1.5, n=3))) == 3


def test_top_k_and_top_p_reach_the_model(lm: dspy.LM) -> None:
    greedy = lm(QUESTION)
    assert lm(QUESTION, temperature=1.5, top_k=1) == greedy
    assert lm(QUESTION, temperature=1.5, top_p=1e-6) == greedy


def test_long_prompts_exceed_the_context(lm: dspy.LM) -> None:
    with pytest.raises(dspy.ContextWindowExceededError, match="room for 2048"):
        lm("word " * 3000)


def test_the_prompt_is_the_chat_template(lm: dspy.LM, box: WhiteBox) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    (text,) = lm(messages=messages, max_tokens=5)
    (expected,) = box.generate([box.encode(messages).ids], [Sampling(5)])
    assert text == expected.text


@pytest.mark.parametrize(
    ("adapter", "generations"), [(dspy.ChatAdapter(), 2), (dspy.JSONAdapter(), 1)]
)
def test_programs_reach_the_model(
    lm: dspy.LM, box: WhiteBox, adapter: dspy.Adapter, generations: int
) -> None:
    # Noise never parses; ChatAdapter then tries again as JSON.
    before = box.counts.rollouts
    program = dspy.ChainOfThought("question -> answer: int")
    with dspy.context(lm=lm, adapter=adapter), pytest.raises(AdapterParseError):
        program(question=QUESTION)
    assert box.counts.rollouts - before == generations


def test_threads_and_tasks_get_the_answers_of_single_calls(lm: dspy.LM) -> None:
    questions = [f"What is {row} + 3?" for row in range(8)]
    alone = [lm(question) for question in questions]

    async def together() -> list[list[str]]:
        return await asyncio.gather(*(lm.acall(question) for question in questions))

    threads = dspy.Parallel(num_threads=4, disable_progress_bar=True, timeout=0)
    assert threads([(lm, (question,)) for question in questions]) == alone
    assert asyncio.run(together()) == alone


def test_copies_with_other_settings_share_the_model(lm: dspy.LM, box: WhiteBox) -> None:
    copied = lm.copy(temperature=1.0, max_tokens=3)
    assert white_box(copied) is box
    copied(QUESTION)
    assert copied.history[-1]["usage"]["completion_tokens"] == 3


def test_a_pair_in_memory(tiny_model: Callable[..., Any], tiny_tokenizer: Any) -> None:
    pair = (tiny_model("gpt2", len(tiny_tokenizer)), tiny_tokenizer)
    lm = local_lm(pair, dtype="bfloat16", cache=False, max_tokens=3, top_p=0.9, seed=1)
    assert lm.kwargs["seed"] == 1
    assert lm("Hi")
    assert next(pair[0].parameters()).dtype == torch.bfloat16


def test_loading_options_are_refused_for_a_loaded_model(box: WhiteBox) -> None:
    with pytest.raises(ValueError, match="device, dtype"):
        local_lm(box, device="cpu", dtype="float32")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("torch_dtype", "write dtype"),
        ("load_in_4bit", r"quantization_config=BitsAndBytesConfig\(load_in_4bit=True\)"),
        ("load_in_8bit", r"quantization_config=BitsAndBytesConfig\(load_in_8bit=True\)"),
        ("max_new_tokens", "write max_tokens"),
        ("max_completion_tokens", "write max_tokens"),
        ("use_auth_token", "write token"),
        ("do_sample", "write temperature"),
        ("enable_thinking", r"chat_template_kwargs=\{'enable_thinking'"),
        ("repetition_penalty", "leave it out, since likelihoods"),
        ("frequency_penalty", "leave it out"),
        ("tools", "dspy.ReAct"),
        ("api_base", r"a server is a dspy.LM\('openai/...'\)"),
        ("temprature", "did you mean temperature"),
        ("quantisation_config", "did you mean quantization_config"),
        ("devices", "did you mean device"),
        ("maxtokens", "did you mean max_tokens"),
        ("wonders", r"help\(local_lm\)"),
    ],
)
def test_a_name_that_is_no_setting_is_refused_before_anything_is_loaded(
    name: str, instead: str
) -> None:
    with pytest.raises(TypeError, match=rf"local_lm has no setting '{name}': .*{instead}"):
        local_lm("./no/such/model", **{name: 1.5})


@pytest.mark.parametrize(
    "setting",
    [
        {"max_batch": 0},
        {"batch_wait": -1.0},
        {"temperature": "warm"},
        {"temperature": -1.0},
        {"max_tokens": 0},
        {"top_p": 3.0},
        {"stop": [""]},
        {"response_format": {"type": "xml"}},
    ],
    ids=str,
)
def test_a_value_that_cannot_be_meant_is_refused_before_anything_is_loaded(
    setting: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))) as told:
        local_lm("./no/such/model", **setting)
    assert not isinstance(told.value, MissingModelError)


def test_settings_of_dspy_and_those_that_ask_for_nothing_are_taken(box: WhiteBox) -> None:
    settings = {"num_retries": 1, "callbacks": [], "presence_penalty": 0.0, "temperature": None}
    lm = local_lm(box, max_tokens=3, cache=False, logprobs=False, **settings)
    assert lm.num_retries == 1
    assert lm(QUESTION)


def test_a_missing_folder_is_said_so_at_once() -> None:
    with pytest.raises(MissingModelError, match="no folder"):
        local_lm("./no/such/model")


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Callable[..., Any], tiny_tokenizer: Any) -> Path:
    """A saved model."""
    tiny_model("llama", len(tiny_tokenizer), hidden_size=16).save_pretrained(tmp_path / "tiny")
    tiny_tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_nothing_keeps_the_weights_of_an_unused_model(folder: Path) -> None:
    lm = local_lm(folder, device="cpu", dtype=torch.float64, cache=False, max_tokens=5)
    assert lm(QUESTION)
    assert next(white_box(lm).model.parameters()).dtype == torch.float64
    living, data = weakref.ref(white_box(lm)), pickle.dumps(lm)
    lm.engine.close()
    del lm
    gc.collect()
    assert living() is None
    with pytest.raises(RuntimeError, match=r"local_lm\(\.\.\.\)"):
        pickle.loads(data)
