"""Importing the package costs nothing that is not used."""

from __future__ import annotations

import pydoc
import rlcompleter
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspy_greater
from tests.support.compiling import VERIFIED, examples, lm_of


def test_importing_the_package_imports_neither_torch_nor_transformers() -> None:
    script = "import sys, dspy_greater; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_what_a_user_imports_is_found_by_dir_help_and_completion() -> None:
    public = ["DetailedResults", "GreaterTeleprompter", "StepEvent", "VerifiedConfig", "local_lm"]
    assert dir(dspy_greater) == sorted([*public, "__version__"])
    completer = rlcompleter.Completer({"dspy_greater": dspy_greater})
    found = [completer.complete("dspy_greater.", at) for at in range(len(public) + 1)]
    assert found == [*(f"dspy_greater.{name}(" for name in public), None]
    told = pydoc.plain(pydoc.render_doc(dspy_greater))
    assert "from dspy_greater import GreaterTeleprompter, local_lm" in told
    assert "    class GreaterTeleprompter(" in told
    assert "    local_lm(model" in told
    for hidden in ("_HOMES", "import_module", "TYPE_CHECKING"):
        assert hidden not in told
    space: dict[str, object] = {}
    exec("from dspy_greater import *", space)
    assert set(public) <= space.keys()
    assert "Any" not in space


def test_the_first_example_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As it stands, but for the model, the data and a smaller search."""
    lm, small = lm_of(), partial(dspy_greater.GreaterTeleprompter, schedule=VERIFIED)
    monkeypatch.setattr(dspy_greater, "local_lm", lambda model: lm, raising=False)
    monkeypatch.setattr(dspy_greater, "GreaterTeleprompter", small, raising=False)
    monkeypatch.setattr(dspy, "configure", lambda lm: None)
    monkeypatch.chdir(tmp_path)
    body = str(dspy_greater.__doc__).partition("::\n")[2].partition("\n\n``")[0]
    before, opening, after = textwrap.dedent(body).partition("[dspy.Example(")
    assert opening
    space: dict[str, Any] = {"data": examples()}
    with dspy.context(lm=lm):
        exec(f"{before}data\n{after.partition('...]')[2]}", space)
    assert space["compiled"].detailed_results.outcomes
    assert (tmp_path / "program.json").exists()


def test_public_names_are_there_and_others_are_not() -> None:
    for name in dspy_greater.__all__:
        assert getattr(dspy_greater, name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = dspy_greater.nothing
