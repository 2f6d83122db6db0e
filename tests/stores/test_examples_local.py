"""The examples that are about local: they check themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.packages import installed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["legacy_library"])
def test_example(name):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stderr, done.returncode) == ("", 0), done.stdout
    assert done.stdout.endswith("as it should be\n")
    assert ("greenlets" in done.stdout) == installed("greenlet")
