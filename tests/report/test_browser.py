"""Reports in a real browser: nothing fails, nothing is empty, nothing overlaps.

apt-get install chromium    # or: playwright install chromium
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspy_greater import DetailedResults
from tests.support.records import RECORDS, candidate, improved

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        installed = next(filter(None, map(shutil.which, NAMES)), driver.chromium.executable_path)
        if not Path(installed).exists():
            pytest.skip(f"no Chromium: none of {', '.join(NAMES)} and none of playwright's own")
        browser = driver.chromium.launch(executable_path=installed)
        yield browser
        browser.close()


def opened(browser: Any, path: Path, **settings: Any) -> tuple[Any, list[str]]:
    """Open a page and return it with all that the console says."""
    page = browser.new_page(**settings)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: request.url.startswith("file:") or said.append(request.url))
    page.goto(path.as_uri())
    return page, said


def boxes(page: Any, selector: str) -> list[dict[str, float]]:
    """Return the boxes of all elements that a selector finds."""
    return page.eval_on_selector_all(
        selector, "found => found.map(each => each.getBoundingClientRect().toJSON())"
    )


def overlapping(labels: list[dict[str, float]]) -> list[tuple[int, int]]:
    """Return the pairs of boxes that cover each other."""
    return [
        (i, j)
        for j, right in enumerate(labels)
        for i, left in enumerate(labels[:j])
        if left["left"] < right["right"]
        and right["left"] < left["right"]
        and left["top"] < right["bottom"]
        and right["top"] < left["bottom"]
    ]


def test_what_the_console_says_would_be_heard(browser: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>console.error('oops')</script><script>no_such_name</script>")
    _, said = opened(browser, broken)
    assert said[0] == "oops"
    assert "no_such_name" in said[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 380])
@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_every_record_renders(
    record: DetailedResults, width: int, scheme: str, browser: Any, tmp_path: Path
) -> None:
    page, said = opened(
        browser,
        record.report(tmp_path / "run.html"),
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
    )
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    charts = boxes(page, "svg[role=img]")
    assert len(charts) == len({each.predictor for each in record.candidates})
    for chart in charts:
        assert chart["width"] > 0.7 * width - 60
        assert chart["height"] > 100
    for mark in boxes(page, "svg[role=img] use"):
        assert mark["width"] > 0
        assert mark["left"] >= 0
        assert mark["right"] <= width
    assert overlapping(boxes(page, "svg[role=img] text")) == []
    page.close()


def test_many_steps_have_room_on_a_telephone(browser: Any, tmp_path: Path) -> None:
    record = improved()
    record.candidates += [candidate(f"Try {n}.", 4 + n // 3, [n / 600]) for n in range(300)]
    page, _ = opened(
        browser, record.report(tmp_path / "run.html"), viewport={"width": 380, "height": 800}
    )
    assert overlapping(boxes(page, "svg[role=img] text")) == []
    page.close()


def test_words_in_tables_are_not_broken(browser: Any, tmp_path: Path) -> None:
    page, _ = opened(
        browser, improved().report(tmp_path / "run.html"), viewport={"width": 380, "height": 800}
    )
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    headers = boxes(page, "table th")
    assert len(headers) > 30
    assert max(header["height"] for header in headers) < 40
    page.close()


def test_tables_open_and_scroll_by_keyboard(browser: Any, tmp_path: Path) -> None:
    page, _ = opened(
        browser,
        RECORDS["improved"].report(tmp_path / "run.html"),
        viewport={"width": 380, "height": 800},
    )
    table = page.get_by_role("region", name="Instructions tried for predict")
    assert not table.is_visible()
    page.get_by_text("All 5 instructions that were tried").focus()
    page.keyboard.press("Enter")
    assert table.is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    playwright.expect(table).not_to_have_js_property("scrollLeft", 0)
    page.close()
