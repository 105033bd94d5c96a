"""DSPy's side: predictors, labels, rendering with spans, runs. Knows no tensors."""

from dspy_greater.program.data import copied_words, excerpt
from dspy_greater.program.errors import (
    DataError,
    InstructionError,
    MetricError,
    ProgramError,
    RenderingError,
    TooManyErrorsError,
)
from dspy_greater.program.instructions import check_instruction, normalise
from dspy_greater.program.labels import beside, gold_outputs, gold_value, labelled_fields
from dspy_greater.program.metrics import Metric
from dspy_greater.program.predictors import Predictor, call_of
from dspy_greater.program.rendering import (
    AdapterCall,
    Rendered,
    current_adapter,
    render,
    with_instructions,
)
from dspy_greater.program.runs import PredictorCall, Run

__all__ = [
    "AdapterCall",
    "DataError",
    "InstructionError",
    "Metric",
    "MetricError",
    "Predictor",
    "PredictorCall",
    "ProgramError",
    "Rendered",
    "RenderingError",
    "Run",
    "TooManyErrorsError",
    "beside",
    "call_of",
    "check_instruction",
    "copied_words",
    "current_adapter",
    "excerpt",
    "gold_outputs",
    "gold_value",
    "labelled_fields",
    "normalise",
    "render",
    "with_instructions",
]
