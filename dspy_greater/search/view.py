"""One predictor of a program, as the search sees it: text in, ids, runs and targets out.

This is where the DSPy side and the model side meet, through messages and spans.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import dspy

from dspy_greater.basics.scripts import scripts_of
from dspy_greater.basics.spans import INSTRUCTION, Message, Span
from dspy_greater.model import ContextError, Targeted, WhiteBox
from dspy_greater.program import (
    AdapterCall,
    InstructionError,
    Predictor,
    PredictorCall,
    Rendered,
    Run,
    beside,
    call_of,
    check_instruction,
    copied_words,
    gold_outputs,
    gold_value,
    labelled_fields,
    normalise,
    render,
    with_instructions,
)


@dataclass
class PredictorView:
    """One predictor on the training examples, within a program.

    Args:
        received: Returns the program's run on each training example: what a predictor further
            down the program was asked there. Called only where that has to be known.
        labels: Where each example's gold outputs are, if not in the example itself, or nowhere.
        labelled_only: Whether training examples without a label for the predictor are left out.
        scripts: Those beside Latin that an instruction may be written in.
    """

    predictor: Predictor
    train: Sequence[dspy.Example]
    model: WhiteBox
    adapter: dspy.Adapter
    received: Callable[[], Sequence[Run]]
    labels: Sequence[dspy.Example] | None = None
    labelled_only: bool = False
    scripts: frozenset[str] = frozenset()
    _tokens: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    _contexts: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The predictor's name."""
        return self.predictor.name

    @property
    def fields(self) -> Sequence[str]:
        """The predictor's output fields."""
        return list(self.predictor.signature.output_fields)

    @cached_property
    def examples(self) -> Sequence[int]:
        """Indices of the training examples that the predictor can learn from."""
        every = enumerate(self.labels or self.train)
        return [
            i for i, own in every if not self.labelled_only or labelled_fields(self.predictor, own)
        ]

    def check(self) -> None:
        """Refuse, before any long work, an instruction that cannot be replaced or read."""
        name, instruction = self.predictor.name, self.predictor.instruction
        if special := self.model.encoder.special_tokens_in(instruction):
            raise InstructionError(
                f"the instruction of predictor {name!r} contains the tokenizer's special token "
                f"{special[0]!r}: take it out of the text."
            )
        alone = len(self.model.encode([Message(role="system", content=instruction)]).ids)
        if alone >= self.model.context:
            raise ContextError(
                f"the instruction of predictor {name!r} has {alone} tokens by itself, which "
                f"leaves no room for an answer in the model's context of {self.model.context}. "
                "Shorten it, or use a model with a longer context."
            )
        self._check_borders(instruction)

    def too_long(self) -> dict[int, str]:
        """Return, by index, what there is to say of examples whose prompts leave no room to answer.

        Refuses those that cannot be written or read.
        """
        said = map(self._too_long, self._direct_inputs or [])
        return {index: fault for index, fault in enumerate(said) if fault}

    def _check_borders(self, instruction: str) -> None:
        """Refuse an instruction that shares a token with the adapter's text around it."""
        name, fields = self.predictor.name, self.predictor.signature.input_fields
        # What stands around an instruction does not hang on the inputs.
        blank = {
            key: dspy.History(messages=[]) if field.annotation is dspy.History else ""
            for key, field in fields.items()
        }
        rendered = self._render(self._call(instruction, blank))
        encoding = self.model.encode(rendered.messages, spans=rendered.spans)
        if (beside := encoding.overhang[INSTRUCTION]).strip():
            raise InstructionError(
                f"the tokenizer joins the instruction of predictor {name!r} with {beside!r} beside "
                "it into one token, so no other one would leave the adapter's text alone: begin "
                "and end the instruction with a word and a full stop, or use another adapter."
            )

    def _too_long(self, inputs: dict[str, Any]) -> str:
        name, shown = self.predictor.name, textwrap.shorten(repr(inputs), 120, placeholder=" ...")
        rendered = self._render(self._call(self.predictor.instruction, inputs))
        length = len(self.model.encode(rendered.messages).ids)
        if length < self.model.context:
            return ""
        return (
            f"the prompt of predictor {name!r} on the example {shown} has {length} tokens, which "
            f"leaves no room for an answer in the model's context of {self.model.context}"
        )

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """Return the ids that the instruction has inside the rendered prompt."""
        if instruction not in self._tokens:
            rendered = self._render(self._call(instruction, self._inputs[self.examples[0]]))
            encoding = self.model.encode(rendered.messages, spans=rendered.spans)
            self._tokens[instruction] = encoding.ids[slice(*encoding.spans[INSTRUCTION])]
        return self._tokens[instruction]

    def instruction(self, text: str) -> str | None:
        """Return a text as an instruction, or None if it cannot be one.

        It is tokenised anew where it stands: ids that a model wrote elsewhere need not be its own.
        """
        kept = self._kept(text.strip())
        if kept is None:
            return None
        try:
            self._check_borders(kept)
        except InstructionError:
            return None
        return kept

    def _kept(self, text: str) -> str | None:
        """Return what of a text reaches the prompt as an instruction; None if it cannot be one."""
        signature = self.predictor.signature
        text = normalise(signature, text)
        # Half a character decodes to U+FFFD.
        if "\ufffd" in text or not scripts_of(text) <= self.scripts:
            return None
        try:
            check_instruction(signature, text)
            check_instruction(signature, self.predictor.whole(text))
        except InstructionError:
            return None
        return None if self.model.encoder.special_tokens_in(text) else text

    def answers(
        self, instruction: str, runs: Sequence[Run], examples: Sequence[int]
    ) -> list[Targeted | None]:
        """Return, per run, prompt + the run's reasoning + gold answer, gold as target.

        It follows empty reasoning where a run could not be parsed, so that a candidate which breaks
        the format on hard examples gains nothing by it. ``None`` where no output is labelled, or
        the whole cannot be rendered or read.
        """
        pairs = zip(examples, runs, strict=True)
        return [self._answer(instruction, index, run) for index, run in pairs]

    def contexts(self, examples: Sequence[int]) -> list[tuple[int, ...]]:
        """Return, per example, its inputs, open for an instruction.

        A user turn of its own, in which the instruction follows what it is about; in the
        program's prompt it stands before the inputs and cannot see them.
        """
        return list(map(self._context, examples))

    def texts(self, index: int) -> dict[str, str]:
        """Return a training example's inputs of this predictor by field, as text."""
        return {name: str(value) for name, value in self._inputs[index].items()}

    def label_texts(self, index: int) -> dict[str, str]:
        """Return a training example's labels of this predictor by field, as text."""
        its = (self.labels or self.train)[index]
        names = labelled_fields(self.predictor, its)
        return {name: str(gold_value(self.predictor, name, its)) for name in names}

    def output_texts(self, run: Run) -> dict[str, str]:
        """Return what this predictor last wrote in a run by field, as text."""
        return {name: str(value) for name, value in self._last_call(run).outputs.items()}

    def copied_words(self, instruction: str) -> Sequence[str]:
        """Return the words that an instruction has taken from single training examples."""
        examples = [self.train[index] for index in self.examples]
        if self.labels is not None:
            examples = [beside(self.train[i], self.labels[i]) for i in self.examples]
        return copied_words(instruction, self.predictor.instruction, examples)

    @cached_property
    def _inputs(self) -> list[dict[str, Any]]:
        """Each example's inputs of this predictor: its own, or those received in a run."""
        if self._direct_inputs is not None:
            return self._direct_inputs
        received = [self._last_call(run).inputs for run in self.received()]
        names = self.predictor.signature.input_fields
        return [
            {name: inputs.get(name, example.get(name, "")) for name in names}
            for inputs, example in zip(received, self.train, strict=True)
        ]

    @cached_property
    def _direct_inputs(self) -> list[dict[str, Any]] | None:
        """The examples' own inputs, if they are all that the predictor needs."""
        calls = [call_of(self.predictor, example).inputs for example in self.train]
        names = self.predictor.signature.input_fields.keys()
        return calls if all(inputs.keys() == names for inputs in calls) else None

    def _context(self, index: int) -> tuple[int, ...]:
        inputs = self._inputs[index].items()
        text = "".join(f"{name}: {value}\n" for name, value in inputs) + "\ninstruction:"
        if text not in self._contexts:
            turn = Message(role="user", content=text)
            self._contexts[text] = self.model.encode([turn], open_end=True).ids
        return self._contexts[text]

    def _last_call(self, run: Run) -> PredictorCall:
        """Return the predictor's last call in a run, an empty one if it was not called."""
        calls = run.calls.get(self.predictor.name)
        return calls[-1] if calls else PredictorCall({}, {})

    def _call(self, instruction: str, inputs: dict[str, Any]) -> AdapterCall:
        its, signature = self.predictor, cast(Any, self.predictor.signature)
        whole = with_instructions(signature, its.whole(instruction))
        return AdapterCall(whole, its.module.demos, inputs, its.fixed)

    def _render(self, call: AdapterCall, outputs: dict[str, Any] | None = None) -> Rendered:
        with self.model.phase("render"):
            return render(self.adapter, call, outputs)

    def _answer(self, instruction: str, index: int, run: Run) -> Targeted | None:
        labels = (self.labels or self.train)[index]
        fields = labelled_fields(self.predictor, labels)
        if not fields:
            return None
        last = self._last_call(run)
        call = self._call(instruction, last.inputs or self._inputs[index])
        outputs = {name: last.outputs.get(name, "") for name in call.signature.output_fields}
        gold = gold_outputs(self.predictor, labels, outputs)
        rendered = self._render(call, gold)
        encoding = self.model.encode(
            rendered.messages,
            completion=rendered.completion,
            thinking=last.thinking,
            spans=rendered.spans,
        )
        position = encoding.spans[INSTRUCTION]
        if encoding.ids[slice(*position)] != self.tokens(instruction):
            return None
        spans = [encoding.spans[field] for field in fields if field in encoding.spans]
        targets = Span(spans[0].start, spans[-1].end)
        if targets.end > self.model.context:
            return None
        return Targeted(encoding.ids[: targets.end], targets=targets, inputs=position)
