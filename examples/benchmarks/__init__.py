"""Benchmarks of the search on the small model; run them with ``python -m examples.benchmark``."""
