"""What a compile costs: one meter, and the conditions under which it ends."""

from dspy_greater.cost.bounds import Bounds
from dspy_greater.cost.budget import Budget
from dspy_greater.cost.counts import Counts
from dspy_greater.cost.meter import SETUP, Meter, Spent, Usage
from dspy_greater.cost.phases import PHASES, Phases

__all__ = ["PHASES", "SETUP", "Bounds", "Budget", "Counts", "Meter", "Phases", "Spent", "Usage"]
