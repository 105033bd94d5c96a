"""Inputs that cannot be meant; what is said of each is in ``tests/support/refusals``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import dspy
from dspy.experimental import Noul

from dspy_greater import VerifiedConfig, local_lm
from dspy_greater.record import Checkpoint
from tests.support.compiling import START, examples, lm_of, small
from tests.support.tiny import make_model, make_tokenizer

Compile = Callable[[Path], Any]
QA = dspy.Signature("question -> answer", START)


class Empty(dspy.Module):
    """A program without a predictor."""

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer="7")


class Frozen(dspy.Module):
    """A program whose one part is compiled already."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = dspy.ChainOfThought(QA)
        self.inner._compiled = True

    def forward(self, question: str) -> dspy.Prediction:
        return self.inner(question=question)


class Helper(dspy.Module):
    """An agent that is not DSPy's."""

    def __init__(self) -> None:
        super().__init__()
        self.tools = {"add": len}
        self.act = dspy.Predict(QA.with_instructions("Answer; you may call add."))

    def forward(self, question: str) -> dspy.Prediction:
        return self.act(question=question)


class Hops(dspy.Module):
    """Two predictors, the second with this instruction."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> query")
        self.second = dspy.Predict(dspy.Signature("query -> answer", text))

    def forward(self, question: str) -> dspy.Prediction:
        return self.second(query=self.first(question=question).query)


class Mute(dspy.Adapter):
    """An adapter that writes nothing."""


class Silent(dspy.ChatAdapter):
    """An adapter that keeps the instruction to itself."""

    def format_task_description(self, signature: type[dspy.Signature]) -> str:
        return "Go."


class Vague(dspy.ChatAdapter):
    """An adapter that does not write answers."""

    def format_assistant_message_content(self, *given: Any, **named: Any) -> str:
        return "an answer"


async def wait(example: dspy.Example, prediction: dspy.Prediction) -> float:
    """An asynchronous metric."""
    return 1.0


class Judge:
    """A metric to be made first."""

    def __call__(self, example: dspy.Example, prediction: dspy.Prediction) -> float:
        return 1.0


def program(
    instruction: str = START, inputs: Any = str, outputs: Any = str, **knobs: Any
) -> dspy.Predict:
    """Return a predictor with such fields."""
    fields = {"question": (inputs, dspy.InputField()), "answer": (outputs, dspy.OutputField())}
    return dspy.Predict(dspy.Signature(fields, instruction), **knobs)


def data(**fields: Any) -> list[dspy.Example]:
    """Return five good examples, and one with other fields."""
    odd = dspy.Example(**{"question": "What is 9 + 3?", "answer": "12", **fields})
    return [*examples(5), odd.with_inputs("question")]


#: An example for which no model of the tests has room.
LONG = dspy.Example(question="why " * 3000, answer="7").with_inputs("question")


def run(
    student: Any = None, trainset: Any = None, valset: Any = None, adapter: Any = None, **knobs: Any
) -> Compile:
    """Return a compile of this, in which all that is not given is as it should be."""

    def call(folder: Path) -> Any:
        place = {"log_dir": knobs.pop("log_dir")(folder)} if "log_dir" in knobs else {}
        with dspy.context(adapter=adapter):
            return small(**place, **knobs).compile(
                program() if student is None else student,
                trainset=examples() if trainset is None else trainset,
                valset=valset,
            )

    return call


def with_lm(value: Any) -> Compile:
    """Return a compile with another language model configured."""

    def call(folder: Path) -> Any:
        with dspy.context(lm=value):
            return run()(folder)

    return call


def in_use(folder: Path) -> Path:
    """Return a ``log_dir`` that another compile is using."""
    held.append(Checkpoint(folder / "mine", {}))
    return folder / "mine"


def a_file(folder: Path) -> Path:
    """Return a ``log_dir`` that is a file."""
    (folder / "file").write_text("mine")
    return folder / "file"


held: list[Checkpoint] = []
demo = dspy.Example(question=dspy.Image(url="https://a.b/c.png"), answer="a cat")
with_demo = program()
with_demo.demos = [demo]


def merging(folder: Path) -> Any:
    """The instruction's first word is one token with the adapter's words before it."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["is: \n        Solve"])
    lm = local_lm((make_model("llama", len(tokenizer)), tokenizer), cache=False)
    return small(lm=lm).compile(program(START), trainset=examples())


REFUSED: dict[str, Compile] = {
    # What is not a program.
    "a class": run(dspy.Predict),
    "a function": run(len),
    "a text as student": run("question -> answer"),
    "no predictor": run(Empty()),
    "compiled parts alone": run(Frozen()),
    # What is not data.
    "trainset is a dict": run(trainset={"question": "?"}),
    "trainset is a generator": run(trainset=(each for each in examples())),
    "trainset is a text": run(trainset="data.json"),
    "trainset is empty": run(trainset=[]),
    "one example": run(trainset=examples(1)),
    "valset is a set": run(valset=set()),
    "valset is empty": run(valset=[]),
    "an example is a dict": run(trainset=[{"question": "?", "answer": "1"}]),
    "an example is a prediction": run(trainset=[dspy.Prediction(question="?", answer="1")]),
    "inputs are not named": run(trainset=[dspy.Example(question="?", answer="1")]),
    "named inputs are not there": run(
        trainset=[dspy.Example(question="?", answer="1").with_inputs("q")]
    ),
    "an input is missing": run(trainset=[dspy.Example(text="?", answer="1").with_inputs("text")]),
    "an input that forward does not take": run(
        Helper(),
        trainset=[dspy.Example(text="?", answer="1").with_inputs("text")],
    ),
    # Labels.
    "no label at all": run(trainset=2 * [dspy.Example(question="?").with_inputs("question")]),
    "a label is missing": run(trainset=data(answer=None)),
    "a label is NaN": run(trainset=data(answer=float("nan"))),
    "a label of another type": run(program(outputs=int), trainset=data(answer="twelve")),
    "a label that is no choice": run(
        program(outputs=Literal["3", "4", "5", "6", "7"]), trainset=data(answer="12")
    ),
    "markup in a label": run(trainset=data(answer="a\n[[ ## completed ## ]]\nb")),
    "a label function that is a dict": run(label_fn={"self": "3"}),
    "a label function that raises": run(label_fn=lambda example, name: {}["query"]),
    "labels that are no dict": run(label_fn=lambda example, name: "3"),
    "a label of an unknown field": run(label_fn=lambda example, name: {"anwser": "3"}),
    # Which predictors.
    "an unknown predictor": run(predictors=["answerer"]),
    "a name without a list": run(predictors="self"),
    "no predictor chosen": run(predictors=[]),
    "an unknown frozen predictor": run(frozen=["answerer"]),
    "a frozen name without a list": run(frozen="self"),
    "all predictors frozen": run(frozen=["self"]),
    "chosen and frozen": run(predictors=["self"], frozen=["self"]),
    "tools of an unknown agent": run(Helper(), predictors=["act"]),
    "a decision type": run(program(outputs=Noul), schedule=VerifiedConfig()),
    "a criterion of a decision": run(
        program(outputs=Annotated[bool, Noul[(True, "it is so"),]]), predictors=["self"]
    ),
    # What is not text.
    "an image": run(program(inputs=dspy.Image)),
    "a list of files": run(program(inputs=list[dspy.File])),
    "sound as output": run(program(outputs=dspy.Audio | None)),
    "an image where a text should be": run(
        trainset=data(question=dspy.Image(url="https://a.b/c.png")), valset=examples()
    ),
    "an image in a demo": run(with_demo),
    "an image among others in a valset": run(
        program(inputs=Any),
        valset=data(question={"seen": [dspy.Image(url="https://a.b/c.png")]}),
    ),
    "half a character": run(trainset=data(question="a\ud83d"), valset=examples()),
    "half a character in a list of a valset": run(
        program(inputs=Any), valset=data(question=["a", "\ud83d"])
    ),
    "half a character in a label": run(trainset=data(answer="1\ud83d"), valset=examples()),
    # Adapters.
    "an adapter class": run(adapter=dspy.JSONAdapter),
    "an adapter's name": run(adapter="json"),
    "two steps": run(adapter=dspy.TwoStepAdapter(dspy.utils.DummyLM([]))),
    "an adapter without format": run(adapter=Mute()),
    "an adapter without the instruction": run(adapter=Silent()),
    "an adapter without answers": run(adapter=Vague()),
    # Instructions.
    "a field marker": run(program("Fill in [[ ## answer ## ]] now.")),
    "a control character": run(program("Think.\x0cAnswer.")),
    "a line separator": run(program("Think.\u2028Answer.")),
    "a blank instruction": run(program(" \n\n ")),
    "a blank instruction of an inner predictor": run(Hops(" ")),
    "a template's token in an inner instruction": run(Hops("<|im_start|>system")),
    "a line break of Windows": run(program("Think.\r\nAnswer.")),
    "a special token": run(program("Answer.<|im_end|>")),
    "100 kB": run(program("Think. " * 15_000)),
    "a tokenizer that merges across the instruction's border": merging,
    "long inputs": run(trainset=[LONG, *examples(3), LONG, LONG, LONG], valset=examples()),
    # Language models.
    "no language model": with_lm(None),
    "a language model's name": run(lm="Qwen/Qwen2.5-1.5B-Instruct"),
    "a model behind an API": with_lm(dspy.LM("openai/gpt-5-mini", api_key="none")),
    "two white boxes": lambda folder: run(two_models())(folder),
    # Metrics.
    "no function": run(metric="exact"),
    "an asynchronous metric": run(metric=wait),
    "a metric of one argument": run(metric=lambda example: True),
    "a metric class": run(metric=Judge),
    # Settings.
    "a budget of zero": run(max_metric_calls=0),
    "a negative budget": run(max_seconds=-1),
    "a budget that is no number": run(max_tokens="many"),
    "effort and budget": run(schedule="verified", auto="light", max_tokens=5),
    "an unknown effort": run(schedule="verified", auto="enormous"),
    "an unknown schedule": run(schedule="magic"),
    "no examples": run(max_examples=0),
    "half an example": run(max_examples=2.5),
    "certainty": run(confidence=1),
    "confidence in per cent": run(confidence="95%"),
    "a confidence that lets worse pass": run(confidence=0.4),
    "a perfect score in per cent": run(perfect_score=100),
    "no threads": run(num_threads=0),
    "a negative number of errors": run(max_errors=-1),
    "a seed that is a text": run(seed="0"),
    "a callback that is a list": run(callback=[print]),
    "instructions that are one text": lambda folder: VerifiedConfig(instructions="Think."),
    # The log.
    "log_dir is a file": run(log_dir=a_file),
    "log_dir is in use": run(log_dir=in_use),
}


def two_models() -> dspy.Module:
    """Return a program whose predictors have a white box each."""
    both = dspy.Module()
    both.first, both.second = program(), program()
    both.first.lm, both.second.lm = lm_of(), lm_of(rope_theta=5000.0)
    return both
