"""A pipeline, improved: from a weak program to a saved better one, cell by cell.

Run it whole (`python examples/tutorial.py`), or cell by cell in an editor that knows `# %%`. It
uses the small model of this repository, in which the effect of words is built in; with a model of
your own only the next cell changes. Files go into a temporary folder.
"""

# %% The pieces that you have already: a model, a program, a metric, labelled examples.
from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that the script runs from a plain checkout

import dspy  # noqa: E402

from dspy_greater import GreaterTeleprompter, StepEvent, local_lm  # noqa: E402
from examples.small_model.tasks import examples  # noqa: E402

# A hub id such as "Qwen/Qwen2.5-1.5B-Instruct" in the place of the folder loads that model.
lm = local_lm(str(ROOT / "examples" / "small_model" / "model"), max_tokens=200)
dspy.configure(lm=lm)

program = dspy.Predict("question -> answer")


def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    """Right or wrong; a number, or a Prediction with a score, would do as well."""
    return bool(example.answer == prediction.answer)


trainset = examples("letters", "train", 24)
valset = examples("letters", "validation", 32)
held_out = examples("letters", "test", 100)
print(f"{trainset[0].question}  ->  {trainset[0].answer}")

# %% How good is the program as it stands? Many threads: the local model answers them in one batch.
evaluate = dspy.Evaluate(devset=held_out, metric=metric, num_threads=64, display_progress=False)
before = evaluate(program).score
print(f"as it stands: {before} %")

# %% Improve its instruction. Bounds of several kinds may be combined; the first ends the search.
folder = Path(tempfile.mkdtemp())


def listen(event: StepEvent) -> bool:
    """Told of every step; returning True ends the search with the best so far."""
    print(f"step {event.step}: validation {event.validation_score:.0%}  {event.instruction!r}")
    return event.validation_score == 1.0


teleprompter = GreaterTeleprompter(
    metric=metric,
    max_tokens=30_000,
    max_seconds=300,
    callback=listen,
    log_dir=folder / "log",  # the same call again goes on where a killed one stopped
    progress=False,
)
compiled = teleprompter.compile(program, trainset=trainset, valset=valset)

# %% What came of it, first in words. The program was changed only if the change could be verified.
results = compiled.detailed_results
print(results.summary())
(outcome,) = results.outcomes
print(f"{outcome.gain:+.0%} ({outcome.interval[0]:+.0%} to {outcome.interval[1]:+.0%})")

# %% Then as a page to keep: the search, the change in wording, what it cost.
page = results.report(folder / "run.html")
print(f"open {page} in a browser")

# %% The verdict that counts: questions that neither the search nor the verdict saw.
after = evaluate(compiled).score
print(f"held out: {before} % -> {after} %")

# %% Keep it. What is saved knows nothing of the local model, and runs under any DSPy backend.
compiled.save(folder / "program.json")
again = dspy.Predict("question -> answer")
again.load(folder / "program.json")
print(again.signature.instructions)
print(again(question=held_out[0].question).answer)
