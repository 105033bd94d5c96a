"""Starts a script in several processes as a launcher does, and reads what each of them found."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARK = "FOUND "


@dataclass(frozen=True)
class Ended:
    """How one process ended.

    Attributes:
        code: Its exit code.
        found: What it reported by :func:`report`; None where it did not come to that.
        printed: All that it wrote.
    """

    code: int
    found: Any
    printed: str


def launch(module: str, *arguments: str, processes: int = 2, seconds: int = 300) -> list[Ended]:
    """Run a module of the repository in several processes that can reach each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        # One after the other: what the later ones write meanwhile fits into their pipes.
        outputs = [process.communicate(timeout=seconds)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        Ended(process.returncode, _found(printed), printed)
        for process, printed in zip(running, outputs, strict=True)
    ]


def report(found: Any) -> None:
    """Tell the test what this process found, as JSON."""
    print(f"{MARK}{json.dumps(found)}", flush=True)


def _found(printed: str) -> Any:
    lines = [line for line in printed.splitlines() if line.startswith(MARK)]
    return json.loads(lines[-1].removeprefix(MARK)) if lines else None
