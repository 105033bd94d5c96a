"""A model behind an OpenAI-compatible server on this machine, for as long as it is needed.

The server is `transformers serve`, which needs `transformers[serving]` installed. It answers one
request after the other, or several at a time with `--continuous-batching`, which then gives all of
them the temperature of the first: enough to try what a real one will do.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

#: Seconds in which a server has to be up.
PATIENCE = 120
#: What the server needs besides what this project needs.
NEEDED = ("fastapi", "uvicorn", "accelerate")
# The server ends with the process that started it, whatever becomes of that: its input then ends.
SCRIPT = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
runpy.run_module("transformers.cli.transformers", run_name="__main__", alter_sys=True)
"""


def missing() -> list[str]:
    """Return the packages that the server needs and that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def sampling(folder: str | os.PathLike[str], parent: Path) -> Path:
    """Make a folder of the same model that the server samples from where it is asked to.

    `transformers serve` takes a request's temperature, but samples only where the model's own
    settings say so.

    Args:
        folder: The model's.
        parent: Where to put the other; its files are links, and its name is the same.
    """
    twin = parent / Path(folder).resolve().name
    twin.mkdir()
    for file in Path(folder).resolve().iterdir():
        (twin / file.name).symlink_to(file)
    settings = twin / "generation_config.json"
    content = {**json.loads(settings.read_text()), "do_sample": True}
    settings.unlink()  # the link
    settings.write_text(json.dumps(content))
    return twin


@contextmanager
def served(
    folder: str | os.PathLike[str], *, port: int | None = None, options: Sequence[str] = ()
) -> Iterator[str]:
    """Serve a model's folder, on this machine only, and give the address to use as `api_base`.

    The server knows the model by the folder's name.

    Args:
        folder: The model's.
        port: Where to listen; None for a port that is free.
        options: Further ones of `transformers serve`.
    """
    if packages := missing():
        raise ModuleNotFoundError(
            f"the server needs {', '.join(packages)}: pip install 'transformers[serving]'"
        )
    folder = Path(folder).resolve()
    port = free_port() if port is None else port
    command = [sys.executable, "-c", SCRIPT, "serve", folder.name, "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port), *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=folder.parent,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            if not _is_up(process, port):
                log.seek(0)
                raise RuntimeError(f"the server did not start:\n{log.read()[-2000:]}")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_up(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers; whether it does before it ends or patience does."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # through no proxy
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            with direct.open(f"http://127.0.0.1:{port}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False
