"""What is heard of a run's language models beside the trace: their usage and their thoughts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback
from dspy.utils.usage_tracker import UsageTracker

from dspy_greater.cost import Usage


class RunUsageTracker(UsageTracker):
    """DSPy's tracker for one run and its threads, which also knows of calls without usage."""

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Take note of one call, even if its server reports no tokens."""
        self.usage_data[lm].append(self._flatten_usage_entry(usage_entry or {}))

    def totals(self) -> dict[str, Usage]:
        """Return the usage of each language model, by its name."""
        return {
            name: sum(map(_usage, entries), Usage()) for name, entries in self.usage_data.items()
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> RunUsageTracker:
        return self


def _usage(entry: Mapping[str, Any]) -> Usage:
    # Chat completions and the responses API have different names for the same.
    read = entry.get("prompt_tokens", entry.get("input_tokens"))
    written = entry.get("completion_tokens", entry.get("output_tokens"))
    return Usage(1, int(read or 0), int(written or 0))


class Thoughts(BaseCallback):
    """What a reasoning model thinks in one run, by who called whom; the last answer counts.

    ``called`` are the modules of the run that were called, also those that gave no answer.
    """

    def __init__(self) -> None:
        self.called: list[Any] = []
        self._askers: dict[str, str | None] = {}
        self._heard: dict[str | None, str] = {}
        self._by_prediction: dict[int, str] = {}

    def of(self, prediction: Any) -> str:
        """Return what was thought before a prediction of the run; ``""`` if nothing was."""
        return self._by_prediction.get(id(prediction), "")

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Note who is called."""
        self.called.append(instance)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Note who asks a language model."""
        self._askers[call_id] = ACTIVE_CALL_ID.get()

    def on_lm_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """Note what it thought; of several answers predictors take the first."""
        first = outputs[0] if isinstance(outputs, list) and outputs else None
        thought = first.get("reasoning_content") if isinstance(first, dict) else None
        self._heard[self._askers.pop(call_id, None)] = thought or ""

    def on_module_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """Note the prediction that a predictor has made of it."""
        if thought := self._heard.pop(call_id, ""):
            self._by_prediction[id(outputs)] = thought
