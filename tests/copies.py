"""Another copy of a white box, as a server would hold it, for tests of rollouts on one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dspy
from dspy import lm15

NAME = "far/copy"


class Copy:
    """A DSPy engine elsewhere that answers as a local LM does.

    Attributes:
        configs: The settings that came with each request.
        changes: What becomes of the settings before the local LM sees them, such as a server that
            takes no notice of the temperature.
        answers: What becomes of a response.
        fails: What is raised in the place of an answer.
    """

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False
    supported_params = frozenset({"temperature", "max_tokens", "seed", "logprobs"})

    def __init__(self, lm: dspy.LM) -> None:
        self.lm = lm
        self.configs: list[lm15.Config] = []
        self.changes: Callable[[lm15.Config], lm15.Config] = lambda config: config
        self.answers: Callable[[lm15.Response], lm15.Response] = lambda response: response
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
        asked = replace(request, model=self.lm.model, config=self.changes(request.config))
        return self.answers(replace(self.lm.engine.complete(asked), model=request.model))


def elsewhere(engine: Copy, name: str = NAME, **settings: Any) -> dspy.LM:
    return dspy.LM(name, engine=engine, **{"num_retries": 0, **settings})


@contextmanager
def copy_server(lm: dspy.LM, statuses: Callable[[int], int] = lambda number: 200) -> Iterator[str]:
    """Answer chat requests on this machine as a local LM does; give the address.

    Args:
        lm: The local LM.
        statuses: The HTTP status of each request, by its number; above 200 there is no answer.
    """
    seen, lock = [0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                status = statuses(seen[0])
                seen[0] += 1
            body: dict[str, Any] = {"error": {"message": "the machine is tired"}}
            if status == 200:
                body = self.answer(asked)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(content)

        def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
            known = {"messages", "temperature", "max_tokens", "max_completion_tokens", "seed"}
            request = lm15.request_from_openai_chat(
                {"model": lm.model, **{key: value for key, value in asked.items() if key in known}}
            )
            response = lm.engine.complete(request)
            text = "".join(part.text for part in response.message.parts)
            return {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": asked["model"],
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": text},
                        "finish_reason": response.finish_reason,
                    }
                ],
                "usage": {
                    "prompt_tokens": response.usage.input_tokens,
                    "completion_tokens": response.usage.output_tokens,
                    "total_tokens": response.usage.total_tokens,
                },
            }

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
