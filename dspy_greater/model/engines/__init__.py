"""Engines that generate: plain ``generate``, continuous batching, and vLLM.

All give texts that end where those of ``generate`` end. What an engine cannot do by the letter
goes to plain ``generate``; each engine's docstring says what that is. Gradients and scores never
leave the white box.
"""

from __future__ import annotations

from dspy_greater.model.engines.choice import (
    GenerationBackend,
    backend_of,
    check_backend,
)
from dspy_greater.model.engines.origin import Origin
from dspy_greater.model.engines.plain import Plain

__all__ = ["GenerationBackend", "Origin", "Plain", "backend_of", "check_backend"]
