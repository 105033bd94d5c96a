"""What can go wrong in a search."""


class LossError(RuntimeError):
    """No training example gave a finite loss or gradient, so there is nothing to follow."""
