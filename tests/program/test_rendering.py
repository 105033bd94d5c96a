"""Spans cut exactly the instruction and the values, whatever else repeats their text."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal
from xml.sax.saxutils import unescape

import dspy
import pydantic
import pytest
from dspy.adapters.baml_adapter import BAMLAdapter
from dspy.adapters.utils import format_field_value, serialize_for_json
from dspy.utils.exceptions import AdapterParseError
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from dspy_greater.basics.spans import INSTRUCTION
from dspy_greater.program import (
    AdapterCall,
    InstructionError,
    Rendered,
    RenderingError,
    check_instruction,
    normalise,
    render,
)
from dspy_greater.program.rendering import assistant_text, end_marks


class Person(pydantic.BaseModel):
    name: str
    age: int


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


# Wall time is no fault on a busy machine.
thorough = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ADAPTERS = [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter(), BAMLAdapter()]
adapters = st.sampled_from(ADAPTERS)
every_adapter = pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)

# Letters that recur in every value, markup, quotes, and any printable character.
printable = st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"))
texts = st.text(st.one_of(st.sampled_from('ab "\\<>&{}[]#\n'), printable), max_size=12)
answers = texts.map(str.strip).filter(bool).filter(lambda text: "[[ ##" not in text)
words = st.text(st.sampled_from('ab<&é"\\'), min_size=1, max_size=5)

TYPED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, answers),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (Literal["yes", "no", "1"], st.sampled_from(["yes", "no", "1"])),
    (Literal[1, 2], st.sampled_from([1, 2])),
    (Colour, st.sampled_from(Colour)),
    (list[str], st.lists(words, max_size=3)),
    (list[int], st.lists(st.integers(), max_size=3)),
    (dict[str, int], st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3)),
    (Person, st.builds(Person, name=words, age=st.integers())),
    (list[Person], st.lists(st.builds(Person, name=words, age=st.integers()), max_size=2)),
]
typed_values = st.sampled_from(TYPED).flatmap(lambda t: st.tuples(st.just(t[0]), t[1]))


def signature_of(annotation: Any, instruction: str = "Answer.") -> type[dspy.Signature]:
    fields = {
        "question": (str, dspy.InputField()),
        "reasoning": (str, dspy.OutputField()),
        "answer": (annotation, dspy.OutputField()),
        "remark": (str, dspy.OutputField()),
    }
    return dspy.Signature(fields, instruction)


def cut(rendered: Rendered, name: str) -> str:
    span = rendered.spans[name]
    turns = [message["content"] for message in rendered.messages] + [rendered.completion or ""]
    return turns[span.message][span.start : span.end]


def written(adapter: dspy.Adapter, outputs: dict[str, Any], sig: Any) -> list[tuple[str, str]]:
    """The assistant turn as (frame before the value, value) pairs, written by hand."""
    pieces = []
    for index, (name, value) in enumerate(outputs.items()):
        plain = serialize_for_json(value)
        if isinstance(adapter, dspy.JSONAdapter):
            frame = ("{\n" if index == 0 else ",\n") + f'  "{name}": '
            text = json.dumps(plain, indent=2, ensure_ascii=False).replace("\n", "\n  ")
            quote = '"' if isinstance(plain, str) else ""
            if index and pieces[-1][2]:
                frame = '"' + frame
            pieces.append((frame + quote, text[len(quote) : len(text) - len(quote)], quote))
        elif isinstance(adapter, dspy.XMLAdapter):
            text = format_field_value(sig.output_fields[name], value)
            if sig.output_fields[name].annotation is str:
                text = text.replace("&", "&amp;").replace("<", "&lt;")
            close = f"\n</{list(outputs)[index - 1]}>\n\n" if index else ""
            pieces.append((f"{close}<{name}>\n", text, ""))
        else:
            header = ("\n\n" if index else "") + f"[[ ## {name} ## ]]\n"
            pieces.append((header, format_field_value(sig.output_fields[name], value), ""))
    return [(frame, text) for frame, text, _ in pieces]


def nested_xml(adapter: dspy.Adapter, annotation: Any) -> bool:
    return isinstance(adapter, dspy.XMLAdapter) and annotation not in (
        *(str, int, float, bool, Colour),
        *(Literal["yes", "no", "1"], Literal[1, 2]),
    )


@thorough
@given(adapter=adapters, reasoning=answers, typed=typed_values, question=texts, demo=st.booleans())
@example(dspy.JSONAdapter(), '"answer": "a"', (str, "a"), "a", True)
@example(dspy.ChatAdapter(), "answer\n\nAnswer.", (str, "Answer."), "Answer.", True)
@example(dspy.XMLAdapter(), "a", (str, "</answer>"), "a", False)
def test_every_value_span_is_the_adapters_own_text(adapter, reasoning, typed, question, demo):
    annotation, answer = typed
    assume(not nested_xml(adapter, annotation))  # Written differently: see below.
    signature = signature_of(annotation)
    outputs = {"reasoning": reasoning, "answer": answer}
    demos = [{"question": question, **outputs, "remark": reasoning}] if demo else []

    rendered = render(adapter, AdapterCall(signature, demos, {"question": question}), outputs)

    pieces = written(adapter, outputs, signature)
    assert [cut(rendered, name) for name in outputs] == [value for _, value in pieces]
    # Concatenated, they are the completion: so each is also in its place, and
    # nothing stands after the gold value.
    assert rendered.completion == "".join(frame + value for frame, value in pieces)
    assert all(rendered.spans[name].message == len(rendered.messages) for name in outputs)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (list[str], ["a<b", "b"], "<item>a&lt;b</item><item>b</item>"),
        (Person, Person(name="answer", age=3), "<name>answer</name><age>3</age>"),
        (list[str], [], " /"),
    ],
)
def test_nested_xml_spans_are_between_the_fields_tags(annotation, value, expected):
    outputs = {"reasoning": "<answer><item>b</item>", "answer": value}
    call = AdapterCall(signature_of(annotation), [], {"question": "?"})
    rendered = render(dspy.XMLAdapter(), call, outputs)
    assert cut(rendered, "answer") == expected
    assert cut(rendered, "reasoning") == "&lt;answer>&lt;item>b&lt;/item>"
    assert rendered.completion.endswith(expected)


@thorough
@given(adapter=adapters, reasoning=answers, typed=typed_values)
def test_what_is_rendered_is_what_the_adapter_parses(adapter, reasoning, typed):
    annotation, answer = typed
    signature = signature_of(annotation).delete("remark")
    outputs = {"reasoning": reasoning, "answer": answer}
    rendered = render(adapter, AdapterCall(signature, [], {"question": "?"}), outputs)
    text = assistant_text(adapter, signature, outputs)
    assert text.startswith(rendered.completion)
    assert adapter.parse(signature, text) == outputs


def test_json_string_spans_hold_the_escapes_and_not_the_quotes():
    outputs = {"reasoning": 'say "a"\nthen', "answer": 'é"\\'}
    call = AdapterCall(signature_of(str), [], {"question": "?"})
    rendered = render(dspy.JSONAdapter(), call, outputs)
    assert cut(rendered, "answer") == 'é\\"\\\\'
    assert json.loads(f'"{cut(rendered, "reasoning")}"') == outputs["reasoning"]


def test_xml_strings_are_cut_as_escaped():
    call = AdapterCall(signature_of(str), [], {"question": "?"})
    rendered = render(dspy.XMLAdapter(), call, {"reasoning": "r", "answer": "a<b & c"})
    assert unescape(cut(rendered, "answer")) == "a<b & c"


def as_instruction(text: str) -> str:
    return normalise(signature_of(str), text)


@thorough
@given(adapter=adapters, instruction=texts, question=texts, with_demo=st.booleans())
@example(dspy.ChatAdapter(), "Answer.\n  In short.\n\nAnswer.", "Answer.", True)
@example(dspy.ChatAdapter(), "your objective is: ", "?", True)
def test_the_instruction_span_is_the_whole_instruction(adapter, instruction, question, with_demo):
    instruction = as_instruction(instruction)
    signature = signature_of(str, instruction)
    try:
        check_instruction(signature, instruction)
    except InstructionError:
        assume(False)
    demo = {"question": instruction, "reasoning": "r", "answer": instruction, "remark": "m"}

    rendered = render(
        adapter,
        AdapterCall(signature, [demo] * with_demo, {"question": question}),
        {"reasoning": "r"},
    )

    span = rendered.spans[INSTRUCTION]
    system = rendered.messages[span.message]["content"]
    lines = cut(rendered, INSTRUCTION).split("\n")
    # Adapters put the instruction last and indent its later lines by 8 spaces.
    assert (span.message, span.end) == (0, len(system))
    assert [lines[0], *(line.removeprefix(" " * 8) for line in lines[1:])] == instruction.split(
        "\n"
    )


@every_adapter
def test_a_changed_instruction_changes_nothing_outside_its_span(adapter):
    def halves(instruction: str) -> tuple[str, str]:
        call = AdapterCall(signature_of(str, instruction), [], {"question": "?"})
        rendered = render(adapter, call)
        span = rendered.spans[INSTRUCTION]
        content = rendered.messages[span.message]["content"]
        return content[: span.start], content[span.end :]

    assert halves("Answer.") == halves("Think first.\nThen answer.")


@every_adapter
def test_what_is_fixed_at_the_end_of_an_instruction_is_outside_its_span(adapter):
    fixed = "\n\nYou may call:\n(1) add"
    call = AdapterCall(
        signature_of(str, "Think.\nThen answer." + fixed), [], {"question": "?"}, fixed
    )
    rendered = render(adapter, call, {"reasoning": "so"})
    assert cut(rendered, INSTRUCTION).split() == ["Think.", "Then", "answer."]
    span = rendered.spans[INSTRUCTION]
    rest = rendered.messages[0]["content"][span.end :]
    assert [line.strip() for line in rest.splitlines()] == ["", "", "You may call:", "(1) add"]


@every_adapter
def test_the_prompt_is_the_adapters_own(adapter):
    signature = signature_of(str)
    demo = {"question": "1+1?", "reasoning": "sum", "answer": "2", "remark": "-"}
    rendered = render(adapter, AdapterCall(signature, [demo], {"question": "2+2?"}))
    assert list(rendered.messages) == adapter.format(signature, [demo], {"question": "2+2?"})
    assert rendered.completion is None
    assert set(rendered.spans) == {INSTRUCTION}


@every_adapter
def test_the_last_given_field_ends_the_completion(adapter):
    call = AdapterCall(signature_of(int), [], {"question": "?"})
    short = render(adapter, call, {"reasoning": "so"})
    longer = render(adapter, call, {"reasoning": "so", "answer": 7})
    assert short.completion.endswith("so")
    assert longer.completion.endswith("7")
    assert longer.completion.startswith(short.completion)
    assert longer.spans["reasoning"] == short.spans["reasoning"]


def test_a_text_like_the_search_marker_does_no_harm():
    call = AdapterCall(signature_of(str, "VALUE0MARK VALUE1MARK"), [], {"question": "VALUE0MARK"})
    rendered = render(dspy.ChatAdapter(), call, {"reasoning": "VALUE0MARK", "answer": "VALUE1MARK"})
    assert cut(rendered, INSTRUCTION) == "VALUE0MARK VALUE1MARK"
    assert cut(rendered, "answer") == "VALUE1MARK"


def test_a_gap_in_the_outputs_is_an_error():
    call = AdapterCall(signature_of(str), [], {"question": "?"})
    with pytest.raises(RenderingError, match="'reasoning' has no value"):
        render(dspy.ChatAdapter(), call, {"answer": "a"})


@every_adapter
def test_conversations_are_rendered_with_their_turns(adapter):
    fields = {
        "history": (dspy.History, dspy.InputField()),
        "question": (str, dspy.InputField()),
        "answer": (str, dspy.OutputField()),
    }
    signature = dspy.Signature(fields, "Answer.")
    history = dspy.History(messages=[{"question": "Answer.", "answer": "4"}])
    call = AdapterCall(signature, [], {"history": history, "question": "2+2?"})
    rendered = render(adapter, call, {"answer": "4"})
    roles = [message["role"] for message in rendered.messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert (cut(rendered, INSTRUCTION), cut(rendered, "answer")) == ("Answer.", "4")


def test_images_are_an_error():
    signature = dspy.Signature(
        {"image": (dspy.Image, dspy.InputField()), "answer": (str, dspy.OutputField())}
    )
    call = AdapterCall(signature, [], {"image": dspy.Image(url="https://example.com/a.png")})
    with pytest.raises(RenderingError, match=r"the input image=Image.* holds an image"):
        render(dspy.ChatAdapter(), call)
    picture = {"image": dspy.Image(url="https://example.com/a.png"), "answer": "a cat"}
    with pytest.raises(RenderingError, match="a demo holds an image"):
        render(dspy.ChatAdapter(), AdapterCall(signature, [picture], {"image": "none"}))


XML, JSON = dspy.XMLAdapter(), dspy.JSONAdapter()


def test_only_chat_answers_have_an_end_mark_that_may_be_cut_off():
    assert end_marks(dspy.ChatAdapter()) == ("\n[[ ## completed ## ]]",)
    assert end_marks(XML) == end_marks(JSON) == ()
    signature = dspy.Signature("question -> code: str, answer: int")
    # The last tag of an XML answer is a plain text, but without it nothing can be read.
    text = assistant_text(XML, signature, {"code": "f()", "answer": 3})
    with pytest.raises(AdapterParseError):
        XML.parse(signature, text.removesuffix("</answer>"))
    # What ends a JSON answer also stands in the code that models write into its strings.
    text = '{"code": "x = {\n}\nf(x)", "answer": 3\n}'
    assert JSON.parse(signature, text) == {"code": "x = {\n}\nf(x)", "answer": 3}
    with pytest.raises(AdapterParseError):
        JSON.parse(signature, text.partition("\n}")[0])


def test_an_adapter_that_hides_the_instruction_is_an_error():
    class Silent(dspy.ChatAdapter):
        def format_task_description(self, signature):
            return "Go."

    with pytest.raises(RenderingError, match="Silent does not put the signature's instructions"):
        render(Silent(), AdapterCall(signature_of(str), [], {"question": "?"}))


def test_rendering_is_not_reported_to_the_users_callbacks():
    class Listener(dspy.utils.callback.BaseCallback):
        heard = 0

        def on_adapter_format_start(self, call_id, instance, inputs):
            self.heard += 1

    listener = Listener()
    with dspy.context(callbacks=[listener]):
        render(dspy.ChatAdapter(), AdapterCall(signature_of(str), [], {"question": "?"}))
    assert listener.heard == 0


@every_adapter
@pytest.mark.parametrize("last", ["answer", "remark"])
def test_an_empty_value_at_the_end_is_told_by_what_stands_behind_it(
    adapter: dspy.Adapter, last: str
) -> None:
    signature = signature_of(str)
    names = list(signature.output_fields)
    outputs = dict.fromkeys(names[: names.index(last) + 1], "words") | {last: ""}
    call = AdapterCall(signature, [], {"question": "Why?"})
    rendered = render(adapter, call, outputs)
    told = cut(rendered, last)
    assert told.strip()
    assert rendered.completion is not None
    assert rendered.completion.endswith(told)
    assert assistant_text(adapter, signature, outputs).startswith(rendered.completion)
    for word in ("words", "Not supplied"):
        assert word not in told
    full = render(adapter, call, outputs | {last: "words"}).completion
    assert full is not None
    assert full.removesuffix("words") == rendered.completion.removesuffix(told)
