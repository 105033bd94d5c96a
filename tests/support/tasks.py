"""What the tests of several rooms of `examples/tasks` share."""

from __future__ import annotations

from examples.tasks import Splits
from examples.tasks.splits import question_of

OPTIONS = (
    "Which bird is the leftmost?\nOptions:\n(A) The heron\n(B) The stork\n(C) The red-eyed gull"
)


def assert_disjoint(splits: Splits) -> None:
    asked = [{question_of(example) for example in split} for split in splits]
    assert sum(map(len, asked)) == len(set.union(*asked)) == sum(map(len, splits))
