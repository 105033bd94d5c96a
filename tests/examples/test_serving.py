"""Servers that examples start on this machine; vLLM's executable is a stand-in for it."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from examples import serving
from examples.quickstart import SMALL_MODEL

# It starts a process of its own, as vLLM does for its engine, says so, and answers on its port.
STAND_IN = """#!{python}
import http.server, json, os, subprocess, sys
from pathlib import Path

class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())

engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
told = {{"engine": engine.pid, "arguments": sys.argv[1:], "environment": dict(os.environ)}}
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""


def executable(path: Path, script: str) -> Path:
    path.write_text(script.format(python=sys.executable))
    path.chmod(0o755)
    return path


def asked(url: str) -> dict[str, Any]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=30) as answer:
        return dict(json.load(answer))


def is_alive(process: int) -> bool:
    """Whether it runs; one that has ended and that nobody has asked after does not."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
def test_vllm_is_started_with_the_models_weights_as_they_are_and_ends_with_its_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    vllm = executable(tmp_path / "vllm", STAND_IN)
    with serving.served(SMALL_MODEL, vllm=vllm, options=["--max-num-seqs", "64"]) as url:
        told = asked(url)
        assert is_alive(told["engine"])
    until = time.monotonic() + 30
    while is_alive(told["engine"]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(told["engine"])
    arguments = " ".join(told["arguments"])
    assert arguments.startswith(f"serve {SMALL_MODEL} --served-model-name model --dtype float32 ")
    assert arguments.endswith("--max-num-seqs 64")
    assert "--host 127.0.0.1 " in arguments
    assert told["environment"]["HF_HUB_OFFLINE"] == "1"
    assert told["environment"]["VLLM_CPU_KVCACHE_SPACE"] == "3"  # what the user says
    with pytest.raises(OSError, match="refused"):
        asked(url)


def test_vllm_is_found_where_the_shell_would_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm = executable(tmp_path / "vllm", STAND_IN)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert serving.vllm_command("vllm", SMALL_MODEL)[:2] == [str(vllm), "serve"]


def test_without_vllm_it_is_said_how_to_come_by_it(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"nowhere/vllm.*environment of its own.*bin/vllm"),
        serving.served(SMALL_MODEL, vllm=tmp_path / "nowhere" / "vllm"),
    ):
        pass


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    vllm = executable(tmp_path / "vllm", "#!{python}\nraise SystemExit('no such model')\n")
    with (
        pytest.raises(RuntimeError, match=r"(?s)did not start.*no such model"),
        serving.served(SMALL_MODEL, vllm=vllm),
    ):
        pass


def test_what_the_server_of_transformers_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "NEEDED", ("fastapi_of_another_world",))
    with (
        pytest.raises(ModuleNotFoundError, match=r"fastapi_of_another_world.*serving"),
        serving.served(SMALL_MODEL),
    ):
        pass
