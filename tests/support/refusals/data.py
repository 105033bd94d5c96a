"""With which words a program, its data and its labels are refused."""

from __future__ import annotations

from dspy_greater.program import DataError, InstructionError, ProgramError, RenderingError

NO_TEXT = (
    " holds an image, a file, a native tool call or half a character (a lone surrogate), but a "
    "causal language model reads whole text alone: give it as a text, repaired where it is broken "
    "by text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace'), or leave it out."
)

OF_DATA: dict[str, tuple[type[Exception], str]] = {
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
}
