"""What the language models of a run were asked and what they answered, in calls and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dspy.utils.usage_tracker import UsageTracker

from dspy_greater.cost import Usage


class RunUsageTracker(UsageTracker):
    """DSPy's tracker of usage for one run, which also knows of calls without any usage.

    DSPy gives each thread a copy of a tracker. A run's own threads share this one.
    """

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Take note of one call, even if its server reports no tokens."""
        if usage_entry:
            super().add_usage(lm, usage_entry)
        else:
            self.usage_data[lm].append({})

    def tell(self, other: UsageTracker) -> None:
        """Let another tracker take note of the same calls."""
        for name, entries in self.usage_data.items():
            for entry in entries:
                other.add_usage(name, entry)

    def totals(self) -> dict[str, Usage]:
        """Return the usage of each language model, by its name."""
        return {
            name: sum((usage_of(entry) for entry in entries), Usage())
            for name, entries in self.usage_data.items()
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> RunUsageTracker:
        return self


def usage_of(entry: Mapping[str, Any]) -> Usage:
    """Return one call's usage from what its server said about it."""
    # Chat completions and the responses API have different names for the same.
    read = entry.get("prompt_tokens", entry.get("input_tokens"))
    written = entry.get("completion_tokens", entry.get("output_tokens"))
    return Usage(1, int(read or 0), int(written or 0))
