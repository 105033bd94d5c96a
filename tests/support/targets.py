"""A language model elsewhere, as far as tests of targets need one."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dspy
from dspy import lm15


class Recorder:
    """A DSPy engine that keeps what it is asked, and fails when it is told to.

    Attributes:
        configs: The settings that came with each request.
        fails: What is raised in the place of an answer.
    """

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False

    def __init__(self) -> None:
        self.configs: list[lm15.Config] = []
        self.fails: Exception | None = None
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """Requests so far."""
        return len(self.configs)

    def complete(self, request: lm15.Request) -> lm15.Response:
        with self._lock:
            self.configs.append(request.config)
        if self.fails is not None:
            raise self.fails
        return self.respond(request)

    def respond(self, request: lm15.Request) -> lm15.Response:
        """Answer a request."""
        raise NotImplementedError


class Adder(Recorder):
    """It adds well when it likes the instruction, and says 0 when it does not."""

    supported_params = frozenset({"temperature", "max_tokens", "stop"})

    def __init__(self, likes: Callable[[str], bool] = bool, *, reports_usage: bool = True) -> None:
        super().__init__()
        self.likes, self.reports_usage = likes, reports_usage

    def respond(self, request: lm15.Request) -> lm15.Response:
        question = "".join(part.text for part in request.messages[-1].parts)
        text = self.answer(str(request.system), question)
        usage = lm15.Usage(input_tokens=10, output_tokens=3) if self.reports_usage else lm15.Usage()
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=usage,
        )

    def answer(self, system: str, question: str) -> str:
        """Fill in the fields that the chat adapter asks for."""
        instruction = system.split("your objective is: ")[-1].strip()
        numbers = [int(n) for n in re.findall(r"(\d+) \+ (\d+)", question)[-1]]
        answer = sum(numbers) if self.likes(instruction) else 0
        *names, completed = re.findall(r"`(\[\[ ## \w+ ## \]\])`", question)
        values = [answer if "answer" in name else f"{numbers} in all" for name in names]
        fields = [f"{name}\n{value}" for name, value in zip(names, values, strict=True)]
        return "\n\n".join([*fields, completed])

    def __deepcopy__(self, memo: dict[int, Any]) -> Adder:
        return self

    def dump_state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> Adder:
        return cls()


def target(engine: Adder, name: str = "far/away", **settings: Any) -> dspy.LM:
    return dspy.LM(name, engine=engine, **{"cache": False, "num_retries": 0, **settings})


@contextmanager
def chat_server(answer: Callable[[dict[str, Any]], dict[str, Any] | int]) -> Iterator[str]:
    """Answer chat requests on this machine; give the address.

    Args:
        answer: Given a request, what stands in a completion of this one alone, ``choices`` above
            all; or the HTTP status of a refusal.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            given, status = answer(asked), 200
            if isinstance(given, int):
                body, status = {"error": {"message": "the machine is tired"}}, given
            else:
                common = {"id": "1", "object": "chat.completion", "created": 1}
                body = {**common, "model": asked["model"], **given}
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *given: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # as many may knock at once

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def choices(text: str, finish_reason: str = "stop") -> list[dict[str, Any]]:
    """The one answer of a completion."""
    message = {"role": "assistant", "content": text}
    return [{"index": 0, "message": message, "finish_reason": finish_reason}]


@contextmanager
def stub_server(engine: Adder, status: int = 200) -> Iterator[str]:
    """Answer chat requests on this machine as ``engine`` would, or refuse all; give the address."""

    def answer(asked: dict[str, Any]) -> dict[str, Any] | int:
        system, *_, question = (message["content"] for message in asked["messages"])
        return {"choices": choices(engine.answer(system, question))} if status == 200 else status

    with chat_server(answer) as url:
        yield url
