from __future__ import annotations

from typing import Any

import pytest
from dspy import lm15

from dspy_greater.lm.translation import (
    check_supported,
    events_of,
    messages_of,
    response_of,
    sampling_of,
)
from dspy_greater.model.requests import Generation, Sampling

USER = lm15.Message.user("Hi")


def request(*messages: lm15.Message, **kwargs: Any) -> lm15.Request:
    return lm15.Request(model="local/x@1", messages=messages or (USER,), **kwargs)


def test_conversations_become_plain_text_messages() -> None:
    given = request(
        lm15.Message.user([lm15.TextPart("one "), lm15.TextPart("two")]),
        lm15.Message.assistant("three"),
        lm15.Message.developer("now in French"),
        system="Be brief.",
    )
    assert messages_of(given) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one two"},
        {"role": "assistant", "content": "three"},
        {"role": "system", "content": "now in French"},
    ]


def test_a_system_message_may_come_in_parts() -> None:
    given = request(system=(lm15.TextPart("Be "), lm15.TextPart("brief.")))
    assert messages_of(given)[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (lm15.Message.user(lm15.ImagePart(url="https://example.org/a.png")), "user .* image"),
        (lm15.Message.tool("call-1", "42"), "tool .* tool result"),
        (
            lm15.Message.assistant(lm15.ToolCallPart(id="1", name="add", input={})),
            "assistant .* tool call",
        ),
        (lm15.Message.assistant(lm15.ThinkingPart("hm")), "assistant .* thinking"),
    ],
)
def test_anything_but_text_is_refused(message: lm15.Message, kind: str) -> None:
    with pytest.raises(lm15.UnsupportedFeatureError, match=f"text only.*{kind} part"):
        messages_of(request(message))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"response_format": {"type": "json_schema", "schema": {}}}, "response_format"),
        ({"tool_choice": lm15.ToolChoice(mode="auto")}, "tool_choice"),
        ({"reasoning": lm15.Reasoning(effort="low")}, "reasoning"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -0.5}, "presence_penalty"),
        ({"extensions": {"logit_bias": {"5": 1}}}, "logit_bias"),
        ({"cache": lm15.CacheConfig()}, "cache"),
        ({"user_id": "me"}, "user_id"),
        ({"logprobs": 0}, "logprobs"),
        ({"logprobs": 2}, "logprobs"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(lm15.UnsupportedFeatureError, match=f"not support {name}; ") as error:
        check_supported(request(config=lm15.Config(**settings)))
    assert error.value.feature == f"config.{name}"


def test_tools_are_refused() -> None:
    with pytest.raises(lm15.UnsupportedFeatureError, match=r"tools; .*dspy\.ReAct"):
        check_supported(request(tools=(lm15.FunctionTool(name="add"),)))


def test_settings_that_ask_for_nothing_are_accepted() -> None:
    check_supported(request(config=lm15.Config(frequency_penalty=0.0, store=False, top_k=5)))


def test_settings_reach_the_generation() -> None:
    alike: dict[str, Any] = {
        **{"max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 3},
        **{"stop": ("END",), "seed": 0},
    }
    config = lm15.Config(**alike, response_format={"type": "json_object"})
    check_supported(request(config=config))
    assert sampling_of(config) == Sampling(**alike, json_object=True)


def test_impossible_settings_are_the_users_mistake() -> None:
    with pytest.raises(lm15.InvalidRequestError, match="top_p"):
        sampling_of(lm15.Config(top_p=0.0))


def test_no_settings_mean_greedy() -> None:
    assert sampling_of(lm15.Config()) == Sampling()
    assert sampling_of(lm15.Config()).temperature == 0.0


def test_answers_carry_text_finish_and_usage() -> None:
    generation = Generation(ids=(5,), text="yes", finish="length")
    response = response_of(request(), 11, generation)
    assert (response.text, response.finish_reason) == ("yes", "length")
    assert response.model == "local/x@1"
    assert response.usage == lm15.Usage(input_tokens=11, output_tokens=1, total_tokens=12)


def test_what_was_thought_is_apart_from_the_answer() -> None:
    generation = Generation((6, 6, 5), "yes", "stop", block=2, thinking="Is it? No, it is.")
    response = response_of(request(), 9, generation)
    assert [part.type for part in response.message.parts] == ["thinking", "text"]
    assert response.message.parts[0].text == "Is it? No, it is."
    assert response.text == "yes"
    assert (response.usage.output_tokens, response.usage.reasoning_tokens) == (3, 2)
    deltas = [event.delta for event in events_of(response) if event.type == "delta"]
    assert "".join(each.text for each in deltas if each.type == "thinking") == generation.thinking
    assert "".join(each.text for each in deltas if each.type == "text") == "yes"
