"""What a compile did, as plain data that goes to JSON as it stands."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from typing_extensions import Self

from dspy_greater.basics.files import write_whole
from dspy_greater.cost import Meter, Usage
from dspy_greater.record.outcomes import Candidate, Outcome
from dspy_greater.version import __version__


@dataclass
class Record:
    """The whole record of one compile.

    Attributes:
        outcomes: One entry per optimised predictor.
        candidates: Every instruction tried, in order.
        left_out: Predictors whose instructions were kept: not chosen, without the label that the
            schedule needs, or of a kind that cannot be optimized: an instruction with the tools of
            an agent that is not DSPy's, an output of a decision type.
        train_examples: Number of training examples used by the search.
        validation_examples: Number of examples on which instructions were verified.
        skipped_losses: Example losses and gradients that were NaN, infinite or impossible
            to render, over the whole run.
        parse_failures: Runs whose output did not parse, over the whole run; they count as wrong.
        total_calls: Runs of the program (metric calls).
        counts: Work of the white box: sequences and tokens, see
            :class:`dspy_greater.cost.Counts`.
        seconds: Wall-clock time of the compile.
        phases: Seconds of it by what they went into: ``render``, ``generate``, ``gradient``,
            ``score`` (log-probabilities without a gradient), ``metric``, ``target`` (runs on an LM
            elsewhere), ``served`` (runs on ``rollout_lm``), and ``other``, in which none of these
            was under way. Phases may overlap: a metric runs while other rows are still generated.
        peak_memory: Most bytes in use so far: of the white box's device if it is a GPU,
            otherwise of the whole process; 0 where that cannot be told.
        seed: Seed of every random choice.
        config: The optimizer's settings.
        model: Name and fingerprint of the white box.
        target: Names of the LMs on which candidates were verified; empty where that was the
            white box.
        target_usage: By name, what these LMs did in verified runs: ``calls`` that they answered
            (not DSPy's cache), ``tokens_read`` and ``tokens_written`` as they reported them,
            0 where they do not. ``counts`` has none of it, unless one is the white box.
        rollout_lm: Name of the LM that ran in the place of the white box; empty where none did.
        rollout_usage: What it did in runs, as in ``target_usage``; ``counts`` has none of it.
        versions: Versions of the packages that took part.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    train_examples: int = 0
    validation_examples: int = 0
    skipped_losses: int = 0
    parse_failures: int = 0
    total_calls: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    peak_memory: int = 0
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    target: str = ""
    target_usage: dict[str, dict[str, int]] = field(default_factory=dict)
    rollout_lm: str = ""
    rollout_usage: dict[str, dict[str, int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: versions())

    @property
    def improved(self) -> bool:
        """Whether any instruction was changed."""
        return any(outcome.changed for outcome in self.outcomes)

    @property
    def parse_failure_rate(self) -> float:
        """Share of all runs whose output did not parse."""
        return self.parse_failures / self.total_calls if self.total_calls else 0.0

    def charge(self, meter: Meter) -> None:
        """Put on record what the compile has cost so far."""
        self.total_calls = meter.total().metric_calls
        self.parse_failures = meter.parse_failures
        self.counts = meter.counts.to_dict()
        self.seconds = meter.total().seconds
        self.phases = meter.seconds_by_phase()
        self.target_usage = {name: asdict(usage) for name, usage in meter.target.items()}
        self.rollout_usage = {name: asdict(usage) for name, usage in meter.rollout_lm.items()}

    def summary(self) -> str:
        """Say in a few lines what changed, or that nothing did."""
        lines = []
        for outcome in self.outcomes:
            if outcome.changed:
                changed = outcome.together or [outcome.predictor]
                if outcome.predictor != changed[0]:
                    lines.append(f"and {outcome.predictor}: {outcome.after!r}")
                    continue
                lines.append(
                    f"{' and '.join(changed)}: {outcome.score_before:.1%} -> "
                    f"{outcome.score_after:.1%} on {self.validation_examples} validation "
                    f"examples (gain {outcome.gain:+.1%}, 95 % interval "
                    f"{outcome.interval[0]:+.1%} to {outcome.interval[1]:+.1%}, "
                    f"p = {outcome.p_value:.2g} after {looks(outcome.looks)}): {outcome.after!r}"
                )
            else:
                lines.append(
                    f"{outcome.predictor}: kept as it was; no instruction beat its "
                    f"{outcome.score_before:.1%} on {self.validation_examples} validation "
                    f"examples beyond doubt ({looks(outcome.looks)}; {outcome.stopped})"
                )
            if outcome.copied_words:
                lines.append(f"it copied from training examples: {', '.join(outcome.copied_words)}")
            if outcome.stood_in:
                lines.append(
                    f"in {outcome.stood_in} of {outcome.steps} steps no run gave the objective "
                    "anything to weigh, and the gold answer's likelihood stood in for it"
                )
            if outcome.noise:
                lines.append(
                    f"the same prompt run twice changed scores by {outcome.noise:.1%} in the mean"
                )
        if self.parse_failures:
            lines.append(
                f"{self.parse_failures} of {self.total_calls} outputs "
                f"({self.parse_failure_rate:.1%}) did not parse and counted as wrong"
            )
        if self.skipped_losses:
            lines.append(f"{self.skipped_losses} losses or gradients were not finite and left out")
        if self.phases:
            longest = sorted(self.phases.items(), key=lambda phase: -phase[1])
            spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in longest if seconds)
            lines.append(f"{self.total_calls} runs of the program in {self.seconds:.1f} s: {spent}")
        if self.target:
            lines.append(f"verified on {self.target}: {usage_text(self.target_usage)}")
        if self.rollout_lm:
            lines.append(f"rollouts on {self.rollout_lm}: {usage_text(self.rollout_usage)}")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record as JSON, whole or not at all, and return its path.

        ``program.save("program.json")`` keeps instructions and demos alone: this is what goes
        beside it. The file holds texts of training and validation examples.

        Args:
            path: Where to, e.g. ``"run.json"``; an older file there is replaced.

        Raises:
            OSError: If the folder does not exist or cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1)
        return write_whole(path, f"{text}\n".encode(), "record")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the record that ``save`` wrote; neither torch nor a model is needed.

        Args:
            path: The file.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it holds no record, or one of a later version with more in it.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_bytes()))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a record that this version ({__version__}) of dspy_greater can "
                f"read ({type(error).__name__}: {error}): give a file that "
                "detailed_results.save(...) wrote, and update the package if a later one did."
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-able dictionaries and lists."""
        return {**asdict(self), "parse_failure_rate": self.parse_failure_rate}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Return the record that ``to_dict`` was called on."""
        lists = {
            "outcomes": [Outcome.from_dict(each) for each in saved["outcomes"]],
            "candidates": [Candidate(**each) for each in saved["candidates"]],
        }
        plain = {name: value for name, value in saved.items() if name != "parse_failure_rate"}
        return cls(**{**plain, **lists})


def usage_text(total: Mapping[str, Usage] | Mapping[str, Mapping[str, int]]) -> str:
    """Say in a few words what language models did, by name."""
    each = [usage if isinstance(usage, Usage) else Usage(**usage) for usage in total.values()]
    usage = sum(each, Usage())
    tokens = f"{usage.tokens_read:,} tokens read and {usage.tokens_written:,} written"
    return f"{usage.calls:,} calls, {tokens if usage.tokens else 'no tokens reported'}"


def looks(count: int) -> str:
    """Say how many instructions were validated."""
    return f"{count} look{'' if count == 1 else 's'}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    packages = {name: version(name) for name in ("dspy", "torch", "transformers")}
    return {"python": platform.python_version(), "dspy_greater": __version__, **packages}
