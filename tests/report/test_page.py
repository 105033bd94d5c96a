"""The page is whole, says what the record says, and lets nothing of a user's text act."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import dspy
import pytest

from dspy_greater import DetailedResults
from dspy_greater.report.page import page, table
from dspy_greater.search import ScheduleConfig
from tests.support.compiling import SCHEDULES, configured, examples, lm, small, student
from tests.support.records import (
    BEST,
    HOSTILE,
    RECORDS,
    candidate,
    earlier,
    improved,
    interrupted,
    kept,
    several,
)

__all__ = ["configured", "lm", "student"]

EVERY = pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
#: Elements that HTML closes by itself.
VOID = {"meta"}
#: Elements that begin in the middle of a sentence.
INLINE = {"span", "ins", "del"}


class Outline(HTMLParser):
    """Reads a page strictly: every element that is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)
        if tag not in INLINE:
            self.words.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag} /> outside of an svg closes nothing"
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def outline(record: DetailedResults) -> Outline:
    return Outline(page(record))


@EVERY
def test_every_record_makes_a_well_formed_page(record: DetailedResults) -> None:
    shown = outline(record)
    assert len(shown.ids) == len(set(shown.ids))
    assert shown.all("html") == [{"lang": "en"}]
    assert shown.all("h1")
    for svg in shown.all("svg"):
        assert svg.get("aria-label") or svg.get("aria-hidden")
    assert "<" not in page(record).split("<title>")[1].split("</title>")[0]


@EVERY
def test_the_page_needs_nothing_else(record: DetailedResults) -> None:
    shown = outline(record)
    assert not {"script", "link", "img", "iframe", "base", "object"} & {
        t for t, _ in shown.elements
    }
    for _, attributes in shown.elements:
        assert not {"src", "srcset", "action"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page(record)
    assert "@import" not in page(record)


@EVERY
def test_a_record_read_from_json_makes_the_same_page(record: DetailedResults) -> None:
    assert page(DetailedResults.from_dict(json.loads(json.dumps(record.to_dict())))) == page(record)


def test_texts_of_users_are_shown_as_they_are() -> None:
    shown = outline(RECORDS["hostile"])
    # Predictor, instruction, question, setting, ...: each in its place, and as text.
    assert shown.text.count(HOSTILE) >= 20
    assert "49" not in shown.text
    assert "<script" not in page(RECORDS["hostile"])
    notebook = Outline(table(RECORDS["hostile"]))
    assert notebook.text.count(HOSTILE) == 2
    assert not notebook.all("script")


def test_the_headline_says_what_was_gained_and_how_sure_it_is() -> None:
    text = outline(improved()).text
    for said in (
        "25.0% → 75.0%",
        "+50.0% (+10.0% to +90.0%)",
        "p-value after 2 looks 0.012, vouched for",
        "Without the luck of the choice about +10.0%",
        "all steps taken",
        "It copied from training examples: Lyon.",
        "4 training and 4 validation examples, 1,234 runs of the program, 1 min 40 s, seed 7",
        BEST,
    ):
        assert said in text


def test_no_gain_and_what_went_wrong_are_said() -> None:
    text = outline(kept()).text
    for said in (
        "25.0%, kept as it was",
        "No instruction beat it surely enough on the validation examples.",
        "the returned one is the student's",
        "3 of 1,234 runs of the program (0.2%) gave an output that could not be read",
        "Runs that failed and counted as wrong: 4 ValueError, 1 KeyError.",
        "Too long for the model's context and left out: 0 training and 2 validation examples.",
        "Not optimized: judge.",
    ):
        assert said in text
    assert "(returned)" not in text


def test_several_predictors_have_a_headline_and_a_chart_each() -> None:
    shown = outline(several())
    charts = [svg["aria-label"] for svg in shown.all("svg") if svg.get("role") == "img"]
    assert len(charts) == 2
    assert "for judge" in str(charts[1])
    assert [a.get("class") for a in shown.all("article")] == ["card", "card"]


def test_the_chart_has_a_mark_for_each_measure() -> None:
    def marks(record: DetailedResults) -> list[str | None]:
        # After those come the legend's, which have no place.
        return [use["href"] for use in outline(record).all("use") if "x" in use]

    assert marks(improved()) == [
        "#circle-accepted",
        "#circle-partial",
        "#circle-accepted",
        "#circle-refused",
        "#circle-accepted",
        "#returned",
        "#diamond-accepted",
        "#diamond-accepted",
        "#diamond-refused",
        "#diamond-accepted",
        "#returned",
    ]


def test_the_history_marks_what_was_deleted_and_inserted() -> None:
    source = page(improved())
    assert "Answer it<ins> slowly</ins>." in source
    assert "<del>Answer</del><ins>Count, then answer</ins> it slowly." in source
    assert "Step 3, replace at token 1: training 100.0%, validation 81.2% (returned)" in source


def test_examples_are_shown_with_what_became_of_them() -> None:
    text = outline(improved()).text
    assert "1 did better than before, 1 worse." in text
    assert "3 question: Two? answer: 2 right → 25.0%" in text
    assert "0 question: One? answer: 1 wrong → right" in text


def test_cost_and_settings_are_tabled() -> None:
    text = outline(improved()).text
    for said in (
        "generate 71.0 71.0% other 28.0 28.0% render 1.0 1.0%",
        "tokens forward 123,456",
        "schedule VerifiedConfig max_seconds —",
        "model small@0123 seed 7",
    ):
        assert said in text


def test_a_record_with_gaps_says_what_it_has() -> None:
    assert "The record is empty" in outline(DetailedResults()).text
    assert "The search ended before anything could be verified" in outline(interrupted()).text
    old = outline(earlier()).text
    assert "25.0% → 75.0%" in old
    assert "did better than before" not in old
    unrun = DetailedResults(candidates=[candidate("x", 0, [])])
    assert "0 runs of the program" in outline(unrun).text


def test_a_notebook_shows_a_table() -> None:
    shown = Outline(several()._repr_html_())
    assert len(shown.all("tr")) == 3
    assert "predict 25.0% 75.0% +50.0% (+10.0% to +90.0%) 0.012 2 Count" in shown.text
    assert "judge 25.0% kept as it was 2 Answer it." in shown.text
    assert "no predictor was optimised" in DetailedResults()._repr_html_()


def test_the_report_is_written_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_text("an older one")
    assert improved().report(path) == path
    assert path.read_text(encoding="utf-8") == page(improved())
    assert os.listdir(tmp_path) == ["run.html"]


def test_half_a_character_does_not_stop_the_report(tmp_path: Path) -> None:
    record = improved()
    record.candidates[1].instruction = "broken \ud83d emoji"
    assert b"broken &#55357; emoji" in record.report(tmp_path / "run.html").read_bytes()


def test_a_report_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing does not exist: make it first"):
        improved().report(tmp_path / "missing" / "run.html")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match=r"cannot be written to .*taken"):
        improved().report(tmp_path / "taken")
    assert os.listdir(tmp_path) == ["taken"]


def test_an_older_report_survives_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    path = improved().report(tmp_path / "run.html")
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        kept().report(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.html"]


@SCHEDULES
def test_a_real_compile_makes_a_page(
    schedule: ScheduleConfig, student: dspy.Module, tmp_path: Path
) -> None:
    record = small(schedule=schedule).compile(student, trainset=examples()).detailed_results
    text = Outline(record.report(tmp_path / "run.html").read_text(encoding="utf-8")).text
    assert f"All {len(record.candidates)} instructions that were tried" in text


def test_a_report_needs_neither_torch_nor_dspy() -> None:
    script = (
        "import sys, dspy_greater.report; "
        "print({'torch', 'dspy', 'transformers', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
