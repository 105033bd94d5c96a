"""The predictors of a program, and programs with other instructions in them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.clients.base_lm import BaseLM

from dspy_greater.program.errors import ProgramError
from dspy_greater.program.instructions import check_instruction
from dspy_greater.program.rendering import AdapterCall

# What DSPy's modules call the text before the answer. A dataset may hold worked
# solutions under these names; the model is to reason in its own words.
_REASONING = frozenset({"reasoning", "rationale"})

# DSPy's agents that put the user's instruction first and their own text behind it, with the tools
# that they add by themselves. CodeAct is a ReAct, so it comes first.
_AGENTS = {"CodeAct": "", "ReAct": "finish", "ReActV2": "submit"}


@dataclass(frozen=True)
class Predictor:
    """One of a program's predictors, at the start; ``module`` is the student's own.

    ``label_fields`` have gold values in the trainset, those of a ``label_fn`` in some examples. No
    search may touch the ``fixed`` end of its instruction, an agent's list of tools.
    """

    name: str
    signature: type[dspy.Signature] = field(repr=False)
    module: dspy.Predict = field(repr=False)
    label_fields: tuple[str, ...]
    fixed: str = field(default="", repr=False)

    @property
    def instruction(self) -> str:
        """The instruction at the start, without what is fixed: the text that a search replaces."""
        return str(self.signature.instructions).removesuffix(self.fixed)

    def whole(self, text: str) -> str:
        """Return the instruction that the predictor gets where a search has found ``text``."""
        return text + self.fixed


def check_program(program: Any) -> None:
    """Raise unless the program is a DSPy module with an instruction to improve."""
    if not isinstance(program, dspy.Module):
        if isinstance(program, type):
            name = program.__name__
            raise ProgramError(
                f"The student is the class {name}, not a program: create it first, {name}(...)."
            )
        raise ProgramError(
            f"The student is a {type(program).__name__}, not a dspy.Module: give a program such as "
            "dspy.Predict('question -> answer')."
        )
    if not program.named_predictors():
        raise ProgramError(
            f"{type(program).__name__} has no dspy.Predict whose instruction could be improved "
            "(predictors inside a compiled sub-program are frozen): optimize a program with one."
        )


def predictors_of(program: dspy.Module, trainset: Sequence[dspy.Example]) -> list[Predictor]:
    """Return the predictors of a program, in its order, but for those that are compiled already."""
    check_program(program)
    labels = {name for example in trainset for name in example.labels()}
    return [
        Predictor(
            name=name,
            signature=predictor.signature,
            module=predictor,
            label_fields=label_fields(predictor.signature, labels),
            fixed=_fixed(program, predictor),
        )
        for name, predictor in program.named_predictors()
    ]


def call_of(predictor: Predictor, example: dspy.Example) -> AdapterCall:
    """Return the call that a program of this one predictor makes on an example."""
    # Not toDict(), which takes pydantic models and conversations apart.
    inputs = dict(example.inputs().items())
    values: dict[str, Any] = {}
    for name, info in predictor.signature.input_fields.items():
        if name in inputs:
            values[name] = inputs[name]
        elif not info.is_required():
            values[name] = info.get_default(call_default_factory=True)
    return AdapterCall(predictor.signature, predictor.module.demos, values)


def replace_instruction(program: dspy.Module, instructions: Mapping[str, str]) -> dspy.Module:
    """Return a copy with other instructions by predictor name, each as of ``Predictor.whole``."""
    predictors = dict(program.named_predictors())
    for name, text in instructions.items():
        if name not in predictors:
            raise KeyError(f"The program has no predictor {name!r}, only {sorted(predictors)}.")
        check_instruction(predictors[name].signature, text, name)
    twin = copy_program(program)
    for name, predictor in twin.named_predictors():
        if name in instructions:
            predictor.signature = predictor.signature.with_instructions(instructions[name])
    return twin


def copy_program(program: dspy.Module) -> dspy.Module:
    """Deep-copy a program, sharing its language models with their histories and engines."""
    modules = [module for _, module in program.named_sub_modules()]
    parts = [part for module in modules for part in _parts(vars(module))]
    # deepcopy takes what its memo holds instead of a copy.
    memo: dict[int, Any] = {id(part): part for part in parts if isinstance(part, BaseLM)}
    try:
        return copy.deepcopy(program, dict(memo))
    except Exception:  # it holds something that cannot be copied: a lock, a client
        shared = (part for part in parts if not _is_copied(part, memo))
        return copy.deepcopy(program, {**memo, **{id(part): part for part in shared}})


def label_fields(signature: type[dspy.Signature], labels: set[str]) -> tuple[str, ...]:
    """Return the output fields that are labelled; reasoning only where nothing else is."""
    fields = tuple(name for name in signature.output_fields if name in labels)
    return tuple(name for name in fields if name not in _REASONING) or fields


def lists_tools(program: dspy.Module, predictor: Predictor) -> bool:
    """Return whether an instruction names all tools of the module that its predictor is part of."""
    text = predictor.signature.instructions
    return any(
        module.tools and all(str(name) in text for name in module.tools)
        for module, _ in _with_tools(program, predictor.module)
    )


def _fixed(program: dspy.Module, predictor: dspy.Predict) -> str:
    """Return what one of DSPy's agents wrote behind the user's instruction; ``""`` if none did."""
    # The agent is made anew: an optimizer may have changed the user's part since.
    for module, name in _with_tools(program, predictor):
        kinds = [kind for kind in _AGENTS if isinstance(module, getattr(dspy, kind, ()))]
        if kinds:
            agent = getattr(dspy, kinds[0])
            tools = [tool for key, tool in module.tools.items() if key != _AGENTS[kinds[0]]]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the user has seen it
                anew = dict(agent(module.signature, tools=tools).named_predictors())
            text = str(anew[name].signature.instructions) if name in anew else ""
            fixed = text.removeprefix(module.signature.instructions)
            if text != fixed != "" and predictor.signature.instructions.endswith(fixed):
                return fixed
    return ""


def _with_tools(program: dspy.Module, predictor: dspy.Predict) -> Iterator[tuple[Any, str]]:
    """Yield the modules with tools that a predictor is part of, and its name in each."""
    for _, module in program.named_sub_modules():
        if isinstance(getattr(module, "tools", None), dict):
            yield from ((module, n) for n, each in module.named_predictors() if each is predictor)


def _parts(value: Any) -> Iterator[Any]:
    """Yield what a module's containers hold."""
    if isinstance(value, (list, tuple, dict)):
        for each in list(value.values()) if isinstance(value, dict) else value:
            yield from _parts(each)
    else:
        yield value


def _is_copied(part: Any, memo: Mapping[int, Any]) -> bool:
    if isinstance(part, dspy.Module):
        return True  # of its parts
    try:
        copy.deepcopy(part, dict(memo))  # a copy that fails leaves half-made objects in its memo
    except Exception:
        return False
    return True
