"""A DSPy optimizer: better instructions from a local model alone.

::

    import dspy
    from dspy_greater import GreaterTeleprompter, local_lm

    dspy.configure(lm=local_lm("Qwen/Qwen2.5-1.5B-Instruct"))
    program = dspy.ChainOfThought("question -> answer")
    trainset = [dspy.Example(question="...", answer="...").with_inputs("question"), ...]
    optimizer = GreaterTeleprompter(metric=dspy.evaluate.answer_exact_match)
    compiled = optimizer.compile(program, trainset=trainset)
    compiled.save("program.json")

``GreaterTeleprompter`` is the optimizer, with ``VerifiedConfig`` for sizes of its search and
``StepEvent`` for callbacks. ``local_lm`` loads a model, and ``DetailedResults`` is the record of a
compile. Each has a ``help(...)`` of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dspy_greater.version import __version__

if TYPE_CHECKING:
    from dspy_greater.lm import local_lm
    from dspy_greater.record import StepEvent
    from dspy_greater.report import DetailedResults
    from dspy_greater.search import VerifiedConfig
    from dspy_greater.teleprompter import GreaterTeleprompter

__all__ = [
    "DetailedResults",
    "GreaterTeleprompter",
    "StepEvent",
    "VerifiedConfig",
    "__version__",
    "local_lm",
]

_HOMES = {
    "DetailedResults": "dspy_greater.report",
    "GreaterTeleprompter": "dspy_greater.teleprompter",
    "StepEvent": "dspy_greater.record",
    "VerifiedConfig": "dspy_greater.search",
    "local_lm": "dspy_greater.lm",
}


def __getattr__(name: str) -> Any:
    # On first use: ``import dspy_greater`` costs neither torch nor transformers.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
