"""No data but those that a test names."""

from __future__ import annotations

import pytest

from examples.tasks import sources


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sources.FOLDER_VARIABLE, raising=False)
