"""Every input that cannot be meant is refused by name, before the model has written a token.

The inputs are in ``tests/support/bad_input.py``. Each message says where the fault is (predictor,
field, example or setting) and how to mend it. "…" stands for what may differ.
"""

from __future__ import annotations

import re
from pathlib import Path

import dspy
import pytest

from dspy_greater.lm import NotWhiteBoxError, white_box
from dspy_greater.model import ContextError
from dspy_greater.program import (
    DataError,
    InstructionError,
    MetricError,
    ProgramError,
    RenderingError,
)
from dspy_greater.record import CheckpointError
from tests.support.bad_input import REFUSED, held
from tests.support.compiling import configured, lm

NO_TEXT = (
    " holds an image, a file, a native tool call or half a character (a lone surrogate), but a "
    "causal language model reads whole text alone: give it as a text, repaired where it is broken "
    "by text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace'), or leave it out."
)


__all__ = ["configured", "lm"]

SAID: dict[str, tuple[type[Exception], str]] = {
    "a class": (
        ProgramError,
        "The student is the class Predict, not a program: create it first, Predict(...).",
    ),
    "a function": (
        ProgramError,
        "The student is a builtin_function_or_method, not a dspy.Module: give a program "
        "such as dspy.Predict('question -> answer').",
    ),
    "a text as student": (
        ProgramError,
        "The student is a str, not a dspy.Module: give a program such as "
        "dspy.Predict('question -> answer').",
    ),
    "no predictor": (
        ProgramError,
        "Empty has no dspy.Predict whose instruction could be improved (predictors inside a"
        " compiled sub-program are frozen): optimize a program with one.",
    ),
    "compiled parts alone": (
        ProgramError,
        "Frozen has no dspy.Predict whose instruction could be improved (predictors inside "
        "a compiled sub-program are frozen): optimize a program with one.",
    ),
    "trainset is a dict": (
        DataError,
        "trainset is a dict: give a list of dspy.Example, e.g. [dspy.Example(question=..., "
        "answer=...).with_inputs('question')].",
    ),
    "trainset is a generator": (
        DataError,
        "trainset is a generator: give a list of dspy.Example, e.g. "
        "[dspy.Example(question=..., answer=...).with_inputs('question')].",
    ),
    "trainset is a text": (
        DataError,
        "trainset is a str: give a list of dspy.Example, e.g. [dspy.Example(question=..., "
        "answer=...).with_inputs('question')].",
    ),
    "trainset is empty": (
        DataError,
        "trainset is empty: give at least one example, e.g. [dspy.Example(question=..., "
        "answer=...).with_inputs('question')].",
    ),
    "one example": (
        DataError,
        "the trainset has 1 example and there is no valset, so none is left to verify a "
        "change on. Pass more examples, or valset=[...].",
    ),
    "valset is a set": (
        DataError,
        "valset is a set: give a list of dspy.Example, e.g. [dspy.Example(question=..., "
        "answer=...).with_inputs('question')].",
    ),
    "valset is empty": (
        DataError,
        "valset is empty: give at least one example, e.g. [dspy.Example(question=..., "
        "answer=...).with_inputs('question')].",
    ),
    "an example is a dict": (
        DataError,
        "trainset[0] is a dict, not a dspy.Example: write dspy.Example(question=..., "
        "answer=...).with_inputs('question').",
    ),
    "an example is a prediction": (
        DataError,
        "trainset[0] is a Prediction, not a dspy.Example: write dspy.Example(question=..., "
        "answer=...).with_inputs('question').",
    ),
    "inputs are not named": (
        DataError,
        "trainset[0] does not say which fields are inputs: call .with_inputs(...), as in "
        "dspy.Example(question=..., answer=...).with_inputs('question').",
    ),
    "named inputs are not there": (
        DataError,
        "trainset[0] has no input among its fields ['answer', 'question']: name them, as in"
        " dspy.Example(question=..., answer=...).with_inputs('question').",
    ),
    "an input is missing": (
        DataError,
        "trainset[0] has no input 'question', which the program needs (its inputs: "
        "['text']): add the field and name it in .with_inputs(...).",
    ),
    "an input that forward does not take": (
        DataError,
        "trainset[0] has the inputs ['text'], with which Helper cannot be called (missing a"
        " required argument: 'question'): name in .with_inputs(...) the arguments of "
        "forward().",
    ),
    "no label at all": (
        DataError,
        "No output field of the program is a label of the trainset, so there is no gold "
        "value to take gradients of. Output fields: self: ['answer']. Name the label like "
        "the output field, e.g. dspy.Example(question=..., "
        "answer=...).with_inputs('question'), give label_fn, or use schedule='verified', which "
        "learns from rewarded runs.",
    ),
    "a label is missing": (
        DataError,
        "trainset[5] has no label 'answer', an output field of predictor 'self': give it "
        "one, or leave the example out.",
    ),
    "a label is NaN": (
        DataError,
        "trainset[5] has no label 'answer' (it is nan), an output field of predictor 'self': give "
        "it one, or leave the example out.",
    ),
    "a label of another type": (
        DataError,
        "trainset[5] has the label answer='twelve', which is not a value of the output "
        "field's type int in predictor 'self': change the label or the type (…).",
    ),
    "a label that is no choice": (
        DataError,
        "trainset[5] has the label answer='12', which is not a value of the output field's "
        "type typing.Literal['3', '4', '5', '6', '7'] in predictor 'self': change the label"
        " or the type (…).",
    ),
    "markup in a label": (
        DataError,
        "trainset[5] has the label answer='a\\n[[ ## completed ## ]]\\nb', an output field of"
        " predictor 'self', which ChatAdapter cannot read back from its own format: remove "
        "the adapter's markup and control characters from the label, or use another adapter"
        " (it reads {'answer': 'a'}).",
    ),
    "a label function that is a dict": (
        ValueError,
        "label_fn must be a function label_fn(example, predictor_name) that returns labels by "
        "output field, or None, not {'self': '3'}",
    ),
    "a label function that raises": (
        DataError,
        "label_fn raised KeyError: 'query' for predictor 'self' on trainset[0]. Let it return None "
        "for a predictor or an example that it has no label for.",
    ),
    "labels that are no dict": (
        DataError,
        "label_fn returned '3' for predictor 'self' on trainset[0], not a dict: let it return "
        "values by output field, of ['answer'], or None where it has no label.",
    ),
    "a label of an unknown field": (
        DataError,
        "label_fn gave a label to the field 'anwser' for predictor 'self' on trainset[0], which is "
        "none of the predictor's output fields: name one of ['answer'].",
    ),
    "an unknown predictor": (
        ProgramError,
        "predictors names 'answerer', which the program does not have: its predictors are 'self'.",
    ),
    "a name without a list": (
        ProgramError,
        "predictors='self' is not a list of names: write ['self'] for one predictor.",
    ),
    "no predictor chosen": (
        ProgramError,
        "predictors is empty, so nothing would be optimized: choose from 'self'.",
    ),
    "an unknown frozen predictor": (
        ProgramError,
        "frozen names 'answerer', which the program does not have: its predictors are 'self'.",
    ),
    "a frozen name without a list": (
        ProgramError,
        "frozen='self' is not a list of names: write ['self'] for one predictor.",
    ),
    "all predictors frozen": (
        ProgramError,
        "every chosen predictor is frozen, so nothing would be optimized: take one of 'self' out "
        "of frozen.",
    ),
    "chosen and frozen": (
        ProgramError,
        "predictors and frozen both name 'self': take it out of one of the two.",
    ),
    "tools of an unknown agent": (
        ProgramError,
        "the instruction of predictor 'act' lists the tools of its module, and what DSPy "
        "wrote cannot be told from what you wrote, so an edit might damage the list: leave "
        "it out of predictors, or use dspy.ReAct, whose list is kept.",
    ),
    "a decision type": (
        ProgramError,
        "no predictor is left to optimize: the output field 'answer' of predictor 'self' "
        "has a decision type, for which DSPy asks the model for probabilities instead of a "
        "value, so there is no answer to be made likelier: leave it out of predictors, or give "
        "the field a plain type such as bool, float or Literal[...].",
    ),
    "a criterion of a decision": (
        ProgramError,
        "the output field 'answer' of predictor 'self' has a decision type, for which DSPy "
        "asks the model for probabilities instead of a value, so there is no answer to be "
        "made likelier: leave it out of predictors, or give the field a plain type such as bool, "
        "float or Literal[...].",
    ),
    "an image": (
        RenderingError,
        "the field 'question' of predictor 'self' is a dspy.Image, but a causal language "
        "model reads and writes text alone: give a description instead, or optimize another"
        " program.",
    ),
    "a list of files": (
        RenderingError,
        "the field 'question' of predictor 'self' is a dspy.File, but a causal language "
        "model reads and writes text alone: give a description instead, or optimize another"
        " program.",
    ),
    "sound as output": (
        RenderingError,
        "the field 'answer' of predictor 'self' is a dspy.Audio, but a causal language "
        "model reads and writes text alone: give a description instead, or optimize another"
        " program.",
    ),
    "an image where a text should be": (
        RenderingError,
        f"predictor 'self': the input question=Image(url='https://a.b/c.png'){NO_TEXT}",
    ),
    "an image among others in a valset": (
        RenderingError,
        f"predictor 'self': the input question={{'seen': [Image(url='https://a.b/c.png')]}}{NO_TEXT}",
    ),
    "an image in a demo": (
        RenderingError,
        f"predictor 'self': a demo{NO_TEXT}",
    ),
    "half a character": (
        RenderingError,
        f"predictor 'self': the input question='a\\ud83d'{NO_TEXT}",
    ),
    "half a character in a list of a valset": (
        RenderingError,
        f"predictor 'self': the input question=['a', '\\ud83d']{NO_TEXT}",
    ),
    "half a character in a label": (
        DataError,
        "trainset[5] has half a character (a lone surrogate) in the labels {'answer': '1\\ud83d'} "
        "of predictor 'self', which no tokenizer can read: repair the text.",
    ),
    "a blank instruction": (
        InstructionError,
        "the instruction of predictor 'self' is empty: give the predictor a text to start from.",
    ),
    "a blank instruction of an inner predictor": (
        InstructionError,
        "the instruction of predictor 'second' is empty: give the predictor a text to start from.",
    ),
    "a template's token in an inner instruction": (
        InstructionError,
        "the instruction of predictor 'second' contains the tokenizer's special token "
        "'<|im_start|>': take it out of the text.",
    ),
    "a line break of Windows": (
        InstructionError,
        "the instruction of predictor 'self' contains the control character '\\r', which does not "
        "reach the prompt unchanged: remove it. Instruction: 'Think.\\r\\nAnswer.'",
    ),
    "an adapter class": (
        RenderingError,
        "the configured adapter is the class JSONAdapter, not a dspy.Adapter: write "
        "dspy.configure(adapter=JSONAdapter()).",
    ),
    "an adapter's name": (
        RenderingError,
        "the configured adapter is a str, not a dspy.Adapter: write "
        "dspy.configure(adapter=dspy.ChatAdapter()).",
    ),
    "two steps": (
        RenderingError,
        "TwoStepAdapter lets a second model read the answer, so no text is known that the "
        "program's own model would have to write: compile with ChatAdapter, JSONAdapter or "
        "XMLAdapter; the instruction can be used with any adapter afterwards.",
    ),
    "an adapter without format": (
        RenderingError,
        "Mute cannot write a call of predictor 'self' (NotImplementedError: ): it needs "
        "format() and format_assistant_message_content(), as in dspy.Adapter, or use "
        "ChatAdapter.",
    ),
    "an adapter without the instruction": (
        RenderingError,
        "predictor 'self': Silent does not put the signature's instructions into the prompt"
        " as they are: use ChatAdapter, JSONAdapter or XMLAdapter.",
    ),
    "an adapter without answers": (
        RenderingError,
        "predictor 'self': Vague does not write the output field 'answer' as text into the "
        "assistant turn: use ChatAdapter, JSONAdapter or XMLAdapter.",
    ),
    "a field marker": (
        InstructionError,
        "the instruction of predictor 'self' contains the field marker '[[ ## answer ## "
        "]]', which adapters use to separate fields: remove it. Instruction: 'Fill in [[ ##"
        " answer ## ]] now.'",
    ),
    "a control character": (
        InstructionError,
        "the instruction of predictor 'self' contains the control character '\\x0c', which "
        "does not reach the prompt unchanged: remove it. Instruction: 'Think.\\x0cAnswer.'",
    ),
    "a line separator": (
        InstructionError,
        "the instruction of predictor 'self' contains the control character '\\u2028', which"
        " does not reach the prompt unchanged: remove it. Instruction: "
        "'Think.\\u2028Answer.'",
    ),
    "a special token": (
        InstructionError,
        "the instruction of predictor 'self' contains the tokenizer's special token "
        "'<|im_end|>': take it out of the text.",
    ),
    "a tokenizer that merges across the instruction's border": (
        InstructionError,
        "the tokenizer joins the instruction of predictor 'self' with 'is: \\n        ' beside it "
        "into one token, so no other one would leave the adapter's text alone: begin and end the "
        "instruction with a word and a full stop, or use another adapter.",
    ),
    "100 kB": (
        ContextError,
        "the instruction of predictor 'self' has … tokens by itself, which leaves no room "
        "for an answer in the model's context of 2048. Shorten it, or use a model with a "
        "longer context.",
    ),
    "long inputs": (
        ContextError,
        "4 of 7 training examples are too long: the prompt of predictor 'self' on the example "
        "{'question': 'why why … ... has … tokens, which leaves no room for an answer in the "
        "model's context of 2048. Use shorter inputs, fewer demos, or a model with a longer "
        "context.",
    ),
    "no language model": (
        NotWhiteBoxError,
        "no language model is configured: load a model of Hugging Face into this process, "
        "lm = local_lm(...), and give it to dspy.configure(lm=lm) or to "
        "GreaterTeleprompter(metric=..., lm=lm).",
    ),
    "a language model's name": (
        NotWhiteBoxError,
        "lm is the text 'Qwen/Qwen2.5-1.5B-Instruct', not a language model: load a model of"
        " Hugging Face into this process, lm = local_lm(...), and give it to "
        "dspy.configure(lm=lm) or to GreaterTeleprompter(metric=..., lm=lm).",
    ),
    "a model behind an API": (
        NotWhiteBoxError,
        "openai/gpt-5-mini does not give access to its weights, which the search needs: load "
        "a model of Hugging Face into this process, lm = local_lm(...), and give it to "
        "dspy.configure(lm=lm) or to GreaterTeleprompter(metric=..., lm=lm). With lm= it proposes "
        "instructions, which are verified on the program's own LM.",
    ),
    "two white boxes": (
        NotWhiteBoxError,
        "the program's predictors use several LMs. Say which one is the white box: "
        "GreaterTeleprompter(metric=..., lm=local_lm(...)).",
    ),
    "no function": (
        MetricError,
        "The metric is a str, not a function: write metric(example, prediction) or "
        "metric(example, prediction, trace=None), or a GEPA metric(gold, pred, trace, "
        "pred_name, pred_trace).",
    ),
    "an asynchronous metric": (
        MetricError,
        "The metric wait is asynchronous: write an ordinary function.",
    ),
    "a metric of one argument": (
        MetricError,
        "The metric <lambda>(example) has the wrong arguments: write metric(example, "
        "prediction) or metric(example, prediction, trace=None), or a GEPA metric(gold, "
        "pred, trace, pred_name, pred_trace).",
    ),
    "a metric class": (MetricError, "The metric Judge is a class: create it first, Judge(...)."),
    "a budget of zero": (ValueError, "max_metric_calls must be a number above 0, or None, not 0"),
    "a negative budget": (ValueError, "max_seconds must be a number above 0, or None, not -1"),
    "a budget that is no number": (
        ValueError,
        "max_tokens must be a number above 0, or None, not 'many'",
    ),
    "effort and budget": (
        ValueError,
        "auto already sets the budget: give auto, or any of max_steps, max_metric_calls, "
        "max_tokens and max_seconds, not both.",
    ),
    "an unknown effort": (ValueError, "auto must be 'light', 'medium' or 'heavy', not 'enormous'"),
    "an unknown schedule": (
        ValueError,
        "schedule must be 'verified' or settings such as VerifiedConfig(...), not 'magic'",
    ),
    "no examples": (ValueError, "max_examples must be a whole number of at least 1, not 0"),
    "half an example": (ValueError, "max_examples must be a whole number of at least 1, not 2.5"),
    "certainty": (ValueError, "confidence must be above 0 and below 1, not 1"),
    "confidence in per cent": (ValueError, "confidence must be above 0 and below 1, not '95%'"),
    "a perfect score in per cent": (
        ValueError,
        "perfect_score must be a score above 0 and up to 1, or None to never stop early, not 100",
    ),
    "no threads": (ValueError, "num_threads must be a whole number of at least 1, or None, not 0"),
    "a negative number of errors": (
        ValueError,
        "max_errors must be a whole number of at least 0, or None, not -1",
    ),
    "a seed that is a text": (ValueError, "seed must be a whole number of at least 0, not '0'"),
    "a callback that is a list": (
        ValueError,
        "callback must be a function that takes a StepEvent, or None, not [<built-in "
        "function print>]",
    ),
    "instructions that are one text": (
        ValueError,
        "instructions must be a tuple of texts that are not empty, not 'Think.'",
    ),
    "log_dir is a file": (
        CheckpointError,
        "log_dir {folder}/file is a file, not a folder: give the name of a folder, which is made "
        "if it does not exist.",
    ),
    "log_dir is in use": (
        CheckpointError,
        "{folder}/mine is in use by another process: wait for it to end, or give this run a"
        " log_dir of its own.",
    ),
}


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
