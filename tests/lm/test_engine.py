from __future__ import annotations

import asyncio
import copy
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest
import torch
from dspy import lm15

from dspy_greater import GreaterTeleprompter
from dspy_greater.lm import LocalEngine, NotWhiteBoxError, white_box
from dspy_greater.lm.engine import AsyncLocalEngine
from tests.support.fake_white_box import FakeWhiteBox, MakeLM


def ask(lm: dspy.LM, text: str, **config: Any) -> lm15.Request:
    return lm15.Request(
        model=lm.model, messages=(lm15.Message.user(text),), config=lm15.Config(**config)
    )


# --- Calls ---------------------------------------------------------------------------------------


def test_calls_of_many_threads_share_generations(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake, max_batch=8, batch_wait=60)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda row: lm(f"row {row}"), range(24)))
    assert answers == [[f"0.0 row {row}"] for row in range(24)]
    assert [len(batch) for batch in fake.batches] == [8, 8, 8]


def test_one_batch_mixes_settings(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake, max_batch=3, batch_wait=60)
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda heat: lm("hot?", temperature=heat), [0.0, 0.5, 1.0]))
    assert answers == [["0.0 hot?"], ["0.5 hot?"], ["1.0 hot?"]]
    assert len(fake.batches) == 1


def test_a_failing_request_spares_its_batch(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake, max_batch=6, batch_wait=60)
    fake.context = 50
    texts = ["one", "two", "explode", "x" * 50, "three", "four"]

    def call(text: str) -> Any:
        try:
            return lm(text)
        except Exception as error:
            return type(error), str(error)

    with ThreadPoolExecutor(6) as threads:
        one, two, exploded, too_long, three, four = threads.map(call, texts)
    assert [one, two, three, four] == [["0.0 one"], ["0.0 two"], ["0.0 three"], ["0.0 four"]]
    assert exploded[0] is dspy.LMUnexpectedError
    assert "no room for explode" in exploded[1]
    assert too_long[0] is dspy.ContextWindowExceededError
    assert "50 tokens" in too_long[1]


def test_tasks_share_generations_without_blocking_the_loop(
    fake: FakeWhiteBox, make_lm: MakeLM
) -> None:
    lm = make_lm(fake, max_batch=4, batch_wait=60)
    fake.open.clear()

    async def main() -> list[list[str]]:
        calls = asyncio.gather(*(lm.acall(f"row {row}") for row in range(4)))
        while not fake.started.is_set():  # generation stands still, the loop goes on
            await asyncio.sleep(0.001)
        fake.open.set()
        return await calls

    assert asyncio.run(main()) == [[f"0.0 row {row}"] for row in range(4)]
    assert len(fake.batches) == 1


def test_a_cancelled_task_drops_its_request(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake, max_batch=1, batch_wait=0)
    fake.open.clear()

    async def main() -> None:
        running = asyncio.create_task(lm.acall("running"))
        while not fake.started.is_set():
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(lm.acall("waiting"))
        while not lm.engine._batcher._queue:
            await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        fake.open.set()
        assert await running == ["0.0 running"]

    asyncio.run(main())
    assert lm("last") == ["0.0 last"]
    assert fake.batches == [["running"], ["last"]]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_an_interrupt_ends_a_waiting_call(
    fake: FakeWhiteBox, make_lm: MakeLM, request: pytest.FixtureRequest
) -> None:
    # A shell lets its background jobs ignore SIGINT, and Python then leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    lm = make_lm(fake)
    fake.open.clear()

    def interrupt() -> None:
        fake.started.wait(30)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        lm("never answered")
    fake.open.set()
    assert lm("next") == ["0.0 next"]


def test_several_candidates(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake)
    assert lm("Hi", n=3, temperature=0.5) == ["0.5 Hi"] * 3
    assert lm.history[-1]["usage"]["completion_tokens"] == 9


def test_usage_is_tracked(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake)
    with dspy.track_usage() as tracker:
        lm("four")
    usage = tracker.get_total_tokens()[lm.model]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (4, 3)


def test_a_request_gets_a_response(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake)
    response = lm(ask(lm, "Hi", temperature=0.5))
    assert (response.text, response.model, response.finish_reason) == ("0.5 Hi", lm.model, "stop")


def test_streams_end_with_the_same_response(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake)
    events = list(lm.engine.stream(ask(lm, "Hi")))
    assert [event.type for event in events] == ["start", "delta", "delta", "end"]
    assert "".join(event.delta.text for event in events[1:-1]) == "0.0 Hi"

    async def collect() -> list[Any]:
        return [event async for event in AsyncLocalEngine(lm.engine).stream(ask(lm, "Hi"))]

    assert asyncio.run(collect()) == events


def test_streamify(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake)
    program = dspy.streamify(dspy.Predict("question -> answer"))

    async def collect() -> list[Any]:
        with dspy.context(lm=lm, adapter=Raw()):
            return [item async for item in program(question="Hi")]

    *chunks, last = asyncio.run(collect())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "0.0 Hi"
    assert last.answer == "0.0 Hi"


@pytest.mark.parametrize(
    ("adapter", "answer"),
    [
        (dspy.ChatAdapter(), "[[ ## answer ## ]]\nIt is Paris.\n\n[[ ## completed ## ]]"),
        (dspy.JSONAdapter(), '{"answer": "It is Paris."}'),
        (dspy.XMLAdapter(), "<answer>\nIt is Paris.\n</answer>"),
    ],
)
def test_stream_listeners_see_their_field(
    fake: FakeWhiteBox, make_lm: MakeLM, adapter: dspy.Adapter, answer: str
) -> None:
    fake.answer = answer
    lm = make_lm(fake)
    program = dspy.streamify(
        dspy.Predict("question -> answer"),
        stream_listeners=[dspy.streaming.StreamListener(signature_field_name="answer")],
    )

    async def collect() -> list[Any]:
        with dspy.context(lm=lm, adapter=adapter):
            return [item async for item in program(question="Capital of France?")]

    *chunks, last = asyncio.run(collect())
    heard = "".join(chunk.chunk for chunk in chunks)
    # DSPy hears JSON's quotes, and up to 3.4.0 ChatAdapter's line break, too.
    assert heard.strip(' "\n') == last.answer == "It is Paris."


class Raw(dspy.Adapter):
    """The first input is the prompt, the whole answer the first output."""

    def format(self, signature: Any, demos: Any, inputs: dict[str, Any]) -> list[dict[str, str]]:
        return [{"role": "user", "content": next(iter(inputs.values()))}]

    def parse(self, signature: Any, completion: str) -> dict[str, str]:
        return {next(iter(signature.output_fields)): completion}


def test_programs_run_in_parallel(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake, max_batch=4, batch_wait=60)
    program = dspy.Predict("question -> answer")
    pairs = [(program, dspy.Example(question=f"{row}").with_inputs("question")) for row in range(8)]
    with dspy.context(lm=lm, adapter=Raw()):
        runs = dspy.Parallel(num_threads=4, disable_progress_bar=True, timeout=0)(pairs)
    assert [run.answer for run in runs] == [f"0.0 {row}" for row in range(8)]
    assert [len(batch) for batch in fake.batches] == [4, 4]


def test_json_adapter_asks_in_the_prompt_and_for_no_more_than_an_object(
    fake: FakeWhiteBox, make_lm: MakeLM
) -> None:
    lm = make_lm(fake)
    with (
        dspy.context(lm=lm, adapter=dspy.JSONAdapter()),
        pytest.raises(dspy.utils.exceptions.AdapterParseError),
    ):
        dspy.Predict("question -> number: int")(question="Hi")
    assert len(fake.batches) == 1
    assert "JSON object" in fake.messages[0][-1]["content"]
    assert [each.json_object for each in fake.samplings] == [True]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {}},
                }
            },
            "response_format",
        ),
        ({"tools": [{"type": "function", "function": {"name": "add"}}]}, "tools"),
        ({"frequency_penalty": 1.0}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"reasoning_effort": "low"}, "reasoning"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
    ],
)
def test_users_see_what_is_not_supported(
    fake: FakeWhiteBox, make_lm: MakeLM, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(dspy.LMUnsupportedFeatureError, match=named):
        make_lm(fake)("Hi", **settings)
    assert fake.batches == []


def test_a_closed_engine_says_so(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake)
    lm.engine.close()
    with pytest.raises(dspy.LMUnexpectedError, match="closed"):
        lm("Hi")


# --- Cache ---------------------------------------------------------------------------------------


def test_the_cache_keeps_models_apart(make_lm: MakeLM) -> None:
    first, second = FakeWhiteBox(fingerprint="a" * 32), FakeWhiteBox(fingerprint="b" * 32)
    for fake in (first, second, first, second):
        make_lm(fake, cache=True)("Hi")
    assert (len(first.batches), len(second.batches)) == (1, 1)


def test_rollouts_bypass_the_cache(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    lm = make_lm(fake, cache=True, temperature=1.0)
    for rollout in (1, 2, 1, 2):
        lm("Hi", rollout_id=rollout)
    assert len(fake.batches) == 2


def test_the_name_carries_the_fingerprint(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    assert make_lm(fake).model == "local/some/fake@f00df00df00d"


def test_another_name_does_not_answer_with_these_weights(
    fake: FakeWhiteBox, make_lm: MakeLM
) -> None:
    tuned = make_lm(fake).copy(model="local/some/fake-tuned")
    with pytest.raises(dspy.utils.exceptions.LMError, match=r"local_lm\(\.\.\.\)"):
        tuned("Hi")
    assert not fake.batches


# --- Copies, pickles, saved programs -------------------------------------------------------------


class Weights(FakeWhiteBox):
    """A fake with megabytes of weights."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weights = bytes(10_000_000)


@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_pickles_hold_no_weights_and_find_the_living_model(module: Any, make_lm: MakeLM) -> None:
    weights = Weights()
    lm = make_lm(weights)
    data = module.dumps(lm)
    assert len(data) < 10_000
    again = module.loads(data)
    assert again.engine is lm.engine
    assert again("Hi") == asyncio.run(again.acall("Hi")) == ["0.0 Hi"]
    assert weights.batches == [["Hi"], ["Hi"]]


def test_deep_copies_share_the_engine(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    program = dspy.ChainOfThought("question -> answer")
    program.set_lm(make_lm(fake))
    copied = program.deepcopy()
    assert copied.predict.lm.engine is program.predict.lm.engine
    assert copy.deepcopy(program).predict.lm.engine is program.predict.lm.engine
    assert asyncio.run(copied.predict.lm.acall("Hi")) == ["0.0 Hi"]
    assert fake.batches == [["Hi"]]


@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_a_model_that_is_gone_is_to_be_made_anew(module: Any) -> None:
    engine = LocalEngine(FakeWhiteBox(fingerprint="9" * 32))
    data = module.dumps(engine)
    engine.close()
    with pytest.raises(RuntimeError, match=r"some/fake.*local_lm\(\.\.\.\).*program\.set_lm"):
        module.loads(data)
    LocalEngine(FakeWhiteBox(fingerprint="8" * 32))  # another model
    anew = LocalEngine(FakeWhiteBox(fingerprint="9" * 32), max_batch=7)
    assert module.loads(data) is anew
    assert module.loads(module.dumps(AsyncLocalEngine(anew))).engine is anew


class Two(dspy.Module):
    """Two predictors, each with an LM of its own."""

    def __init__(self, first: dspy.LM | None = None, second: dspy.LM | None = None) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> query")
        self.second = dspy.Predict("query -> answer")
        self.first.lm, self.second.lm = first, second


@pytest.mark.parametrize("file", ["program.json", "program.pkl"])
def test_a_program_is_saved_without_its_local_lms(
    file: str, make_lm: MakeLM, tmp_path: Path
) -> None:
    local, api = make_lm(Weights(), temperature=0.5), dspy.LM("openai/m", api_key="none")
    loads = {"allow_pickle": True} if file.endswith("pkl") else {}
    for lms in [(local, local), (local, None), (local.copy(temperature=1.0), api)]:
        Two(*lms).save(tmp_path / file)
        assert b"fingerprint" not in (tmp_path / file).read_bytes()
        assert b"local/" not in (tmp_path / file).read_bytes()
        again = Two(local, local)
        again.load(tmp_path / file, **loads)
        assert again.first.lm is None
        assert (again.second.lm is None) == (lms[1] is not api)
        again.set_lm(local)
        assert again.first.lm("Hi") == ["0.5 Hi"]


# --- white_box -----------------------------------------------------------------------------------


def test_white_box_gives_the_model(fake: FakeWhiteBox, make_lm: MakeLM) -> None:
    assert white_box(make_lm(fake)) is fake


NO_WHITE_BOX = {
    "lm is a tuple, not": (torch.nn.Linear(2, 2), "a tokenizer"),
    "lm is a Sequential, not": torch.nn.Sequential(torch.nn.Linear(2, 2)),
    "lm is a FakeWhiteBox, not": FakeWhiteBox(),
    "lm is a type, not": dspy.LM,
    "lm is the text 'owner/name', not": "owner/name",
    "openai/gpt-4o-mini does not give": dspy.LM("openai/gpt-4o-mini", api_key="none"),
}


@pytest.mark.parametrize("said", NO_WHITE_BOX)
def test_what_is_no_white_box_is_refused_where_it_is_given(said: str) -> None:
    with pytest.raises(NotWhiteBoxError, match=rf"^{said}.*lm = local_lm\(\.\.\.\)") as told:
        GreaterTeleprompter(lambda example, prediction: 1.0, lm=NO_WHITE_BOX[said])
    assert len(str(told.value)) < 250
    with pytest.raises(NotWhiteBoxError, match="no language model is configured"):
        white_box(None)
