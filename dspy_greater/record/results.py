"""What a compile did, as plain data that goes to JSON as it stands."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from typing_extensions import Self

from dspy_greater.basics.files import write_whole
from dspy_greater.basics.overheard import TRUNCATED
from dspy_greater.cost import Counts, Meter, Usage
from dspy_greater.record.outcomes import UNCALLED, Candidate, ChangedExample, Outcome
from dspy_greater.version import __version__

#: Warnings of other libraries that the summary repeats.
WARNINGS = 3
#: Characters of an instruction that the summary quotes.
QUOTED = 400


@dataclass(repr=False)
class Record:
    """The whole record of one compile; ``str`` of it is the summary, ``repr`` one line.

    Attributes:
        outcomes: One for each optimized predictor.
        candidates: Every instruction tried, in order.
        left_out: Predictors not optimized: not chosen, without a needed label, or of no such kind.
        train_examples: Number of training examples.
        validation_examples: Number of examples on which programs were verified.
        too_long: Examples left out, as their prompt leaves no room for an answer, by split.
        parse_failures: Runs whose output did not parse and counted as wrong.
        errors: Runs that failed and counted as wrong, by what the program or the metric raised.
        total_calls: Runs of the program (metric calls).
        truncated: Answers that ended at their LM's ``max_tokens``.
        warnings: How often other libraries gave each further warning.
        counts: Work of the white box, see ``dspy_greater.cost.Counts``.
        seconds: Wall-clock time.
        phases: Seconds by phase: ``render``, ``generate``, ``gradient``, ``score``
            (log-probabilities), ``metric``, ``target`` (an LM elsewhere), ``other``; may overlap.
        seed: Seed of every random choice.
        config: The optimizer's settings.
        model: Name and fingerprint of the white box.
        target: Names of the LMs that verified; empty where the white box did.
        target_usage: By name, what these did: ``calls`` (without DSPy's cache), ``tokens_read`` and
            ``tokens_written``, as they report them. Not in ``counts``.
        versions: Versions of the packages that took part.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    train_examples: int = 0
    validation_examples: int = 0
    too_long: dict[str, int] = field(default_factory=dict)
    parse_failures: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    total_calls: int = 0
    truncated: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    target: str = ""
    target_usage: dict[str, dict[str, int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: _versions())
    # The compile's folder, no field: the JSON of a record tells nothing of the machine's paths.
    log_dir = ""

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        scores = [(o.predictor, o.score_before, o.score_after) for o in self.outcomes]
        told = ", ".join(f"{name} {old:.1%} -> {new:.1%}" for name, old, new in scores)
        tried = f"{len(self.candidates)} instructions tried in {self.seconds:.1f} s"
        return f"<{type(self).__name__}: {told or 'nothing validated'}; {tried}>"

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
        self.parse_failures, self.errors = meter.parse_failures, dict(meter.errors)
        self.counts = asdict(meter.counts)
        self.seconds = meter.total().seconds
        self.phases = meter.seconds_by_phase()
        self.target_usage = {name: asdict(usage) for name, usage in meter.target.items()}

    def hear(self, text: str) -> None:
        """Add what another library said; see :mod:`dspy_greater.basics.overheard`."""
        if TRUNCATED in text:
            self.truncated += 1
        else:
            self.warnings[text] = self.warnings.get(text, 0) + 1

    def summary(self) -> str:
        """Say in a few lines what changed, or that nothing did, and what it cost."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.phases and not self.outcomes:
            yield "stopped before anything was validated: the program is as it was"
        for outcome in self.outcomes:
            yield from self._told(outcome)
        if self.parse_failures:
            yield (
                f"{self.parse_failures} of {self.total_calls} outputs "
                f"({self.parse_failure_rate:.1%}) did not parse and counted as wrong"
            )
        if self.errors:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.errors.items())
            count = sum(self.errors.values())
            yield f"{count} of {self.total_calls} runs failed and counted as wrong: {kinds}"
        if any(self.too_long.values()):
            counts = " and ".join(f"{count} {split}" for split, count in self.too_long.items())
            yield f"too long for the model's context and left out: {counts} examples"
        if self.truncated:
            elsewhere = sum(usage["calls"] for usage in self.target_usage.values())
            answers = self.counts.get("rollouts", 0) + elsewhere
            yield (
                f"{self.truncated} of {answers} answers ({self.truncated / max(answers, 1):.1%}) "
                "ended at max_tokens: give the LM more, local_lm(..., max_tokens=...), or let the "
                "instruction ask for short answers"
            )
        for text, count in list(self.warnings.items())[:WARNINGS]:
            yield f"{text} ({count} times)" if count > 1 else text
        if len(self.warnings) > WARNINGS:
            yield f"{len(self.warnings) - WARNINGS} more warnings are in detailed_results.warnings"
        if self.phases:
            longest = sorted(self.phases.items(), key=lambda phase: -phase[1])
            spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in longest if seconds)
            work = f"runs of the program, {Counts(**self.counts).tokens:,} tokens"
            yield f"{self.total_calls} {work} in {self.seconds:.1f} s: {spent}"
        if self.target:
            yield f"verified on {self.target}: {usage_text(self.target_usage)}"
        if self.candidates:
            steps = f"; every step is in {self.log_dir}" if self.log_dir else ""
            yield f'the record: detailed_results, .report("run.html"), .save("run.json"){steps}'

    def _told(self, outcome: Outcome) -> Iterator[str]:
        """Yield what there is to say of one predictor."""
        changed = outcome.together or [outcome.predictor]
        if outcome.changed and outcome.predictor != changed[0]:
            yield f"and {outcome.predictor}: {_quoted(outcome.after)}"
            return
        before, (low, high) = f"{outcome.score_before:.1%}", outcome.interval
        examples = f"on {self.validation_examples} validation examples"
        if outcome.changed:
            yield (
                f"{' and '.join(changed)}: {before} -> {outcome.score_after:.1%} {examples}, "
                f"{outcome.grade} (gain {outcome.gain:+.1%}, 95 % interval {low:+.1%} to "
                f"{high:+.1%}, about {outcome.expected_gain:+.1%} without the luck of having been "
                f"chosen, p = {outcome.p_value:.2g} after {looks(outcome.looks)}): "
                f"{_quoted(outcome.after)}"
            )
        elif outcome.put_back or outcome.stopped == UNCALLED:
            why = "the program is not surely worse without its change"
            why = why if outcome.put_back else outcome.stopped
            yield f"{outcome.predictor}: kept as it was; {why}"
        else:
            why = "; ".join(filter(None, [looks(outcome.looks), outcome.stopped]))
            yield (
                f"{outcome.predictor}: kept as it was; nothing tried beat its {before} {examples} "
                f"surely enough ({why})"
            )
        if outcome.grade != "vouched for" and outcome.examples_needed:
            which = "this gain" if outcome.changed else "the best one's gain"
            yield f"to be sure of {which} would take about {outcome.examples_needed} examples"
        if outcome.copied_words:
            yield f"it copied from training examples: {', '.join(outcome.copied_words)}"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record as JSON, and return its path.

        This goes beside ``program.save("program.json")``, which keeps instructions and demos alone.
        It holds texts of training and validation examples.

        Raises:
            OSError: If the folder does not exist or cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1)
        return write_whole(path, f"{text}\n".encode(), "record")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the record that ``save`` wrote; neither torch nor a model is needed.

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
        plain = {name: value for name, value in saved.items() if name != "parse_failure_rate"}
        plain["outcomes"] = [Outcome(**each) for each in saved["outcomes"]]
        for outcome in plain["outcomes"]:
            outcome.interval = tuple(outcome.interval)
            outcome.changed_examples = [ChangedExample(**e) for e in outcome.changed_examples]
        plain["candidates"] = [Candidate(**each) for each in saved["candidates"]]
        return cls(**plain)


def usage_text(total: Mapping[str, Usage] | Mapping[str, Mapping[str, int]]) -> str:
    """Say in a few words what language models did, by name."""
    each = [usage if isinstance(usage, Usage) else Usage(**usage) for usage in total.values()]
    usage = sum(each, Usage())
    tokens = f"{usage.tokens_read:,} tokens read and {usage.tokens_written:,} written"
    return f"{usage.calls:,} calls, {tokens if usage.tokens else 'no tokens reported'}"


def looks(count: int) -> str:
    """Say how many instructions were validated."""
    return f"{count} look{'' if count == 1 else 's'}"


def _quoted(instruction: str) -> str:
    return repr(instruction if len(instruction) <= QUOTED else f"{instruction[: QUOTED - 1]}…")


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    packages = {name: version(name) for name in ("dspy", "torch", "transformers")}
    return {"python": platform.python_version(), "dspy_greater": __version__, **packages}
