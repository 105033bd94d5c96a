"""The scripts that a text is written in, by the Unicode names of its characters."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

#: Blocks whose characters are called otherwise; "" goes with any script: Latin letters and marks,
#: general punctuation, arrows, signs of arithmetic.
_BLOCKS = {
    range(0x370): "",
    range(0x1E00, 0x1F00): "",
    range(0x2000, 0x2300): "",
    range(0x2300, 0x2C00): "pictures",
    range(0x3000, 0x3040): "cjk",
    range(0xFE00, 0xFE10): "",
    range(0xFF00, 0xFF66): "cjk",
    range(0x1F000, 0x20000): "pictures",
}
_NAMES = {"latin": "", "hiragana": "kana", "katakana": "kana", "halfwidth": "kana", "kangxi": "cjk"}


@lru_cache(maxsize=1 << 16)
def script(character: str) -> str:
    """Return a character's script, the first word of its name; "" if it goes with any."""
    name = unicodedata.name(character, character).removeprefix("EXTENDED ").replace("-", " ")
    first = name.partition(" ")[0].lower()
    blocks = (its for block, its in _BLOCKS.items() if ord(character) in block)
    return next(blocks, _NAMES.get(first, first))


def scripts_of(text: str) -> frozenset[str]:
    """Return the scripts of a text beside Latin; with kana come the characters of Chinese."""
    found = {script(character) for character in set(text)} - {""}
    return frozenset(found | {"cjk"} if "kana" in found else found)


def check_scripts(names: Any) -> None:
    """Raise a ``ValueError`` unless these are scripts, or None."""
    if names is None:
        return
    known = {script.__wrapped__(chr(code)) for code in range(0x20000)}
    given = [names] if isinstance(names, str) else list(names)
    if isinstance(names, str) or not known.issuperset(given):
        raise ValueError(
            "scripts must be a list of scripts beside Latin, by their Unicode names, such as "
            "'arabic', 'cjk' (Chinese), 'cyrillic', 'greek', 'hangul', 'kana' or 'pictures' "
            f"(emoji), not {names!r}"
        )
