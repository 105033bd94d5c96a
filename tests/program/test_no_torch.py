"""DSPy's side of the package needs no tensors."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_program_side_loads_no_torch():
    code = "import sys, dspy_greater.program; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
