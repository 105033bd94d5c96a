"""A stand-in for a prompt model, for optimizers that ask one to write instructions.

A model as small as the one of this repository cannot answer their requests. The stand-in reads of a
request only which fields are asked for, and puts into each of them an instruction that the small
model writes at temperature 1 after the inputs of a few examples: what it was trained for, and
where our own search takes its words from. All optimizers so draw their words from one source
and differ in how they search. It is no reflection: scores and feedback are not read.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dspy
from dspy import lm15

from dspy_greater.model import Sampling

if TYPE_CHECKING:
    from dspy_greater.model import WhiteBox

#: Longest instruction, in tokens; the search's own limit.
LONGEST = 64
FIELDS = re.compile(r"Your output fields are:\n(.*?)\nAll interactions", re.DOTALL)
FIELD = re.compile(r"^\d+\. `(\w+)` \((.*?)\)", re.MULTILINE)


class StandIn:
    """Answers each request with instructions that a local model writes; a DSPy engine.

    Args:
        model: The local model.
        contexts: What it may write after, as token ids: inputs of examples, open for an
            instruction.
        predictors: Names of the program's predictors, for requests that want one text for each.
        seed: Of the samples.
    """

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False
    # No "response_format": JSONAdapter then asks for JSON in the prompt alone.
    supported_params = frozenset({"temperature", "max_tokens"})

    def __init__(
        self,
        model: WhiteBox,
        contexts: Sequence[Sequence[int]],
        predictors: Sequence[str],
        seed: int,
    ) -> None:
        self._model, self._contexts, self._predictors = model, contexts, predictors
        self._rng, self._lock = random.Random(f"stand-in {seed}"), threading.Lock()

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Fill in the fields that a Chat or JSON adapter asks for."""
        prompt = request.system if isinstance(request.system, str) else ""
        asked = FIELDS.search(prompt)
        if asked is None:
            raise lm15.InvalidRequestError("The stand-in answers DSPy's adapters alone.")
        values = {name: self._value(kind) for name, kind in FIELD.findall(asked[1])}
        if "[[ ## completed ## ]]" in prompt:
            parts = [f"[[ ## {name} ## ]]\n{_plain(value)}" for name, value in values.items()]
            text = "\n\n".join([*parts, "[[ ## completed ## ]]"])
        else:
            text = json.dumps(values)
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=0, output_tokens=0),  # the white box counts its own
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> StandIn:
        return self  # DSPy copies its LMs, and copies are to draw on

    def _value(self, kind: str) -> str | dict[str, str]:
        if kind.startswith("dict"):
            return {name: self._instruction() for name in self._predictors}
        return self._instruction()

    def _instruction(self) -> str:
        """Sample one instruction, up to the end of its line."""
        with self._lock:
            context, seed = self._rng.choice(self._contexts), self._rng.randrange(2**32)
        sampling = Sampling(max_tokens=LONGEST, temperature=1.0, seed=seed)
        (written,) = self._model.generate([context], [sampling])
        return written.text.strip().partition("\n")[0]


def stand_in(
    model: WhiteBox, contexts: Sequence[Sequence[int]], predictors: Sequence[str], seed: int
) -> dspy.LM:
    """Return the stand-in as an LM."""
    engine = StandIn(model, contexts, predictors, seed)
    return dspy.LM(f"stand-in/{model.name}", engine=engine, cache=False)


def _plain(value: str | dict[str, str]) -> str:
    return value if isinstance(value, str) else json.dumps(value)
