"""Another copy of a white box, as a server would hold it, for tests of a target that is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import dspy
from dspy import lm15

from tests.support.targets import Recorder, chat_server, choices

NAME = "far/copy"
# What the server reads of a request.
KNOWN = {"messages", "temperature", "max_tokens", "max_completion_tokens", "seed"}


class Copy(Recorder):
    """An engine elsewhere that answers as a local LM does."""

    supported_params = frozenset({"temperature", "max_tokens", "seed"})

    def __init__(self, lm: dspy.LM) -> None:
        super().__init__()
        self.lm = lm

    def respond(self, request: lm15.Request) -> lm15.Response:
        asked = replace(request, model=self.lm.model)
        return replace(self.lm.engine.complete(asked), model=request.model)


@contextmanager
def copy_server(lm: dspy.LM, statuses: Callable[[int], int] = lambda number: 200) -> Iterator[str]:
    """Answer chat requests on this machine as a local LM does; give the address.

    Args:
        lm: The local LM.
        statuses: The HTTP status of each request, by its number; above 200 there is no answer.
    """
    number = count()

    def answer(asked: dict[str, Any]) -> dict[str, Any] | int:
        status = statuses(next(number))
        if status != 200:
            return status
        settings = {key: value for key, value in asked.items() if key in KNOWN}
        request = lm15.request_from_openai_chat({"model": lm.model, **settings})
        response = lm.engine.complete(request)
        text = "".join(part.text for part in response.message.parts)
        return {
            "choices": choices(text, response.finish_reason),
            "usage": {
                "prompt_tokens": response.usage.input_tokens,
                "completion_tokens": response.usage.output_tokens,
                "total_tokens": response.usage.total_tokens,
            },
        }

    with chat_server(answer) as url:
        yield url
