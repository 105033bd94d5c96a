"""Running programs, and the language models that they run on."""

from dspy_greater.running.lms import TargetError
from dspy_greater.running.runner import ProgramRunner

__all__ = ["ProgramRunner", "TargetError"]
