"""Benchmarks, of the search on the small model and of instructions on real ones.

    python -m examples.benchmark gap --auto light
    python -m examples.benchmark kills
    python -m examples.benchmark speed
    python -m examples.benchmark speed --model FOLDER --task banking77 --direct
    python -m examples.benchmark speed --model FOLDER --task banking77 --direct --published
    python -m examples.benchmark memory
    python -m examples.benchmark products
    python -m examples.benchmark served
    python -m examples.benchmark batches
    python -m examples.benchmark agreement --files MODEL.gguf
    python -m examples.benchmark instructions --model FOLDER --tasks scone --out FILE
    python -m examples.benchmark matrix --model FOLDER --tasks scone --instructions FILE --out FILE
    python -m examples.benchmark replay --scores examples/results/matrix.jsonl
    python -m examples.benchmark shares
    python -m examples.benchmark orders --scores examples/results/matrix.jsonl
    python -m examples.benchmark ranking --model FOLDER --tasks scone --instructions IN --out OUT
    python -m examples.benchmark rewrites --model FOLDER --tasks scone --instructions IN --out OUT
    python -m examples.benchmark worked --model FOLDER --tasks date_understanding --out FILE

Each prints what it found, as a Markdown table where there is more than one number. Finished cases
of gap are kept in examples/results/ and not run again, so it may be stopped and taken up, and its
seeds or tasks may be run apart.
"""

from __future__ import annotations

import argparse

from examples.benchmarks import (
    agreement,
    batches,
    gap,
    instructions,
    kills,
    matrix,
    memory,
    orders,
    products,
    ranking,
    replay,
    rewrites,
    served,
    shares,
    speed,
    worked,
)

BENCHMARKS = {
    "agreement": agreement,
    "gap": gap,
    "instructions": instructions,
    "kills": kills,
    "matrix": matrix,
    "speed": speed,
    "memory": memory,
    "orders": orders,
    "ranking": ranking,
    "replay": replay,
    "rewrites": rewrites,
    "worked": worked,
    "products": products,
    "served": served,
    "shares": shares,
    "batches": batches,
}


def main() -> None:
    """Read the command line, run one benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, benchmark in BENCHMARKS.items():
        benchmark.arguments(commands.add_parser(name, help=benchmark.__doc__))
    options = parser.parse_args()
    print(BENCHMARKS[options.benchmark].run(options))


if __name__ == "__main__":
    main()
