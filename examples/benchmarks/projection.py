"""Seconds and bytes of a compile's calls on a model and devices that are not at hand.

The floors are those of the speed benchmark; how far above them real work stays is measured on this
machine and assumed of others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dspy_greater.model.engines.plain import DECODED_COST
from dspy_greater.model.white_box import ACCELERATOR_TOKENS, GRADIENT_COST
from examples.benchmarks.speed import Costs, Machine
from examples.benchmarks.workload import Call, runs

#: Three run the model; then the first process's own work, and what goes between processes.
PHASES = ("generate", "score", "gradient", "processor", "exchange")


@dataclass(frozen=True)
class Shape:
    """What the number of parameters alone does not tell of a model.

    Attributes:
        name: A published model that has it.
        parameters: Its parameters.
        layers: Its layers.
        hidden: Its width.
        keys: Width of one layer's keys: heads times their width.
        vocab: Rows of its embedding.
        tied: Whether the head's weights are the embedding's.
    """

    name: str
    parameters: float
    layers: int
    hidden: int
    keys: int
    vocab: int
    tied: bool


SHAPES = (
    Shape("SmolLM2 135M", 134.5e6, 30, 576, 192, 49_152, True),
    Shape("Qwen2.5 0.5B", 494e6, 24, 896, 128, 151_936, True),
    Shape("Llama 3.2 1B", 1.236e9, 16, 2048, 512, 128_256, True),
    Shape("Llama 3.2 3B", 3.213e9, 28, 3072, 1024, 128_256, True),
    Shape("Llama 3.1 8B", 8.03e9, 32, 4096, 1024, 128_256, False),
    Shape("Qwen2.5 32B", 32.8e9, 64, 5120, 1024, 152_064, False),
    Shape("Llama 3.1 70B", 70.6e9, 80, 8192, 1024, 128_256, False),
)


def shape_of(parameters: float) -> Shape:
    """Return the shape that is nearest in size, by ratio."""
    return min(SHAPES, key=lambda shape: abs(math.log(parameters / shape.parameters)))


@dataclass(frozen=True)
class Model:
    """A model as far as its costs go.

    Attributes:
        costs: Operations and bytes; see :class:`examples.benchmarks.speed.Costs`.
        parameters: All of them.
        layers: Its layers.
        hidden: Its width.
    """

    costs: Costs
    parameters: float
    layers: int
    hidden: int

    @classmethod
    def of(cls, parameters: float, weight_bytes: float) -> Model:
        """Return one of some size, of the nearest published shape."""
        shape = shape_of(parameters)
        head = shape.hidden * shape.vocab
        body = int(parameters - head * (1 if shape.tied else 2))
        # Keys, values and activations stay in the type that weights are computed in.
        cache = 2 * shape.layers * shape.keys * float_bytes(weight_bytes)
        costs = Costs(body, head, cache, weight_bytes)
        return cls(costs, parameters, shape.layers, shape.hidden)

    @classmethod
    def measured(cls, model: Mapping[str, Any]) -> Model:
        """Return the small one, as a kept measurement describes it; its head is its embedding."""
        costs = Costs(model["body"], model["head"], model["cache_bytes"])
        return cls(costs, costs.body + costs.head, model["layers"], model["hidden"])


def float_bytes(weight_bytes: float) -> int:
    """Return the bytes of a float that goes through weights of some bytes."""
    return 4 if weight_bytes >= 4 else 2


@dataclass(frozen=True)
class Rates:
    """What was measured beside the floors.

    Attributes:
        efficiency: Floor by seconds, of each phase that runs the model.
        render: Seconds to render and tokenise a run's prompt: of each, and of each token of it.
        around: Seconds of a run in DSPy, the metric and the search's own bookkeeping.
    """

    efficiency: Mapping[str, float]
    render: tuple[float, float]
    around: float

    @classmethod
    def of(
        cls,
        measured: Sequence[Mapping[str, Any]],
        rendering: Sequence[Sequence[float]],
        model: Model,
        machine: Machine,
    ) -> Rates:
        """Read them off compiles that were measured on one machine.

        Args:
            measured: The compiles.
            rendering: Tokens of a prompt and seconds of its rendering, at several lengths; how
                much of it there is in a compile is taken from the compiles.
            model: Their model.
            machine: What the machine did at best.
        """

        def spent(*phases: str) -> float:
            return sum(run["phases"][phase] for run in measured for phase in phases)

        floors = [model.costs.floors(run["counts"], machine) for run in measured]
        efficiency = {
            phase: sum(floor[phase] for floor in floors) / spent(phase) for phase in PHASES[:3]
        }
        lengths, seconds = np.array(rendering).T
        slope, base = np.polyfit(lengths, seconds, 1)
        made = sum(run["runs"] for run in measured)
        foretold = sum(run["runs"] * (base + slope * run["prompt"]) for run in measured)
        scale = spent("render") / foretold
        render = (float(scale * base), float(scale * slope))
        return cls(efficiency, render, spent("metric", "other") / made)

    def processor(self, prompt: float) -> float:
        """Return the seconds that a run takes of the first process, the model left out."""
        base, slope = self.render
        return base + slope * prompt + self.around


@dataclass(frozen=True)
class Projection:
    """A compile on some devices.

    Args:
        calls: What is to be done; see `workload`.
        model: With which model.
        machine: What one device does at best.
        rates: What was measured.
        prompt: Tokens of a prompt.
        max_tokens: Most tokens of an answer, for which a batch makes room.
        link: Bytes a second between processes.
        budget: Tokens of a micro-batch.
        devices: How many, each with a process and a model of its own; infinitely many are allowed.
    """

    calls: Sequence[Call]
    model: Model
    machine: Machine
    rates: Rates
    prompt: float
    max_tokens: int
    link: float
    budget: int = ACCELERATOR_TOKENS
    devices: float = 1

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase.

        A call takes as long as the device with most of its rows.
        """
        spent = dict.fromkeys(PHASES, 0.0)
        for call in self.calls:
            counts = self._counts(call, self.share(call))
            floor = self.model.costs.floors(counts, self.machine)[call.kind]
            spent[call.kind] += call.times * floor / self.rates.efficiency[call.kind]
        spent["processor"] = runs(self.calls) * self.rates.processor(self.prompt)
        spent["exchange"] = self.exchanged() / self.link
        return spent

    def share(self, call: Call) -> int:
        """Return the rows of a call that the device with most of them has."""
        if not call.rows:
            return 0
        return max(1, math.ceil(call.rows / (self.devices if call.divides else 1)))

    def exchanged(self) -> float:
        """Return the bytes that go to other processes and back."""
        away = 1 - 1 / self.devices
        rows = [call.times * call.rows * call.sent for call in self.calls if call.divides]
        return away * sum(rows)

    def step(self, rows: int) -> float:
        """Return the seconds of one step of decoding in a batch of some rows."""
        (call, *_) = [call for call in self.calls if call.runs]
        counts = {**self._counts(call, rows), "tokens_prompt": 0, "tokens_decoded": rows}
        counts |= {"decoding_steps": 1, "keys_read": rows * (call.held + call.targets / 2)}
        floor = self.model.costs.floors(counts, self.machine)["generate"]
        return floor / self.rates.efficiency["generate"]

    def most_rows(self) -> int:
        """Return the most rows of a run that a device has at once."""
        return max(self.share(call) for call in self.calls if call.runs)

    def memory(self, activations: float) -> dict[str, float]:
        """Return the bytes on one device: weights, keys and values, a micro-batch's gradient.

        Args:
            activations: Floats that a gradient keeps of a token, for each layer and each of the
                model's hidden places, what the allocator wastes included.
        """
        costs = self.model.costs
        longest = max(call.held + call.longest for call in self.calls)
        gradients = [call for call in self.calls if call.kind == "gradient"]
        tokens = max(self.share(call) * call.read for call in gradients)
        width = self.model.layers * self.model.hidden * float_bytes(costs.weight_bytes)
        return {
            "weights": self.model.parameters * costs.weight_bytes,
            "keys and values": self.most_rows() * longest * costs.cache_bytes,
            "gradient": min(tokens, self.budget / GRADIENT_COST) * width * activations,
        }

    def _counts(self, call: Call, rows: int) -> dict[str, float]:
        """Return what a device counts of its share of a call; see `dspy_greater.model.Counts`."""
        counts = dict.fromkeys(COUNTED, 0.0)
        if call.kind == "generate":
            room = call.held + DECODED_COST * self.max_tokens
            batches = math.ceil(rows * room / self.budget)
            counts["tokens_prompt"] = rows * call.read
            counts["tokens_decoded"] = rows * call.targets
            counts["decoding_steps"] = batches * call.longest
            counts["keys_read"] = rows * call.targets * (call.held + call.targets / 2)
        else:
            way = "forward" if call.kind == "score" else "backward"
            counts[f"tokens_{way}"] = rows * call.read
            counts[f"targets_{way}"] = rows * call.targets
        return counts


COUNTED = (
    "tokens_prompt",
    "tokens_decoded",
    "decoding_steps",
    "keys_read",
    "tokens_forward",
    "targets_forward",
    "tokens_backward",
    "targets_backward",
)
