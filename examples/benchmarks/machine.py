"""What a machine does at best, and what a model's work needs at least."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Machine:
    """What this machine does at best, measured in the run that it is compared with.

    Attributes:
        flops: Floating-point operations a second of a large matrix product in the model's format.
        bandwidth: Bytes a second read or written by a large copy.
        threads: Threads that torch uses.
    """

    flops: float
    bandwidth: float
    threads: int

    @classmethod
    def measure(
        cls, device: torch.device = CPU, dtype: torch.dtype = torch.float32, size: int = 2048
    ) -> Machine:
        """Time products of ``size × size`` numbers, and copies, and keep the best of several."""
        left, right = torch.randn(2, size, size, device=device).to(dtype)
        product = min(seconds(lambda: left @ right, device) for _ in range(8))
        source = torch.ones(2**26, device=device)
        target = torch.empty_like(source)
        copied = min(seconds(lambda: target.copy_(source), device) for _ in range(8))
        return cls(2 * size**3 / product, 2 * 4 * 2**26 / copied, torch.get_num_threads())


@dataclass(frozen=True)
class Costs:
    """Operations and bytes that a model's work needs, attention's products left out.

    A token costs two operations for each weight of the layers, and two for each weight of the head
    where a distribution is asked for; a gradient with frozen weights twice that. Decoding reads
    all weights once for each step of a batch, and each token the keys and values before it.

    Attributes:
        body: Weights that every token goes through.
        head: Weights that a distribution asks for.
        cache_bytes: Bytes of one token's keys and values.
        weight_bytes: Bytes of one weight.
    """

    body: int
    head: int
    cache_bytes: int
    weight_bytes: float = 4

    @classmethod
    def of(cls, model: Any) -> Costs:
        """Read them off a Llama's configuration."""
        config = model.config
        head = model.get_output_embeddings().weight.numel()
        everything = sum(p.numel() for p in model.parameters())
        body = everything - head * (1 if config.tie_word_embeddings else 2)
        width = (
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
        heads, size = config.num_key_value_heads * width, model.dtype.itemsize
        return cls(body, head, size * 2 * config.num_hidden_layers * heads, size)

    def read(self, tokens: int, rows: int, machine: Machine) -> float:
        """Return the least seconds of reading so many tokens, and choosing one for each row."""
        return 2 * (tokens * self.body + rows * self.head) / machine.flops

    def step(self, rows: int, keys: int, machine: Machine) -> float:
        """Return the least seconds of adding a token to each row, behind so many keys in all."""
        moved = self.weight_bytes * (self.body + self.head) + keys * self.cache_bytes
        return max(self.read(rows, rows, machine), moved / machine.bandwidth)

    def floors(self, counts: Mapping[str, float], machine: Machine) -> dict[str, float]:
        """Return the least seconds of each phase that runs the model."""
        read = counts["tokens_forward"] * self.body + counts["targets_forward"] * self.head
        back = counts["tokens_backward"] * self.body + counts["targets_backward"] * self.head
        written = (counts["tokens_prompt"] + counts["tokens_decoded"]) * self.body
        written += counts["tokens_decoded"] * self.head
        moved = counts["decoding_steps"] * self.weight_bytes * (self.body + self.head)
        moved += counts["keys_read"] * self.cache_bytes
        return {
            "generate": max(2 * written / machine.flops, moved / machine.bandwidth),
            "gradient": 4 * back / machine.flops,
            "score": 2 * read / machine.flops,
        }


def seconds(work: Callable[[], Any], device: torch.device = CPU) -> float:
    """Return how long something takes, on a device that may go on by itself."""
    wait_for(device)
    began = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began


def wait_for(device: torch.device) -> None:
    """Wait until a device that goes on by itself has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
