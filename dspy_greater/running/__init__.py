"""Running programs, and the language models that they run on."""

from dspy_greater.running.lms import Target, TargetError, program_lms, rollouts_of, target_of
from dspy_greater.running.runner import ProgramRunner
from dspy_greater.running.served import ServedError, check_served, prompts_of

__all__ = [
    "ProgramRunner",
    "ServedError",
    "Target",
    "TargetError",
    "check_served",
    "program_lms",
    "prompts_of",
    "rollouts_of",
    "target_of",
]
