"""What makes one compile another one: all that decides a result, as short hashes.

A function counts by its code and that of the functions of its module that it calls, so neither a
comment nor its place in a file makes it another one.
"""

from __future__ import annotations

import dis
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any


def fingerprint(value: Any) -> str:
    """Return a short hash of a value of any kind, equal in every process."""
    return hashlib.sha256(json.dumps(_plain(value)).encode()).hexdigest()[:16]


def settings_of(value: Any) -> dict[str, Any]:
    """Return the plain attributes of an object that none of its methods writes later."""
    methods = [m for m in vars(type(value)).values() if isinstance(m, FunctionType)]
    written = {name for m in methods if m.__name__ != "__init__" for name in _names(m, "STORE")}
    its = getattr(value, "__dict__", {}).items()
    return {name: each for name, each in its if _is_scalar(each) and name not in written}


def modules_of(program: Any) -> list[Any]:
    """Return all that decides what a DSPy program does, but for its language models.

    Its state as it is saved has no types of fields and no ``config``, and nothing of ``forward``.
    """
    modules = [program.dump_state()]
    for name, module in program.named_sub_modules():
        # A predictor's other plain attribute is drawn at random.
        its = module.config if hasattr(module, "stage") else settings_of(module)
        modules.append((name, type(module), its))
    for _, predictor in program.named_predictors():
        modules.append(repr(predictor.signature))
        with suppress(Exception):  # pydantic has no schema for every type
            modules.append(predictor.signature.model_json_schema())
    return modules


def _plain(value: Any, within: tuple[Any, ...] = ()) -> Any:
    """Return a value as JSON takes it; ``within`` are the functions that it is part of."""
    plain = partial(_plain, within=within)
    if _is_scalar(value):
        return value
    if isinstance(value, Mapping):
        return sorted(([plain(k), plain(v)] for k, v in value.items()), key=json.dumps)
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value), key=json.dumps)
    if isinstance(value, (list, tuple)):
        return list(map(plain, value))
    if isinstance(value, (partial, MethodType)):
        return plain(value.__reduce__())
    if isinstance(value, CodeType):
        return plain([value.co_code.hex(), value.co_names, value.co_consts])
    if isinstance(value, (FunctionType, type)):
        return None if value in within else list(_parts(value, (*within, value)))
    for method in ("tolist", "toDict", "model_dump"):  # of numpy, DSPy and pydantic
        if hasattr(value, method):
            return [type(value).__name__, plain(getattr(value, method)())]
    if callable(value) or " at 0x" in repr(value):
        return plain([type(value), settings_of(value)])
    return repr(value)


def _parts(value: FunctionType | type, within: tuple[Any, ...]) -> Iterator[Any]:
    """Yield what a function or a class is made of; those of libraries count by their names."""
    yield value.__qualname__
    if str(value.__module__).partition(".")[0] in ("builtins", "dspy", "pydantic"):
        return
    if isinstance(value, type):
        members = [getattr(each, "__func__", each) for each in vars(value).values()]
        methods = [each for each in members if isinstance(each, FunctionType)]
        yield _plain([*methods, *value.__bases__], within)
        return
    yield _plain([value.__code__, value.__defaults__, value.__kwdefaults__], within)
    around = {name: value.__globals__.get(name) for name in _names(value, "LOAD_GLOBAL")}
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    around |= {name: cell.cell_contents for name, cell in cells}
    for name in sorted(around.keys() - _names(value, "STORE")):
        each = around[name]
        ours = isinstance(each, FunctionType) and each.__module__ == value.__module__
        if ours or _is_scalar(each):
            yield [name, _plain(each, within)]


def _names(value: FunctionType | CodeType, does: str) -> set[Any]:
    """Return the names of the attributes and variables with which a function ``does`` something."""
    code = value.__code__ if isinstance(value, FunctionType) else value
    inner = [_names(each, does) for each in code.co_consts if isinstance(each, CodeType)]
    own = {each.argval for each in dis.get_instructions(code) if each.opname.startswith(does)}
    return own.union(*inner)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))
