"""A llama.cpp server in this process, from the package xllamacpp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def start(file: Path, *, context: int = 4096, parallel: int = 1, threads: int = 2) -> Any:
    """Serve a GGUF file on the CPU, with an OpenAI-compatible address; see ``address``.

    Raises:
        ImportError: xllamacpp is not installed.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_parallel = context * parallel, parallel
    params.cpuparams.n_threads = threads
    params.warmup, params.verbosity = False, 0
    return xllamacpp.Server(params)


def address(server: Any) -> str:
    """Return the base URL of a server's API."""
    return f"{server.listening_address}/v1"


def greedy(server: Any, prompt: Sequence[int], max_tokens: int) -> tuple[str, list[int]]:
    """Return the likeliest continuation of some token ids, as text and as ids."""
    answer = server.handle_completions(
        {
            "prompt": list(prompt),
            "max_tokens": max_tokens,
            "temperature": 0,
            "top_k": 1,
            "logprobs": 1,
            "cache_prompt": False,
        }
    )
    (choice,) = answer["choices"]
    return choice["text"], [token["id"] for token in choice["logprobs"]["content"]]
