"""A follower is gone in the middle of the work: the leader says so and does not wait."""

from __future__ import annotations

import os

from dspy_greater.model import WhiteBox
from dspy_greater.model.team import ProcessError, Team
from tests.processes import report
from tests.support.white_boxes import random_items, white_box_of


def main() -> None:
    model = white_box_of("llama")
    try:
        with Team() as team:
            team.agree(model, lambda: {})
            if team.follows:
                WhiteBox._log_probs_batch = lambda *args, **settings: os._exit(9)  # type: ignore
                team.follow(model)
            with team.leading(model):
                model.log_probs(random_items(4))
    except ProcessError as error:
        report(str(error))


if __name__ == "__main__":
    main()
