"""What language models thought before they answered, by the prediction that came of it.

A trace holds what predictors were asked and answered. What a reasoning model thinks is in neither:
DSPy tells it to callbacks alone.
"""

from __future__ import annotations

from typing import Any

from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback


class Thoughts(BaseCallback):
    """Listens to one run of a program.

    Which model's answer a prediction was read from follows from who called whom, so that a program
    may run its predictors side by side. Where an adapter asks twice, the last answer counts.
    """

    def __init__(self) -> None:
        self._askers: dict[str, str | None] = {}
        self._heard: dict[str | None, str] = {}
        self._by_prediction: dict[int, str] = {}

    def of(self, prediction: Any) -> str:
        """Return what was thought before a prediction of the run; ``""`` if nothing was."""
        return self._by_prediction.get(id(prediction), "")

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A language model is asked."""
        self._askers[call_id] = ACTIVE_CALL_ID.get()

    def on_lm_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """It has answered; of several answers predictors take the first."""
        first = outputs[0] if isinstance(outputs, list) and outputs else None
        thought = first.get("reasoning_content") if isinstance(first, dict) else None
        self._heard[self._askers.pop(call_id, None)] = thought or ""

    def on_module_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """A predictor has made a prediction of it."""
        if thought := self._heard.pop(call_id, ""):
            self._by_prediction[id(outputs)] = thought
