"""What a type checker makes of carrying names across machines: see typing/wire_types.py."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "typing" / "wire_types.py"


def test_types_are_what_programs_expect_and_each_misuse_is_found(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed here")
    settings = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path, "--no-error-summary"]
    done = subprocess.run([sys.executable, "-m", "mypy", *settings, PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_what_has_the_right_types_also_runs():
    runpy.run_path(str(PROGRAM), run_name="__main__")
