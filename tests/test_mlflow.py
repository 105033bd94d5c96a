"""MLflow's autolog records a compile as it records those of DSPy's own optimizers.

In a process of its own: autolog patches DSPy's classes for good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mlflow") is None, reason="needs mlflow"),
]

SCRIPT = """
import json, sys
import dspy, mlflow
from mlflow.tracking import MlflowClient
from tests.support.compiling import examples, lm_of, metric, small

folder = sys.argv[1]
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
mlflow.set_experiment(experiment_id=mlflow.create_experiment("ours", f"file://{folder}/artifacts"))
mlflow.dspy.autolog(log_compiles=True, log_traces_from_compile=True)
lm = lm_of()
dspy.configure(lm=lm)
program = dspy.Predict("question -> answer")
teleprompter = small(max_steps=1)
before = set(vars(teleprompter))
compiled = teleprompter.compile(program, trainset=examples(4))
mlflow.flush_trace_async_logging()
(run,) = [run for run in mlflow.search_runs(output_format="list")]
client = MlflowClient()
saved = dspy.Predict("question -> answer")
saved.load(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/best_model.json"))
traces = mlflow.search_traces(return_type="list", max_results=200)
print("FOUND", json.dumps({
    "status": run.info.status,
    "artifacts": sorted(each.path for each in client.list_artifacts(run.info.run_id)),
    "instruction": saved.signature.instructions,
    "compiled": compiled.signature.instructions,
    "traces": len(traces),
    "spans": sorted({span.name for trace in traces for span in trace.data.spans}),
    "runs": compiled.detailed_results.total_calls,
    "added": sorted(set(vars(teleprompter)) - before),
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("mlflow"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr[-3000:]
    return json.loads(lines[0].removeprefix("FOUND "))


def test_a_compile_is_a_run_with_its_program_and_data(found: dict[str, Any]) -> None:
    assert found["status"] == "FINISHED"
    assert {"best_model.json", "trainset.json"} <= set(found["artifacts"])
    assert found["instruction"] == found["compiled"]
    assert found["added"] == []


def test_its_runs_of_the_program_are_traced(found: dict[str, Any]) -> None:
    assert found["traces"] >= 1
    assert "Predict.forward" in found["spans"]
