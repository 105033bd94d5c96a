"""The number format of the weights, where none is asked for."""

from __future__ import annotations

from typing import Any

import torch

#: What torch calls the instructions that multiply matrices in bfloat16, on x86 and on Arm.
_BF16_PRODUCTS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")


def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products in bfloat16; False where torch can't tell."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in _BF16_PRODUCTS)


def on_cpu(device: torch.device | None) -> bool:
    """Whether weights run on the CPU; None means that they are spread over devices."""
    return device is not None and device.type == "cpu"


def preferred(own: torch.dtype | None, device: torch.device | None) -> torch.dtype | None:
    """Return the format for a checkpoint.

    Args:
        own: The checkpoint's; None if it does not say.
        device: Where it runs; None if it is spread over devices.

    Returns:
        On a CPU bfloat16, which halves the time of a product where there are instructions for it,
        and float32 on other CPUs and for checkpoints in float32 or of unknown format, which keep
        what precision they have. Elsewhere the checkpoint's own.
    """
    if not on_cpu(device):
        return own
    halved = own not in (None, torch.float32) and multiplies_bf16()
    return torch.bfloat16 if halved else torch.float32
