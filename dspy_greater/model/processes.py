"""The processes that a launcher started: ``accelerate launch``, or ``torchrun``."""

from __future__ import annotations

import os
from typing import Any

import torch

from dspy_greater.model.errors import LoadingError


def launched() -> Any:
    """Return Accelerate's state of this process among several; None where there is one alone.

    Raises:
        LoadingError: There are several, and Accelerate is not installed.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return None
    try:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env
    except ImportError as error:
        raise LoadingError(
            f"This is one of {count} processes (WORLD_SIZE={count}), which share their work by "
            'way of the package accelerate: pip install "dspy-greater[scale]". Or start the '
            "script as one process: python SCRIPT, with WORLD_SIZE unset."
        ) from error
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu)
    if state.num_processes != count:
        raise LoadingError(
            f"This is one of {count} processes (WORLD_SIZE={count}), but Accelerate knows of no "
            f"way for them to work together on {state.device}. Start the script as one process."
        )
    return state
