"""What tests run in several processes at once; see `tests.processes`."""
