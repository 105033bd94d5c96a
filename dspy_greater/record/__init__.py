"""What happened in a compile, as plain data, and the folder that it is kept in."""

from dspy_greater.record.checkpoint import Checkpoint, CheckpointError, fingerprint
from dspy_greater.record.outcomes import (
    Candidate,
    ChangedExample,
    ExampleGradient,
    Outcome,
    StepEvent,
)
from dspy_greater.record.results import DetailedResults, looks, usage_text

__all__ = [
    "Candidate",
    "ChangedExample",
    "Checkpoint",
    "CheckpointError",
    "DetailedResults",
    "ExampleGradient",
    "Outcome",
    "StepEvent",
    "fingerprint",
    "looks",
    "usage_text",
]
