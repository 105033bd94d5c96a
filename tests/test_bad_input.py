"""Every input that cannot be meant is refused by name, before the model has written a token.

The inputs are in ``tests/support/bad_input.py``, the messages in ``tests/support/refusals``. Each
says where the fault is (predictor, field, example or setting) and how to mend it. "…" stands for
what may differ.
"""

from __future__ import annotations

import re
from pathlib import Path

import dspy
import pytest

from dspy_greater.lm import white_box
from tests.support.bad_input import REFUSED, held
from tests.support.compiling import configured, lm
from tests.support.refusals import OF_DATA, OF_SETTINGS

__all__ = ["configured", "lm"]

SAID = {**OF_DATA, **OF_SETTINGS}


def test_the_table_is_whole() -> None:
    assert REFUSED.keys() == SAID.keys()
    assert len(SAID) >= 40


@pytest.mark.parametrize("name", SAID)
def test_bad_input_is_refused_before_any_generation(name: str, lm: dspy.LM, tmp_path: Path) -> None:
    kind, message = SAID[name]
    before = white_box(lm).counts.snapshot()
    try:
        with pytest.raises(kind) as caught:
            REFUSED[name](tmp_path)
    finally:
        while held:
            held.pop().close()
    assert type(caught.value) is kind
    message = message.replace("{folder}", str(tmp_path))
    assert re.fullmatch(re.escape(message).replace("…", "(?s:.*)"), str(caught.value))
    assert white_box(lm).counts == before
