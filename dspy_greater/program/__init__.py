"""DSPy's side: predictors, labels, rendering with spans, runs. Knows no tensors."""

from dspy_greater.program.adapters import check_adapter, check_media
from dspy_greater.program.data import check_dataset, copied_words, excerpt, split, warn_of_overlap
from dspy_greater.program.errors import (
    DataError,
    InstructionError,
    MetricError,
    ProgramError,
    RenderingError,
    TooManyErrorsError,
)
from dspy_greater.program.instructions import check_instruction, normalise
from dspy_greater.program.labels import (
    LabelFn,
    beside,
    check_labels,
    given_labels,
    gold_outputs,
    gold_value,
    labelled_fields,
    relabelled,
)
from dspy_greater.program.metrics import Metric
from dspy_greater.program.predictors import (
    Predictor,
    call_of,
    copy_program,
    predictors_of,
    replace_instruction,
)
from dspy_greater.program.rendering import (
    AdapterCall,
    Rendered,
    current_adapter,
    end_marks,
    render,
    with_instructions,
)
from dspy_greater.program.runs import MAX_THREADS, PredictorCall, Run, run_programs
from dspy_greater.program.selection import Selector, select

__all__ = [
    "MAX_THREADS",
    "AdapterCall",
    "DataError",
    "InstructionError",
    "LabelFn",
    "Metric",
    "MetricError",
    "Predictor",
    "PredictorCall",
    "ProgramError",
    "Rendered",
    "RenderingError",
    "Run",
    "Selector",
    "TooManyErrorsError",
    "beside",
    "call_of",
    "check_adapter",
    "check_dataset",
    "check_instruction",
    "check_labels",
    "check_media",
    "copied_words",
    "copy_program",
    "current_adapter",
    "end_marks",
    "excerpt",
    "given_labels",
    "gold_outputs",
    "gold_value",
    "labelled_fields",
    "normalise",
    "predictors_of",
    "relabelled",
    "render",
    "replace_instruction",
    "run_programs",
    "select",
    "split",
    "warn_of_overlap",
    "with_instructions",
]
