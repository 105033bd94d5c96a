"""The messages with which bad input is refused; the inputs are in ``bad_input.py``."""

from tests.support.refusals.data import OF_DATA
from tests.support.refusals.settings import OF_SETTINGS

__all__ = ["OF_DATA", "OF_SETTINGS"]
