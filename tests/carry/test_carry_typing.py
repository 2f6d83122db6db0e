"""What a type checker makes of programs that take bindings along, and that they run."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "typing" / "carry_types.py"


def test_types_are_what_programs_expect(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed here")
    settings = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache", "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_what_has_the_right_types_also_runs():
    runpy.run_path(str(PROGRAM), run_name="__main__")
