"""What a light compile costs with another model, other examples and more devices, on paper.

One process with a model of its own for each device; the first runs DSPy, the metric and all
decisions. The rows of each bulk call are divided among them, and token ids, log-probabilities and
gradients go between them; see `dspy_greater.model.team`. What is not divided (`next_log_probs`)
takes as long on any number of devices. `substitution`, not divided either, is a single product
with the embedding and counts, as where it was measured, with the first process's own work. Left
out: what a message takes besides its bytes, and copies from a device to its own process.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy

from dspy_greater.program.runs import MAX_THREADS
from examples.benchmarks import traced
from examples.benchmarks.common import RESULTS, markdown
from examples.benchmarks.foretold import FACTOR, foretold
from examples.benchmarks.models import quiet
from examples.benchmarks.projection import PHASES, Model, Projection, Rates, shape_of
from examples.benchmarks.speed import Machine
from examples.benchmarks.workload import LIGHT, Compile, Habits, Sizes, runs, tokens

KEPT = RESULTS / "plan.json"
#: An H100 SXM by NVIDIA's data sheet: dense bfloat16 products, memory's rate and size.
FLOPS, BANDWIDTH, MEMORY = 989e12, 3.35e12, 80e9
#: Bytes a second between processes over gloo: a network of 10 Gbit/s, nearly.
LINK = 1e9


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    add = parser.add_argument
    add("--measure", action="store_true", help=f"measure this machine anew, into {KEPT.name}")
    add("--params", type=float, default=8e9, help="parameters of the model")
    add("--devices", type=int, default=8, help="most devices")
    add("--flops", type=float, default=FLOPS, help="of a device, operations a second")
    add("--bandwidth", type=float, default=BANDWIDTH, help="of its memory, bytes a second")
    add("--memory", type=float, default=MEMORY, help="of a device, bytes")
    add("--link", type=float, default=LINK, help="between processes, bytes a second")
    add("--bytes-per-weight", type=float, default=2.0, help="2 in bfloat16, 1 in 8 bits")
    add("--examples", type=int, default=50, help="training examples of the search: max_examples")
    add("--validation", type=int, help="validation examples; as many by default")
    add("--prompt-tokens", type=float, default=300, help="of a prompt, instruction and all")
    add("--completion-tokens", type=float, default=200, help="of an answer, in the mean")
    add("--longest-tokens", type=float, help="of a call's longest; by default as measured")
    add("--instruction-tokens", type=float, default=30)
    add("--max-tokens", type=int, default=512, help="at which answers are cut off")
    add("--threads", type=int, default=MAX_THREADS, help="runs at a time on each device")
    add("--steps", type=int, default=LIGHT.max_steps, help="of the search, the most by default")
    add("--tidied", type=float, default=LIGHT.tidy_rounds, help="rounds of taking words away")
    add(
        "--efficiency",
        nargs="+",
        default=[],
        metavar="PHASE=SHARE",
        help="of the device's rate, e.g. generate=0.3; by default what was measured here",
    )


def run(options: argparse.Namespace) -> str:
    """Measure if asked to, and return the plan."""
    check(options)
    if options.measure:
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
        quiet()
        KEPT.write_text(json.dumps(traced.measure(), indent=1) + "\n")
    return report(options, json.loads(KEPT.read_text()))


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be planned for.

    Raises:
        SystemExit: A number that is no size, or a model that does not fit a device.
    """
    for name, value in vars(options).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue  # a switch, shares by phase, or left to its default
        least = 0 if name == "tidied" else 1 if isinstance(value, int) else math.ulp(0)
        if not least <= value < math.inf:
            bound = f"of {least} or more" if name == "tidied" else "above 0"
            raise SystemExit(f"--{name.replace('_', '-')} must be a number {bound}, not {value:g}")
    weights = options.params * options.bytes_per_weight
    if weights > options.memory:
        raise SystemExit(
            f"the weights take {weights / 1e9:,.0f} GB ({options.params:g} of "
            f"{options.bytes_per_weight:g} bytes), a device has {options.memory / 1e9:,.0f}: "
            "--bytes-per-weight 1 or 0.5 plans for quantized weights; or spread each copy over "
            f"{math.ceil(weights / options.memory)} devices or more, "
            'local_lm(..., device_map="auto") or tp_plan="auto", which is not planned for here.'
        )


def efficiencies(given: Sequence[str], measured: Mapping[str, float]) -> dict[str, float]:
    """Return the share of its floor's rate at which each phase runs.

    Raises:
        SystemExit: A phase that there is not, or a share that is none.
    """
    shares = dict(measured)
    for each in given:
        name, _, value = each.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if name not in shares or not 0 < share <= 1:
            raise SystemExit(
                f"--efficiency takes {', '.join(f'{phase}=SHARE' for phase in shares)} with shares "
                f"above 0 and up to 1, not {each!r}"
            )
        shares[name] = share
    return shares


def report(options: argparse.Namespace, kept: dict[str, Any]) -> str:
    """Return assumptions, tokens, seconds by devices, what limits, memory, and the check."""
    small, here = Model.measured(kept["model"]), Machine(**kept["machine"])
    habits = Habits.of(kept["runs"])
    rates = Rates.of(kept["runs"], kept["rendering"], small, here)
    shares = efficiencies(options.efficiency, rates.efficiency)
    rates = replace(rates, efficiency=shares)
    model = Model.of(options.params, options.bytes_per_weight)
    compile_ = Compile(sizes_of(options, habits), habits, model.hidden)
    on = projected(options, compile_, model, rates)
    return "\n\n".join(
        [
            assumed(options, rates, compile_),
            by_stage(compile_),
            by_devices(on, options.devices),
            limit(on, options.devices),
            memory(on(options.devices), options),
            checked(kept),
        ]
    )


def projected(
    options: argparse.Namespace, compile_: Compile, model: Model, rates: Rates
) -> Callable[[float], Projection]:
    """Return what projects the compile onto a number of devices, runs at a time and all."""

    def on(devices: float) -> Projection:
        return Projection(
            calls=compile_.on(devices).calls(),
            model=model,
            machine=Machine(options.flops, options.bandwidth, 1),
            rates=rates,
            prompt=options.prompt_tokens,
            max_tokens=options.max_tokens,
            link=options.link,
            devices=devices,
        )

    return on


def sizes_of(options: argparse.Namespace, habits: Habits) -> Sizes:
    """Return what the command line says a compile is about."""
    longest = options.longest_tokens or habits.longest * options.completion_tokens
    return Sizes(
        train=options.examples,
        validation=options.validation or options.examples,
        prompt=options.prompt_tokens,
        completion=options.completion_tokens,
        longest=min(longest, options.max_tokens),
        instruction=options.instruction_tokens,
        steps=options.steps,
        tidied=options.tidied,
        threads=options.threads,
    )


def assumed(options: argparse.Namespace, rates: Rates, compile_: Compile) -> str:
    """Say what was assumed and what was measured."""
    sizes, sampled = compile_.sizes, compile_.habits.sampled
    defaults = {"flops": FLOPS, "bandwidth": BANDWIDTH, "memory": MEMORY}
    default = all(getattr(options, name) == value for name, value in defaults.items())
    given = {each.partition("=")[0] for each in options.efficiency}
    shares = ", ".join(
        f"{phase} {share:.0%}{' (given)' if phase in given else ''}"
        for phase, share in rates.efficiency.items()
    )
    sheet = " (H100 SXM by its data sheet, dense bfloat16)" if default else ""
    device = [
        f"{options.flops / 1e12:,g} TFLOP/s",
        f"{options.bandwidth / 1e9:,.0f} GB/s",
        f"{options.memory / 1e9:,.0f} GB a device{sheet}",
        f"{options.link / 1e9:g} GB/s between processes",
        f"{options.bytes_per_weight:g} bytes a weight",
        f"layers, keys and vocabulary of {shape_of(options.params).name}",
    ]
    work = [
        f"{sizes.train} training and {sizes.validation} validation examples",
        f"prompts of {sizes.prompt:g} tokens, {sizes.instruction:g} of them the instruction",
        f"answers of {sizes.completion:g}, the longest of a call {sizes.longest:.0f}",
        f"at most {sizes.threads:g} runs at a time on each device",
        f"{sizes.steps} steps (`light` takes {LIGHT.max_steps} at most)",
        f"{sizes.tidied:g} rounds of tidying",
    ]
    measured = [
        f"{shares} of the floor's rate",
        f"{1e3 * rates.processor(sizes.prompt):.1f} ms of the processor a run",
        "how far racers get",
        f"rollouts sampled of an example in a step: {sampled:.1f}",
        "what shared beginnings save",
    ]
    return "\n".join(
        [
            f"- Assumed, device: {'; '.join(device)}.",
            f"- Assumed, work: {'; '.join(work)}.",
            f"- Measured on the small model, assumed to carry over: {'; '.join(measured)}.",
            "- Floor: a token takes 2 operations for each weight, 4 where a gradient is taken with "
            "frozen weights; a step of decoding reads all weights, and each row its keys and "
            "values; the slower of the two counts.",
        ]
    )


def by_stage(compile_: Compile) -> str:
    """Return runs and tokens of each stage, as formulas in the training examples N."""
    size = compile_.sizes
    rows = []
    for stage in compile_.stages():
        numbers = [_counted(_with(compile_, n), stage) for n in (128, 256)]
        rows.append([stage, *(_line(low, high, 128) for low, high in zip(*numbers, strict=True))])
    calls = compile_.calls()
    total = tokens(calls)
    rows.append(
        [
            f"**all, N = {size.train}**",
            f"{runs(calls):,.0f}",
            *(f"{total[kind]:,.0f}" for kind in PHASES[:3]),
        ]
    )
    header = ["stage", "runs of the program", "generate", "score", "gradient"]
    note = "Tokens, N training and as many validation examples, N at least 33:"
    return f"{note}\n\n{markdown(header, rows)}"


def _with(compile_: Compile, size: int) -> Compile:
    """Return the same compile with other numbers of examples."""
    return replace(compile_, sizes=replace(compile_.sizes, train=size, validation=size))


def _counted(compile_: Compile, stage: str) -> list[float]:
    calls = compile_.stages()[stage]
    return [runs(calls), *tokens(calls).values()]


def _line(low: float, high: float, size: int) -> str:
    """Return the straight line through two points, one at ``size`` and one at twice as much."""
    slope = (high - low) / size
    base = low - slope * size
    parts = [f"{base:,.0f}"] if round(base) else []
    parts += [f"{slope:,.1f} N"] if round(slope, 1) else []
    return " + ".join(parts).replace("+ -", "- ") or "0"


def by_devices(on: Callable[[float], Projection], most: int) -> str:
    """Return the table of seconds."""
    alone = sum(on(1).seconds().values())
    rows = []
    for devices in doublings(most):
        spent = on(devices).seconds()
        total = sum(spent.values())
        rows.append(
            [
                str(devices),
                *(f"{spent[phase]:,.1f}" for phase in PHASES),
                f"{total:,.1f}",
                f"{alone / total:.2f}",
                f"{alone / total / devices:.0%}",
            ]
        )
    return markdown(["devices", *PHASES, "seconds", "speed-up", "efficiency"], rows)


def doublings(most: int) -> list[int]:
    """Return 1, 2, 4 and so on, and the last number whatever it is."""
    powers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [*powers, most]


def limit(on: Callable[[float], Projection], devices: int) -> str:
    """Say what would not get faster with more devices, and how much of the time that is."""
    projection = on(devices)
    now = sum(projection.seconds().values())
    stuck = on(math.inf).seconds()
    name = max(stuck, key=lambda phase: stuck[phase])
    rows, first = projection.most_rows(), on(1).most_rows()
    why = {
        "generate": "decoding: a step reads all weights however few rows a device has "
        f"({1e3 * projection.step(first):.1f} ms for {first} rows, "
        f"{1e3 * projection.step(rows):.1f} for {rows}), and a call takes as many steps as its "
        "longest answer has tokens; more examples would fill the devices",
        "score": "scoring, above all how the model itself would go on at each place of the "
        "instruction, which the first process reads alone",
        "gradient": "gradients, of which each device has a row at least",
        "processor": "the first process's own work: rendering, DSPy, the metric",
        "exchange": "what goes between the processes: token ids, and gradients",
    }
    return (
        f"{sum(stuck.values()) / now:.0%} of the time on {devices} device{'s' * (devices > 1)} is "
        f"left on any number of them; the most of it, {stuck[name]:,.1f} s, is {why[name]}. "
        f"Between the processes go {projection.exchanged() / 1e6:,.0f} MB."
    )


def memory(projection: Projection, options: argparse.Namespace) -> str:
    """Say what a device has to hold, and warn where that is more than it has."""
    parts = projection.memory(activations())
    # Answers are never written while a gradient is taken.
    total = parts["weights"] + max(parts["keys and values"], parts["gradient"])
    said = ", ".join(f"{name} {size / 1e9:,.1f}" for name, size in parts.items())
    text = (
        f"Memory of a device in GB: {said} (one at a time of the last two); "
        f"{total / 1e9:,.1f} of {options.memory / 1e9:,.0f}."
    )
    if total > options.memory:
        text += (
            " **More than there is**: batches shrink by themselves, which costs time that is not "
            "in the table."
        )
    return text


def activations() -> float:
    """Return the measured floats of a gradient by token, layer and hidden place, at the peak."""
    from examples.benchmarks.memory import LENGTH
    from examples.benchmarks.models import UNTRAINED

    measured = json.loads((RESULTS / "memory.json").read_text())
    width = UNTRAINED["hidden_size"] * UNTRAINED["num_hidden_layers"] * 4
    return max(each["tensors"] / (each["rows"] * LENGTH * width) for each in measured)


def checked(kept: dict[str, Any]) -> str:
    """Say how the plan for compiles that were measured compares with them."""
    rows = [
        [
            f"{each['name']}",
            f"{each['tokens'][0]:,.0f}",
            f"{each['tokens'][1]:,.0f}",
            f"{each['seconds'][0]:.1f}",
            f"{each['seconds'][1]:.1f}",
            f"{each['seconds'][0] / each['seconds'][1]:.2f}",
        ]
        for each in foretold(kept, json.loads((RESULTS / "speed_small.json").read_text()))
    ]
    header = [
        "measured compile",
        "tokens planned",
        "measured",
        "seconds planned",
        "measured",
        "planned / measured",
    ]
    return (
        "Checked on the small model: each measured compile as planned from the others, with its "
        f"own lengths and steps (to be within a factor of {FACTOR:g}):\n\n"
        f"{markdown(header, rows)}"
    )
