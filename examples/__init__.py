"""Worked examples for `dspy_greater`."""
