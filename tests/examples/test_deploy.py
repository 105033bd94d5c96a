"""White box here, verdict there: a real OpenAI-compatible server on this machine is the target."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dspy
import pytest

from dspy_greater import local_lm
from examples import deploy, serving
from examples.quickstart import SMALL_MODEL
from examples.small_model.tasks import TASKS, examples

needs_server = pytest.mark.skipif(
    bool(serving.missing()), reason=f"the server needs {', '.join(serving.missing())}"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving.served(SMALL_MODEL) as url:
        yield url


@pytest.mark.slow
@needs_server
@pytest.mark.parametrize("engine", ["litellm", "auto"])
def test_the_served_model_answers_as_the_local_one(engine: str, url: str) -> None:
    task, settings = TASKS["letters"], {"temperature": 0.0, "max_tokens": 60, "cache": False}
    here = local_lm(str(SMALL_MODEL), **settings)
    there = dspy.LM("openai/model", api_base=url, api_key="any", engine=engine, **settings)
    (question,) = examples("letters", "test", 1, seed=0)
    answers = []
    for lm in (here, there):
        with dspy.context(lm=lm):
            answers.append(task.program()(**question.inputs()).answer)
    assert answers[0] == answers[1]
    assert there.history[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.slow
@needs_server
def test_what_is_found_here_and_verified_there_is_better_there(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # An address in the environment is litellm's business.
    monkeypatch.setenv("OPENAI_API_BASE", url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    saved = tmp_path / "deployed.json"
    command = ["deploy.py", "--target", "openai/model", "--max-metric-calls", "250"]
    monkeypatch.setattr(sys, "argv", [*command, "--save", str(saved)])
    for name, size in {"TRAIN": 8, "VALIDATION": 16, "HELD_OUT": 12}.items():
        monkeypatch.setattr(deploy, name, size)
    deploy.main()
    said = capsys.readouterr().out
    before, after = map(float, re.findall(r"(?:before|after)\s+([\d.]+) %", said))
    assert after > before + 30
    calls, runs = (
        int(re.search(pattern, said)[1])
        for pattern in (r"verified on openai/model: (\d+) calls", r"(\d+) runs of the program")
    )
    # Nothing is sampled in the first step, and nothing run twice that DSPy's cache would know.
    assert calls == runs
    assert "sk-any" not in saved.read_text()


def test_a_folder_is_served_and_a_name_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @contextmanager
    def served(folder: Path) -> Iterator[str]:
        yield f"served {folder.name}"

    monkeypatch.setattr(deploy, "served", served)
    (tmp_path / "second").mkdir()
    with deploy.target_lm(str(tmp_path / "second"), None) as lm:
        assert (lm.model, lm.kwargs["api_base"]) == ("openai/second", "served second")
    with deploy.target_lm("openai/gpt", "http://gateway") as lm:
        assert (lm.model, lm.kwargs["api_base"]) == ("openai/gpt", "http://gateway")
