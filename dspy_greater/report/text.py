"""Numbers as a reader wants them."""

from __future__ import annotations


def percent(value: float | None) -> str:
    """Return a score or a share, ``0.188`` as ``18.8%``."""
    return "—" if value is None else f"{value:.1%}"


def duration(seconds: float) -> str:
    """Return a time in the units that suit its length."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def verdict(before: float, after: float) -> str:
    """Return what became of one example's score, in words where it is all or nothing."""
    words = {0.0: "wrong", 1.0: "right"}
    return " → ".join(words.get(score) or percent(score) for score in (before, after))
