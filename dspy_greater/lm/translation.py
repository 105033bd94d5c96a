"""Between DSPy's requests and responses and what a white box takes and gives."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import dspy
from dspy import lm15

from dspy_greater.basics.spans import Message

if TYPE_CHECKING:
    from dspy_greater.model.requests import Generation, Sampling

# lm15.Config fields that a plain causal LM cannot follow, and what to do instead.
_REFUSED = {
    "tool_choice": "use a module that describes its tools in the prompt, such as dspy.ReAct",
    "reasoning": "use dspy.ChainOfThought, whose reasoning is a field of the answer",
    "cache": "leave prompt_cache out: nothing is billed per token",
    **dict.fromkeys(("logprobs", "probabilities"), "white_box(lm).log_probs scores a text"),
    **dict.fromkeys(("frequency_penalty", "presence_penalty"), "leave it out"),
    **dict.fromkeys(("service_tier", "user_id", "store"), "leave it out"),
}

#: Settings of a request that a local model follows.
SUPPORTED = frozenset(
    {"temperature", "max_tokens", "top_p", "top_k", "stop", "seed", "response_format"}
)

# What users write for a setting of ``local_lm``, or for one that it lacks, and what to do instead.
_INSTEAD = {
    **_REFUSED,
    "torch_dtype": "write dtype",
    "load_in_4bit": "write quantization_config=BitsAndBytesConfig(load_in_4bit=True)",
    "load_in_8bit": "write quantization_config=BitsAndBytesConfig(load_in_8bit=True)",
    **dict.fromkeys(("max_new_tokens", "max_length", "max_completion_tokens"), "write max_tokens"),
    "use_auth_token": "write token",
    "do_sample": "write temperature, which is 0 for the likeliest token",
    "enable_thinking": "write chat_template_kwargs={'enable_thinking': ...}",
    "repetition_penalty": "leave it out, since likelihoods know of no penalty",
    "tools": _REFUSED["tool_choice"],
    "top_logprobs": _REFUSED["logprobs"],
    "prompt_cache": _REFUSED["cache"],
    **dict.fromkeys(("api_key", "api_base", "base_url"), "a server is a dspy.LM('openai/...')"),
    **dict.fromkeys(("engine", "async_engine"), "leave it out, since the model is the engine"),
}

#: The one response format there is, which JSONAdapter asks for wherever it may.
JSON_OBJECT = {"type": "json_object"}

_PIECES = re.compile(r"\s*\S{1,8}|\s+")


def check_supported(request: lm15.Request) -> None:
    """Raise ``UnsupportedFeatureError`` for what the local model would have to ignore."""
    if request.tools:
        raise _unsupported("tools", _REFUSED["tool_choice"])
    if request.config.response_format not in (None, JSON_OBJECT):
        raise _unsupported("response_format", "ask for {'type': 'json_object'} or leave it out")
    for name, instead in _REFUSED.items():
        value = getattr(request.config, name)
        # A penalty of 0.0 and store=False ask for nothing; logprobs=0 is how DSPy writes True.
        if value or (name == "logprobs" and value is not None):
            raise _unsupported(name, instead)
    for name in request.config.extensions or {}:
        raise _unsupported(name, "leave it out")


def check_settings(settings: Mapping[str, Any], own: Collection[str]) -> None:
    """Raise, before a model is loaded, for what no request to it could carry.

    It is a ``TypeError`` for a name, neither an ``own`` one nor DSPy's; a ``ValueError`` otherwise.
    """
    names = {*own, *inspect.signature(dspy.LM).parameters, *SUPPORTED, "rollout_id", "n"}
    names -= _INSTEAD.keys()
    asked: dict[str, Any] = {}
    for name, value in settings.items():
        if name in SUPPORTED and value is not None:
            asked[name] = value
        elif name not in names and (value or name not in _REFUSED):
            close = get_close_matches(name, sorted(names), 1)
            hint = f"did you mean {close[0]}" if close else "help(local_lm) lists its settings"
            raise TypeError(f"local_lm has no setting {name!r}: {_INSTEAD.get(name, hint)}.")
    asked |= {"model": "local", "messages": [{"role": "user", "content": ""}]}
    try:
        request = lm15.request_from_openai_chat(asked)
        check_supported(request)
        sampling_of(request.config)
    except (lm15.LM15Error, TypeError, ValueError) as error:
        raise ValueError(f"local_lm: {error}") from error


def messages_of(request: lm15.Request) -> list[Message]:
    """Return the conversation as plain text messages, the system message first."""
    turns = [] if request.system is None else [("system", request.system)]
    turns += [(message.role, message.parts) for message in request.messages]
    return [
        {"role": "system" if role == "developer" else role, "content": _text(parts, role)}
        for role, parts in turns
    ]


def sampling_of(config: lm15.Config) -> Sampling:
    """Return the settings of one generation; no temperature means greedy."""
    from dspy_greater.model.requests import Sampling

    names = ("max_tokens", "temperature", "top_p", "top_k", "stop", "seed")
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    try:
        return Sampling(**given, json_object=config.response_format == JSON_OBJECT)
    except ValueError as error:
        raise lm15.InvalidRequestError(str(error)) from error


def response_of(request: lm15.Request, prompt_tokens: int, generation: Generation) -> lm15.Response:
    """Return the answer in DSPy's terms."""
    thought = [lm15.ThinkingPart(generation.thinking)] if generation.thinking else []
    return lm15.Response(
        id=None,
        model=request.model,
        message=lm15.Message.assistant([*thought, lm15.TextPart(generation.text)]),
        finish_reason=generation.finish,
        usage=lm15.Usage(
            input_tokens=prompt_tokens,
            output_tokens=len(generation.ids),
            reasoning_tokens=generation.block or None,
        ),
    )


def events_of(response: lm15.Response) -> Iterator[Any]:
    """Yield the answer in small pieces, as DSPy's stream listeners need them."""
    for event in lm15.response_to_events(response):
        if event.type != "delta" or not isinstance(event.delta, lm15.TextDelta):
            yield event
            continue
        for text in _PIECES.findall(event.delta.text) or [""]:
            yield replace(event, delta=replace(event.delta, text=text))


def _text(parts: Any, role: str) -> str:
    if isinstance(parts, str):
        return parts
    for part in parts:
        if not isinstance(part, lm15.TextPart):
            kind = part.type.replace("_", " ")
            raise lm15.UnsupportedFeatureError(
                f"The local model reads text only, but a {role} message holds a {kind} part.",
                feature=f"messages.{part.type}",
            )
    return "".join(part.text for part in parts)


def _unsupported(name: str, instead: str) -> lm15.UnsupportedFeatureError:
    return lm15.UnsupportedFeatureError(
        f"The local model does not support {name}; {instead}.", feature=f"config.{name}"
    )
