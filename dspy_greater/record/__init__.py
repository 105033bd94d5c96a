"""What happened in a compile, as plain data, and the folder that it is kept in."""

from dspy_greater.record.checkpoint import Checkpoint, CheckpointError
from dspy_greater.record.identity import fingerprint
from dspy_greater.record.outcomes import Candidate, ChangedExample, Outcome, StepEvent
from dspy_greater.record.results import Record, looks, usage_text

__all__ = [
    "Candidate",
    "ChangedExample",
    "Checkpoint",
    "CheckpointError",
    "Outcome",
    "Record",
    "StepEvent",
    "fingerprint",
    "looks",
    "usage_text",
]
