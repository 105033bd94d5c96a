"""Runs keep the order, the scores, the failures and every predictor's calls."""

from __future__ import annotations

import _thread
import itertools
import threading

import dspy
import pytest
from dspy import lm15
from dspy.utils import DummyLM

from dspy_greater.cost import Usage
from dspy_greater.program import MetricError, PredictorCall, Run, TooManyErrorsError
from dspy_greater.program.runs import check_own, run_programs
from tests.support.targets import Adder, target


def run_program(program, examples, metric, lm=None, **kwargs):
    """One program, as most tests need it."""
    lms = None if lm is None else [lm]
    (runs,) = run_programs([program], [examples], metric, lms=lms, **kwargs)
    return runs


class Numbered(dspy.BaseLM):
    """Answers with the number in the question; unreadable text for the number 13."""

    def __init__(self, name: str = "numbered"):
        super().__init__(name)
        self.asked = 0
        self.lock = threading.Lock()

    def __call__(self, prompt=None, messages=None, **kwargs):
        with self.lock:
            self.asked += 1
        number = int(messages[-1]["content"].split("number ")[1].split("\n")[0])
        if number == 13:
            return ["no fields here"]
        return [f"[[ ## reasoning ## ]]\nr{number}\n\n[[ ## answer ## ]]\n{number}"]


def examples_of(*numbers: int) -> list[dspy.Example]:
    return [
        dspy.Example(question=f"number {n}", answer=str(n)).with_inputs("question") for n in numbers
    ]


def exact(example, prediction, trace=None):
    return example.answer == prediction.answer


def chain() -> dspy.ChainOfThought:
    return dspy.ChainOfThought("question -> answer")


def test_runs_come_in_the_order_of_the_examples():
    runs = run_program(chain(), examples_of(*range(14, 44)), exact, lm=Numbered())
    assert [run.prediction.answer for run in runs] == [str(n) for n in range(14, 44)]
    assert {run.score for run in runs} == {1.0}


def test_a_run_keeps_the_inputs_and_outputs_of_each_predictor():
    (run,) = run_program(chain(), examples_of(3), exact, lm=Numbered())
    assert run.calls == {
        "predict": [PredictorCall({"question": "number 3"}, {"reasoning": "r3", "answer": "3"})]
    }


def test_no_examples_are_no_runs():
    assert run_program(chain(), [], exact, lm=Numbered()) == []


@pytest.mark.parametrize("num_threads", [None, 1, 3])
def test_the_settings_reach_every_thread(num_threads):
    with dspy.context(lm=Numbered(), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        runs = run_program(chain(), examples_of(1, 13, 2), exact, num_threads=num_threads)
        assert dspy.settings.lm.asked == 3  # The unreadable one was not asked again.
    assert [run.parse_failed for run in runs] == [False, True, False]


def test_unreadable_completions_score_zero_and_are_no_errors():
    lm = Numbered()
    runs = run_program(chain(), examples_of(*[13] * 5), exact, lm=lm)
    check_own(runs, examples_of(*[13] * 5), max_errors=1)
    assert [(run.score, run.prediction, run.parse_failed) for run in runs] == [
        (0.0, None, True)
    ] * 5
    assert "AdapterParseError" in runs[0].error
    assert lm.asked == 10  # ChatAdapter itself asks again, through JSONAdapter.


def test_calls_before_a_failure_are_kept():
    class TwoSteps(dspy.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = chain(), chain()

        def forward(self, question):
            self.first(question=question)
            return self.second(question="number 13")

    (run,) = run_program(TwoSteps(), examples_of(1), exact, lm=Numbered())
    assert run.parse_failed
    assert {name: len(calls) for name, calls in run.calls.items()} == {
        "first.predict": 1,
        "second.predict": 0,  # it was called, and gave no answer that could be read
    }


class Fragile(dspy.Module):
    def __init__(self):
        super().__init__()
        self.qa = dspy.Predict("question -> reasoning, answer")

    def forward(self, question):
        if question.endswith("7"):
            raise RuntimeError("cannot do sevens")
        return self.qa(question=question)


def test_exceptions_of_the_program_score_zero():
    runs = run_program(Fragile(), examples_of(6, 7, 8), exact, lm=Numbered())
    assert [run.score for run in runs] == [1.0, 0.0, 1.0]
    assert runs[1].error == "RuntimeError: cannot do sevens"
    assert not runs[1].parse_failed


@pytest.mark.parametrize("numbers", [(7, 7, 1, 1, 1), (17,)], ids=["max_errors", "all"])
def test_what_the_users_own_program_fails_at_too_often_is_for_the_user_to_mend(numbers):
    examples = examples_of(*numbers)
    runs = run_program(Fragile(), examples, exact, lm=Numbered())
    message = rf"of {len(runs)} examples failed \(max_errors is 2\).*number \d*7.*cannot do sevens"
    with pytest.raises(TooManyErrorsError, match=f"(?s){message}") as error:
        check_own(runs, examples, max_errors=2)
    assert isinstance(error.value.__cause__, RuntimeError)
    check_own(runs[1:], examples[1:], max_errors=2)


def test_exceptions_of_the_metric_score_zero_and_count():
    def fragile(example, prediction):
        return abs(1 / (int(example.answer) - 2))

    runs = run_program(chain(), examples_of(1, 2, 3), fragile, lm=Numbered())
    assert [run.score for run in runs] == [1.0, 0.0, 1.0]
    assert runs[1].error.startswith("ZeroDivisionError")
    assert runs[1].prediction.answer == "2"
    assert "predict" in runs[1].calls


@pytest.mark.parametrize(
    ("returned", "few", "message"),
    [
        ({"1": None}, True, "returned None .*number 1"),
        ({"1": float("nan")}, True, "returned nan .*number 1"),
        ({"3": 100}, False, "returned 100.0 .*number 3.*divide by the best possible score"),
        ({"1": None, "3": -1}, False, "returned -1.0 .*number 3"),
    ],
    ids=["none", "nan", "per cent", "both"],
)
def test_what_is_no_score_counts_as_wrong_and_a_scale_is_for_the_user_to_mend(
    returned, few, message
):
    examples = examples_of(1, 2, 3)

    def odd(example, prediction):
        return returned.get(example.answer, 1)

    runs = run_program(chain(), examples, odd, lm=Numbered())
    assert [run.score for run in runs] == [float(e.answer not in returned) for e in examples]
    if few:
        check_own(runs, examples, max_errors=2)
    with pytest.raises(MetricError, match=f"(?s){message}"):
        check_own(runs, examples, max_errors=1)


def test_the_given_lm_replaces_the_predictors_own_in_the_run_only():
    program, own, given = chain(), Numbered("own"), Numbered("given")
    program.set_lm(own)
    run_program(program, examples_of(1), exact, lm=given)
    assert (own.asked, given.asked) == (0, 1)
    assert program.predict.lm is own
    run_program(program, examples_of(1), exact)
    assert (own.asked, given.asked) == (1, 1)


def test_predictors_made_inside_forward_use_the_given_lm_too():
    class Dynamic(dspy.Module):
        def forward(self, question):
            return dspy.Predict("question -> reasoning, answer")(question=question)

    (run,) = run_program(Dynamic(), examples_of(6), exact, lm=Numbered())
    assert (run.score, run.calls) == (1.0, {})


def test_a_judge_in_the_metric_keeps_the_users_lm():
    users, local = Numbered("users"), Numbered("local")
    seen = []

    def judge(example, prediction):
        seen.append(dspy.settings.lm)
        return True

    with dspy.context(lm=users):
        run_program(chain(), examples_of(1), judge, lm=local)
    assert seen == [users]


def test_runs_do_not_mix_their_traces_nor_touch_the_users():
    mine: list = []
    with dspy.context(trace=mine):
        runs = run_program(chain(), examples_of(*range(20, 50)), exact, lm=Numbered())
    assert mine == []
    for number, run in enumerate(runs, 20):
        assert [each.inputs["question"] for each in run.calls["predict"]] == [f"number {number}"]


def test_predictors_inside_best_of_n_keep_their_name():
    best = dspy.BestOfN(chain(), N=2, reward_fn=lambda inputs, pred: 1.0, threshold=0.5)
    (run,) = run_program(best, examples_of(5), exact, lm=Numbered())
    assert [each.outputs["answer"] for each in run.calls["module.predict"]] == ["5"]


def test_a_predictor_called_twice_has_two_calls():
    class Twice(dspy.Module):
        def __init__(self):
            super().__init__()
            self.qa = chain()

        def forward(self, question):
            self.qa(question="number 1")
            return self.qa(question=question)

    (run,) = run_program(Twice(), examples_of(2), exact, lm=Numbered())
    assert [each.outputs["answer"] for each in run.calls["qa.predict"]] == ["1", "2"]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_interruption_is_not_swallowed(num_threads):
    lm = Numbered()

    def interrupted(example, prediction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_program(
            chain(), examples_of(*range(20, 420)), interrupted, lm=lm, num_threads=num_threads
        )
    assert lm.asked <= 4


def test_ctrl_c_does_not_wait_for_the_examples_under_way():
    release, lm = threading.Event(), Numbered()

    class Slow(dspy.Module):
        def forward(self, question):
            if question == "number 1":
                _thread.interrupt_main()
            release.wait()

    with pytest.raises(KeyboardInterrupt):
        run_program(Slow(), examples_of(*range(100)), exact, lm=lm, num_threads=2)
    assert not release.is_set()
    release.set()


def test_each_program_may_have_a_language_model_of_its_own():
    lms = [Numbered("one"), Numbered("two")]
    run_programs([chain(), chain()], [examples_of(1, 2, 3)] * 2, exact, lms=lms)
    assert [lm.asked for lm in lms] == [3, 3]


def test_dspys_dummy_lm_works_too():
    lm = DummyLM([{"reasoning": "r", "answer": "1"}] * 3)
    runs = run_program(chain(), examples_of(1, 1, 1), exact, lm=lm)
    assert [run.score for run in runs] == [1.0] * 3


def test_a_run_says_what_each_language_model_did():
    class Two(dspy.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = chain(), chain()
            self.second.set_lm(target(Adder(reports_usage=False), "far/silent"))

        def forward(self, question):
            self.first(question=question)
            # Threads of the run's own count, too.
            (found,) = dspy.Parallel(disable_progress_bar=True)(
                [(self.second, {"question": question})]
            )
            return found

    examples = [dspy.Example(question="2 + 3", answer="5").with_inputs("question")] * 2
    with dspy.context(lm=target(Adder())):
        runs = run_program(Two(), examples, exact)
    assert [run.score for run in runs] == [1.0, 1.0]
    assert runs[0].usage == {"far/away": Usage(1, 10, 3), "far/silent": Usage(1, 0, 0)}


def test_who_tracks_usage_finds_it_in_the_prediction():
    with dspy.context(lm=target(Adder()), track_usage=True):
        example = dspy.Example(question="2 + 3", answer="5").with_inputs("question")
        (run,) = run_program(chain(), [example], exact)
    assert run.prediction.get_lm_usage()["far/away"]["total_tokens"] == 13


def test_what_the_metric_asks_is_not_the_programs():
    judge = target(Adder(), "far/judge")

    def judged(example, prediction, trace=None):
        return judge("`[[ ## answer ## ]]` `[[ ## completed ## ]]` 2 + 3")[0].count("5")

    example = dspy.Example(question="2 + 3", answer="5").with_inputs("question")
    (run,) = run_program(chain(), [example], judged, lm=target(Adder()))
    assert run.score == 1.0
    assert run.usage == {"far/away": Usage(1, 10, 3)}


def out_of_order(*every: int):
    """A language model whose server is down for some requests."""
    engine, count = Adder(), itertools.count(1)
    answer = engine.answer

    def sometimes(system, question):
        if any(next(count) % each == 0 for each in every):
            raise lm15.ServerError("down")
        return answer(system, question)

    engine.answer = sometimes
    return target(engine)


def test_an_outage_counts_for_all_programs_together():
    six = [dspy.Example(question="2 + 3", answer="5").with_inputs("question")] * 6
    programs, examples = [chain(), chain(), chain()], [six] * 3
    lms = [out_of_order(2)] * 3
    with pytest.raises(TooManyErrorsError, match=r"max_errors is 5.*num_retries.*down"):
        run_programs(programs, examples, exact, lms=lms, max_errors=5, num_threads=1)
    runs = run_programs(programs, examples, exact, lms=lms, max_errors=10, num_threads=1)
    assert [sum(run.score for run in each) for each in runs] == [3.0] * 3


def test_an_outage_of_a_judge_is_one_too():
    def judged(example, prediction):
        return len(judge("2 + 3"))

    judge = out_of_order(1)
    with pytest.raises(TooManyErrorsError, match="3 of 3 runs got no answer"):
        run_program(chain(), examples_of(1, 2, 3), judged, lm=Numbered())


def test_no_answer_at_all_is_too_few_for_any_max_errors():
    examples = [dspy.Example(question="2 + 3", answer="5").with_inputs("question")] * 2
    with pytest.raises(TooManyErrorsError, match="2 of 2 runs got no answer"):
        run_program(chain(), examples, exact, lm=out_of_order(1), max_errors=100)
    (run,) = run_program(chain(), examples[:1], exact, lm=out_of_order(1), max_errors=100)
    assert run.error == "LMServerError: [far/away] down"
    with pytest.raises(TooManyErrorsError, match=r"1 of 1 runs got no answer.*server runs"):
        check_own([run], examples[:1], max_errors=100)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lm15.AuthError, "api_key"),
        (lm15.NotConfiguredError, "api_key"),
        (lm15.RateLimitError, "num_threads"),
        (lm15.UnsupportedModelError, "model is the name"),
        (lm15.InvalidRequestError, "takes its settings"),
        (lm15.TransportError, "api_base"),
    ],
)
def test_an_outage_comes_with_its_remedy(error, words):
    engine = Adder()
    engine.fails = error("no")
    examples = [dspy.Example(question="2 + 3", answer="5").with_inputs("question")] * 2
    with pytest.raises(TooManyErrorsError, match=words):
        check_own(run_program(chain(), examples, exact, lm=target(engine)), examples, 10)


def test_a_prompt_that_is_too_long_is_the_programs_fault():
    engine = Adder()
    engine.fails = lm15.ContextLengthError("too long")
    examples = [dspy.Example(question="2 + 3", answer="5").with_inputs("question")] * 2
    runs = run_program(chain(), examples, exact, lm=target(engine))
    assert [run.score for run in runs] == [0.0, 0.0]


def test_the_longest_answer_is_measured_in_bytes():
    calls = {
        "a": [PredictorCall({"q": "long question"}, {"answer": "äö", "number": 17})],
        "b": [PredictorCall({}, {"answer": "no"}, "hm"), PredictorCall({}, {})],
    }
    assert Run(1.0, None, calls).longest == 6
    assert Run(0.0, None).longest == 0
