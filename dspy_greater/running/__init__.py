"""Running programs, and the language models that they run on."""

from dspy_greater.running.lms import LMs, Target, TargetError, language_models
from dspy_greater.running.runner import ProgramRunner
from dspy_greater.running.served import ServedError, check_served, prompts_of

__all__ = [
    "LMs",
    "ProgramRunner",
    "ServedError",
    "Target",
    "TargetError",
    "check_served",
    "language_models",
    "prompts_of",
]
