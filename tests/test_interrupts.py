"""After Ctrl-C nothing goes on behind the user: the model stops with its next pass."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import dspy
import pytest

from dspy_greater import local_lm
from dspy_greater.cost import Meter
from dspy_greater.model import Sampling
from tests.support.compiling import VERIFIED, configured, examples, lm, small
from tests.support.tiny import make_model, make_tokenizer
from tests.support.white_boxes import random_ids, white_box_of

__all__ = ["configured", "lm"]


def test_the_model_stops_with_its_next_pass_for_whoever_was_stopped() -> None:
    box, meter, passes = white_box_of("llama"), Meter(), []

    def after(module: Any, args: Any, output: Any) -> None:
        passes.append(None)
        if len(passes) == 3:
            meter.stopped.set()

    prompts, settings = [random_ids(9)], [Sampling(20)]
    (whole,) = box.generate(prompts, settings)
    with box.model.register_forward_hook(after):
        with pytest.raises(CancelledError):
            box.metered(meter).generate(prompts, settings)
        assert len(passes) == 3
    assert meter.counts.tokens == 0  # half an answer is none
    assert box.generate(prompts, settings) == [whole]  # others go on


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_what_waited_is_not_answered_behind_the_user(request: pytest.FixtureRequest) -> None:
    # A shell lets its background jobs ignore SIGINT, and Python then leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    tokenizer = make_tokenizer()
    model, passes = make_model("llama", len(tokenizer)), []
    lm = local_lm((model, tokenizer), max_tokens=60, max_batch=2, cache=False)

    def after(module: Any, args: Any, output: Any) -> None:
        if threading.current_thread().name != "local-lm":
            return
        passes.append(None)
        if len(passes) == 5:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.01)

    with dspy.context(lm=lm), model.register_forward_hook(after):
        compiled = small(schedule=VERIFIED).compile(
            dspy.Predict("question -> answer"), trainset=examples(8), valset=examples(8)
        )
        then = len(passes)
        for thread in threading.enumerate():
            if thread.name == "local-lm":
                thread.join(30)
    assert "stopped before anything was validated" in compiled.detailed_results.summary()
    assert len(passes) <= then + 2  # of eight examples, two at a time
