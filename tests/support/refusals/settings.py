"""With which words adapters, instructions, models, metrics and settings are refused."""

from __future__ import annotations

from dspy_greater.lm import NotWhiteBoxError
from dspy_greater.model import ContextError
from dspy_greater.program import InstructionError, MetricError, RenderingError
from dspy_greater.record import CheckpointError

OF_SETTINGS: dict[str, tuple[type[Exception], str]] = {
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
    "certainty": (ValueError, "confidence must be at least 0.5 and below 1, not 1"),
    "confidence in per cent": (
        ValueError,
        "confidence must be at least 0.5 and below 1, not '95%'",
    ),
    "a confidence that lets worse pass": (
        ValueError,
        "confidence must be at least 0.5 and below 1, not 0.4",
    ),
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
        "instructions must be a tuple of texts, none empty, not 'Think.'",
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
