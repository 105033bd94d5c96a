"""Where the JSON object that a text holds is closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ObjectEnd:
    """Reads a text piece by piece until the brace that closes its first JSON object.

    A piece may be what one token stands for: a character that takes several is none of an object's
    marks.

    Braces inside of strings do not count, and quotes before the object, in prose, begin none.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False

    def read(self, piece: str) -> bool:
        """Whether the object is closed in this piece; nothing is to be read after that."""
        return any(self._closes(character) for character in piece)

    def _closes(self, character: str) -> bool:
        if self._escaped:
            self._escaped = False
        elif self._in_string:
            self._escaped = character == "\\"
            self._in_string = character != '"'
        elif character == '"':
            self._in_string = self._depth > 0
        elif character == "{":
            self._depth += 1
        elif character == "}" and self._depth:
            self._depth -= 1
            return self._depth == 0
        return False


def up_to_object(tokenizer: Any, ids: Sequence[int]) -> int | None:
    """Return how many tokens a text has up to the end of its first object; None without any.

    Args:
        tokenizer: What tells a token's text.
        ids: The text's.
    """
    end = ObjectEnd()
    pieces = (tokenizer.decode([token]) for token in ids)
    return next((at + 1 for at, piece in enumerate(pieces) if end.read(piece)), None)
