"""The tests that README.md names for its claims are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: ``test_x.py``, ``folder/test_x.py::test_y``, or ``::test_z`` of the file named before.
NAMED = re.compile(r"`((?:[\w/]*test_\w+\.py)?)((?:::test_\w+)?)`")


def named() -> list[tuple[str, str]]:
    """Return every file of tests that the README names, with the test, if it names one."""
    found, file = [], ""
    for match in NAMED.finditer((ROOT / "README.md").read_text(encoding="utf-8")):
        if match[1] or match[2]:
            file = match[1] or file
            found.append((file, match[2].removeprefix("::")))
    return found


def test_the_table_of_what_it_works_with_names_tests() -> None:
    rows = (ROOT / "README.md").read_text(encoding="utf-8").split("| what | tested by |")[1]
    rows = rows.split("\n\n")[0].splitlines()[2:]
    assert len(rows) > 20
    unbacked = [row for row in rows if not NAMED.search(row) and ".ci/" not in row]
    assert unbacked == []


@pytest.mark.parametrize(("file", "test"), named())
def test_every_test_that_is_named_exists(file: str, test: str) -> None:
    paths = [path for path in (ROOT / "tests").rglob(Path(file).name) if path.match(file)]
    assert len(paths) == 1, f"tests has {len(paths)} files {file}"
    if test:
        tree = ast.parse(paths[0].read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
