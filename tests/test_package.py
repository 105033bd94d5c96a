"""Importing the package costs nothing that is not used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dspy_greater


def test_importing_the_package_imports_neither_torch_nor_transformers() -> None:
    script = "import sys, dspy_greater; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_public_names_are_there_and_others_are_not() -> None:
    for name in dspy_greater.__all__:
        assert getattr(dspy_greater, name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = dspy_greater.nothing
