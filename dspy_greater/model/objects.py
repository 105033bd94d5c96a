"""Where the JSON object that a text holds is closed."""

from __future__ import annotations


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
