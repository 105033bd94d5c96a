"""The part of an agent's instruction that DSPy wrote: how to call tools, and which there are."""

from __future__ import annotations

import warnings

import dspy

#: DSPy's agents that put the user's instruction first and their own text behind it. CodeAct is a
#: ReAct, so it is asked for first. The second entry names tools that the agent adds by itself.
_AGENTS: tuple[tuple[str, frozenset[str]], ...] = (
    ("CodeAct", frozenset()),
    ("ReAct", frozenset({"finish"})),
    ("ReActV2", frozenset({"submit"})),
)


def fixed_part(program: dspy.Module, predictor: dspy.Predict) -> str:
    """Return the end of a predictor's instruction that an edit must not touch; ``""`` if none.

    DSPy's agents write how to call tools, and the list of them, behind the instruction of the
    signature that the user gave. What they write is found by making the same agent anew, so it is
    known even where an optimizer has changed the user's part since.
    """
    for _, module in program.named_sub_modules():
        found = next((name for name, each in module.named_predictors() if each is predictor), None)
        if found is None or not isinstance(getattr(module, "tools", None), dict):
            continue
        original = _original(module, found)
        if original is None:
            continue
        own = original[len(module.signature.instructions) :]
        if own and predictor.signature.instructions.endswith(own):
            return own
    return ""


def lists_tools(program: dspy.Module, predictor: dspy.Predict) -> bool:
    """Return whether an instruction names all tools of the module that its predictor is part of."""
    for _, module in program.named_sub_modules():
        tools = getattr(module, "tools", None)
        if not isinstance(tools, dict) or not tools:
            continue
        mine = any(each is predictor for each in module.predictors())
        if mine and all(str(name) in predictor.signature.instructions for name in tools):
            return True
    return False


def _original(module: dspy.Module, name: str) -> str | None:
    """Return the instruction that a predictor of an agent of DSPy's had in the beginning."""
    for kind, added in _AGENTS:
        agent = getattr(dspy, kind, None)
        if agent is None or not isinstance(module, agent):
            continue
        tools = [tool for key, tool in module.tools.items() if key not in added]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the user has seen it
            predictors = dict(agent(module.signature, tools=tools).named_predictors())
        if name not in predictors:
            return None
        text = str(predictors[name].signature.instructions)
        return text if text.startswith(module.signature.instructions) else None
    return None
