"""The tasks on which optimizers are compared, all behind one interface.

    from examples.tasks import load

    task = load("navigate", data="my/data")
    train, validation, test = task.splits(seed=0)
    program = task.program()

The 27 tasks of BIG-Bench Hard, GSM8K and FOLIO come from a folder or from the Hugging Face hub
(`sources.py`), Banking77, ScoNe and the facility e-mails from a folder, the synthetic ones of the
small model from their generators. `python -m examples.tasks` lists them.
"""

from examples.tasks.catalog import NAMES, PUBLISHED, SYNTHETIC, BenchmarkTask, load
from examples.tasks.splits import Splits

__all__ = ["NAMES", "PUBLISHED", "SYNTHETIC", "BenchmarkTask", "Splits", "load"]
