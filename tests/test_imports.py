"""How the package hangs together: what imports what, and how large its parts are."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dspy_greater

ROOT = Path(dspy_greater.__file__).parent
PACKAGE = ROOT.name
FILES = sorted(ROOT.rglob("*.py"))

#: Most lines of a file, and most modules that stand in no folder.
LINES, LOOSE = 400, 6


def name_of(path: Path) -> str:
    """Return a file's module name."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


@cache
def imports_of(module: str) -> dict[str, int]:
    """Return all that a module names in imports anywhere in it, with a line of each.

    ``from package import name`` is an import of ``package.name`` where that is a module, and of
    ``package`` where it is not.
    """
    found: dict[str, int] = {}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            wholes = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [whole if whole in MODULES else str(node.module) for whole in wholes]
        else:
            continue
        found.update((name, node.lineno) for name in names)
    return found


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def run_by(module: str) -> set[str]:
    """Return the modules that an import of a module runs, types-only and late imports among them.

    Those that it names, and the packages that these stand in, unless it stands there itself.
    """
    named = imports_of(module).keys() & MODULES.keys()
    parts = [name.split(".") for name in named]
    packages = {".".join(each[:end]) for each in parts for end in range(2, len(each))}
    return named | {package for package in packages if not within(module, package)}


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that can all be reached from each other (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(edges[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            at = stack.index(module)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1 or module in edges[module]:
                found.append(sorted(group))

    for module in sorted(edges):
        if module not in index:
            visit(module)
    return found


def test_circles_are_found() -> None:
    edges = defaultdict(set, {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}})
    assert circles(edges) == [["b", "c"], ["e"]]


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports for types alone, and those inside of functions, count as any other."""
    # The package itself names its parts for whoever imports it.
    edges = {module: run_by(module) - {PACKAGE} for module in MODULES if module != PACKAGE}
    told = [
        "\n".join(
            f"{each}:{imports_of(each).get(other, 0)} imports {other}"
            for each in group
            for other in group
            if other in edges[each]
        )
        for group in circles(edges)
    ]
    assert not told, "\n\n".join(told)


def within_package(package: str) -> Iterator[tuple[str, str]]:
    """Yield the imports of all modules in a package: the module, and what it imports."""
    for module in MODULES:
        if within(module, f"{PACKAGE}.{package}"):
            yield from ((module, name) for name in imports_of(module))


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("program", "torch"),
        ("program", "transformers"),
        ("program", f"{PACKAGE}.model"),
        ("model", "dspy"),
        ("record", "torch"),
        ("cost", "torch"),
        ("cost", "dspy"),
        ("basics", PACKAGE + ".model"),
        ("search", PACKAGE + ".running"),
        ("search", PACKAGE + ".lm"),
    ],
)
def test_each_part_stays_on_its_side(package: str, never: str) -> None:
    assert [pair for pair in within_package(package) if within(pair[1], never)] == []


def test_the_report_knows_nothing_but_the_record() -> None:
    allowed = [f"{PACKAGE}.{name}" for name in ("report", "record", "basics", "version")]
    others = [
        (module, name)
        for module, name in within_package("report")
        if within(name, PACKAGE) and not any(within(name, each) for each in allowed)
    ]
    assert others == []


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_read_at_once(module: str) -> None:
    lines = len(MODULES[module].read_text().splitlines())
    assert lines <= LINES, f"{module} has {lines} lines"


def test_few_modules_stand_loose() -> None:
    loose = sorted(path.name for path in ROOT.glob("*.py") if path.name != "__init__.py")
    assert len(loose) <= LOOSE, loose


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    count = Counter({name: len(where) for name, where in places.items()})
    assert {name: places[name] for name in count if count[name] > 1} == {}
