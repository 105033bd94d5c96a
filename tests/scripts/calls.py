"""A team does the white box's calls; the leader compares with doing them alone, in float64."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from dspy_greater.model import Sampling, Targeted, WhiteBox, load
from dspy_greater.model.team import Team
from dspy_greater.spans import Span
from tests.processes import report
from tests.support.white_boxes import random_ids, random_items, white_box_of


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    if folder is None:
        together = alone = white_box_of("llama", dtype=torch.float64)
    else:  # a part of the model in each process
        together = load(folder, tp_plan="auto", dtype="float64")
        alone = load(folder, device="cpu", dtype="float64")
    found, threads = work(together, alone)
    report({**found, "threads ended": threads - communicating() >= 2})


def work(together: WhiteBox, alone: WhiteBox) -> tuple[Any, int]:
    with Team() as team:
        team.agree(together, lambda: {})
        if team.follows:
            return team.follow(together), communicating()
        with team.leading(together):
            differences = {str(rows): compare(together, alone, rows) for rows in (0, 1, 2, 7)}
        same = alone.fingerprint == together.fingerprint
        end = {"differences": differences, "same fingerprint": same}
        team.dismiss(end)
        return end, communicating()


def communicating() -> int:
    """Return how many threads work for groups of Gloo; 0 where the system does not tell."""
    count = 0
    for file in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # another thread has ended meanwhile
            count += "gloo" in file.read_text()
    return count


def compare(together: WhiteBox, alone: WhiteBox, rows: int) -> float:
    """The largest difference between a team's results and those of one process."""
    items = random_items(rows, seed=rows) + behind_one_beginning(rows)
    prompts = [random_ids(4 + 3 * row, seed=row) for row in range(rows)]
    samplings = [
        Sampling(max_tokens=3 + row, temperature=row % 2, seed=row, logprobs=1)
        for row in range(rows)
    ]
    tokens = list(range(5, 25))

    def results(call: Any) -> list[torch.Tensor]:
        gradients = call("gradients", items)
        texts = call("generate", prompts, samplings)
        slopes = [call("substitution", each.positions, tokens) for each in gradients]
        return [
            *call("log_probs", items),
            *(each.positions for each in gradients),
            *(torch.tensor([each.loss]) for each in gradients),
            *(torch.tensor([float(token) for token in each.ids]) for each in texts),
            *(torch.tensor([t.log_prob for t in each.log_probs]) for each in texts),
            *slopes,
            call("next_log_probs", prompts, last=2),
        ]

    def in_team(name: str, *args: Any, **settings: Any) -> Any:
        return getattr(together, name)(*args, **settings)

    def by_itself(name: str, *args: Any, **settings: Any) -> Any:
        return getattr(WhiteBox, name).__wrapped__(alone, *args, **settings)

    found, wanted = results(in_team), results(by_itself)
    assert [each.shape for each in found] == [each.shape for each in wanted]
    pairs = zip(found, wanted, strict=True)
    return max([0.0, *(float((one - other).abs().max()) for one, other in pairs if len(one))])


def behind_one_beginning(rows: int) -> list[Targeted]:
    """Sequences whose beginning is read once, into a cache that all of them go on from."""
    start = random_ids(40, seed=99)
    ids = [[*start, *random_ids(6 + row, seed=row)] for row in range(rows)]
    return [Targeted(each, Span(len(each) - 3, len(each)), Span(41, 43)) for each in ids]


if __name__ == "__main__":
    main()
