"""README and docs/ are short, and what they name is there: tests, files, commands, pages."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest

from examples.benchmark import BENCHMARKS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [README, *PAGES]
#: ``[text](target)`` and ``![text](target)``.
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: `test_x.py`, or `folder/test_x.py` under tests/.
TEST = re.compile(r"`((?:[\w/]+/)?test_\w+\.py)`")
#: A path of the package, of the examples or of CI, alone between backticks.
FILE = re.compile(
    r"`((?:examples|docs|\.ci|search|running|program|model|record|report|cost)/"
    r"(?!(?:\w+/)?test_)[\w./]*)`"
)
#: `python FILE ...` or `python -m MODULE ...`, between backticks or in a block.
COMMAND = re.compile(r"\bpython (-m )?((?:examples)[\w./]*)((?: [^`\n)]+)?)")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def named(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Return what a pattern finds, each with the document it is first found in."""
    found: dict[str, str] = {}
    for page in DOCUMENTS:
        for match in pattern.finditer(read(page)):
            found.setdefault(match[1], page.name)
    return [(page, name) for name, page in found.items()]


def commands() -> list[str]:
    """Return every command that runs an example, in documents and the table of results."""
    texts = [read(page).replace("\\\n", "") for page in DOCUMENTS]
    found = (match for text in texts for match in COMMAND.finditer(text))
    return sorted({f"{match[1] or ''}{match[2]}{match[3]}".strip() for match in found})


def messages() -> list[str]:
    """Return the parts of the messages that troubleshooting lists, between their gaps."""
    text = read(ROOT / "docs" / "troubleshooting.md").split("## Outputs")[0]
    quoted = re.findall(r"^(?:\| )?`([^`]+)`(?: \||:| —)", text, re.MULTILINE)
    parts = (part.strip(" ,_") for message in quoted for part in message.split("…"))
    return [part for part in parts if len(part) > 5]


def texts_of_the_package() -> str:
    """Return every text in the package's code, one a line, with its inserted values left out."""
    lines = []
    for file in (ROOT / "dspy_greater").rglob("*.py"):
        for node in ast.walk(ast.parse(read(file))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value for part in node.values if isinstance(part, ast.Constant))
                lines.append(" ".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(lines)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, by MkDocs' rules for plain titles."""
    titles = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    own = {match[1] for title in titles if (match := re.search(r"\{ #([\w-]+) \}", title))}
    plain = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return own | {title.replace(" ", "-") for title in plain}


def test_readme_is_short() -> None:
    assert len(read(README).splitlines()) <= 200


def test_the_glossary_is_short() -> None:
    glossary = read(ROOT / "docs" / "architecture.md").split("## Glossary")[1]
    words = [line for line in glossary.splitlines() if line.startswith("|")][2:]
    assert 0 < len(words) <= 25


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(read(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        included = re.match(r'--8<-- "(.+)"', read(there)) if there.suffix == ".md" else None
        source = ROOT / included[1] if included else there
        assert not anchor or anchor in anchors(source), target


def test_every_page_is_in_the_navigation() -> None:
    navigation = read(ROOT / "mkdocs.yml")
    assert [page.name for page in PAGES if f": {page.name}\n" not in navigation] == []


def test_every_row_of_what_it_works_with_names_a_test() -> None:
    table = read(ROOT / "docs" / "works-with.md").split("| what | tested by |")[1]
    rows = table.split("\n\n")[0].splitlines()[2:]
    assert len(rows) > 20
    assert [row for row in rows if not TEST.search(row) and ".ci/" not in row] == []


@pytest.mark.parametrize(("page", "name"), named(TEST))
def test_tests_that_are_named_exist(page: str, name: str) -> None:
    assert (ROOT / "tests" / name).is_file(), page


@pytest.mark.parametrize(("page", "name"), named(FILE))
def test_files_that_are_named_exist(page: str, name: str) -> None:
    assert (ROOT / name).exists() or (ROOT / "dspy_greater" / name).exists(), page


def test_messages_of_troubleshooting_are_those_of_the_package() -> None:
    package = texts_of_the_package()
    assert len(messages()) > 20
    assert [message for message in messages() if message not in package] == []


@pytest.mark.parametrize("command", commands())
def test_commands_that_are_named_can_be_given(command: str) -> None:
    module = command.startswith("-m ")
    name, *arguments = shlex.split(command.removeprefix("-m "))
    path = ROOT / (name.replace(".", "/") if module else name)
    assert path.is_file() or path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
    if name == "examples.benchmark":
        benchmark, *options = arguments
        parser = argparse.ArgumentParser(exit_on_error=False)
        BENCHMARKS[benchmark].arguments(parser)
        parser.parse_args(options)
