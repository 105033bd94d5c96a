"""Which predictors are optimized, and which keep their instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dspy
from dspy.experimental import Choice, Noul, Score

from dspy_greater.program.errors import DataError, ProgramError
from dspy_greater.program.predictors import Predictor, lists_tools

#: Names of predictors, or what chooses among all names; None for all.
Selector = Sequence[str] | Callable[[list[str]], Sequence[str]] | None


def select(
    program: dspy.Module,
    found: Sequence[Predictor],
    selector: Selector = None,
    *,
    frozen: Sequence[str] = (),
    labelled: bool = False,
    relabel: Callable[[Predictor], Predictor] = lambda predictor: predictor,
) -> tuple[list[Predictor], list[str]]:
    """Return the predictors to optimize, in the program's order, and the names of the others.

    Where none is asked for by name, those that cannot be optimized are left out, and with
    ``labelled`` those without a label once ``relabel`` has given them theirs.
    """
    names = [predictor.name for predictor in found]
    wanted = _wanted(names, selector, frozen)
    chosen, passed_over = [], []
    for predictor in [relabel(each) for each in found if each.name in wanted]:
        if not (fault := _fault(program, predictor, labelled)):
            chosen.append(predictor)
        elif selector is not None:
            raise fault
        else:
            passed_over.append(predictor)
    if not chosen:
        raise _nothing_left(program, passed_over)
    kept = {predictor.name for predictor in chosen}
    return chosen, [name for name in names if name not in kept]


def _wanted(names: list[str], selector: Selector, frozen: Sequence[str]) -> list[str]:
    """Return the names that the selector chooses, without the frozen ones."""
    all_names = ", ".join(map(repr, names))
    given = list(names) if selector is None else selector
    if callable(given):
        given = list(given(list(names)))
    for setting, value in (("predictors", given), ("frozen", frozen)):
        if isinstance(value, str):
            raise ProgramError(
                f"{setting}={value!r} is not a list of names: write [{value!r}] for one predictor."
            )
        if unknown := [name for name in value if name not in names]:
            raise ProgramError(
                f"{setting} names {unknown[0]!r}, which the program does not have: its predictors "
                f"are {all_names}."
            )
    if not given:
        raise ProgramError(
            f"predictors is empty, so nothing would be optimized: choose from {all_names}."
        )
    listed = selector is not None and not callable(selector)
    if listed and (both := [name for name in frozen if name in given]):
        raise ProgramError(
            f"predictors and frozen both name {both[0]!r}: take it out of one of the two."
        )
    left = [name for name in given if name not in frozen]
    if not left:
        raise ProgramError(
            "every chosen predictor is frozen, so nothing would be "
            f"optimized: take one of {', '.join(map(repr, given))} out of frozen."
        )
    return left


def _fault(
    program: dspy.Module, predictor: Predictor, labelled: bool
) -> DataError | ProgramError | None:
    """Return why a predictor cannot be optimized."""
    if not predictor.fixed and lists_tools(program, predictor):
        return ProgramError(
            f"the instruction of predictor {predictor.name!r} lists the tools of its module, and "
            "what DSPy wrote cannot be told from what you wrote, so an edit might damage the list: "
            "leave it out of predictors, or use dspy.ReAct, whose list is kept."
        )
    if decision := _decision_field(predictor):
        return ProgramError(
            f"the output field {decision!r} of predictor {predictor.name!r} has a decision type, "
            "for which DSPy asks the model for probabilities instead of a value, so there is no "
            "answer to be made likelier: leave it out of predictors, or give "
            "the field a plain type such as bool, float or Literal[...]."
        )
    if labelled and not predictor.label_fields:
        return DataError(
            f"no output of predictor {predictor.name!r} is labelled in the trainset, and the "
            "published schedule needs a gold answer: leave it out of predictors, label "
            f"one of {list(predictor.signature.output_fields)} in the examples or by label_fn, or "
            "use schedule='verified'."
        )
    return None


def _nothing_left(program: dspy.Module, found: Sequence[Predictor]) -> DataError | ProgramError:
    """Return why none of the predictors that were wanted is left."""
    faults = [_fault(program, predictor, labelled=False) for predictor in found]
    if fault := next((fault for fault in faults if fault), None):
        return ProgramError(f"no predictor is left to optimize: {fault}")
    outputs = ", ".join(f"{each.name}: {list(each.signature.output_fields)}" for each in found)
    return DataError(
        "No output field of the program is a label of the trainset, so there is no gold value to "
        f"take gradients of. Output fields: {outputs}. Name the label like the output field, e.g. "
        "dspy.Example(question=..., answer=...).with_inputs('question'), give label_fn, or use "
        "schedule='verified', which learns from rewarded runs."
    )


def _decision_field(predictor: Predictor) -> str | None:
    for name, field in predictor.signature.output_fields.items():
        annotation = field.rebuild_annotation()  # with what Annotated[...] adds
        kinds = dspy.Type.extract_custom_type_from_annotation(annotation)
        if any(issubclass(kind, (Choice, Noul, Score)) for kind in kinds):
            return str(name)
    return None
