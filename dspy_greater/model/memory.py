"""How much memory has been in use."""

from __future__ import annotations

import sys

import torch


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use so far.

    On CUDA those that tensors took on the device since it was first used. Elsewhere the resident
    memory of the whole process, since it began; 0 on systems that do not tell.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
