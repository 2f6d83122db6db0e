"""What a type checker makes of programs that use xctx: it passes typing/uses.py, and objects to typing/misuses.py."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
USES = ROOT / "tests" / "typing" / "uses.py"
MISUSES = ROOT / "tests" / "typing" / "misuses.py"
MARK = "  # type: ignore"


@pytest.fixture
def mypy(tmp_path):
    """Runs mypy, as strict as on the package itself, and gives what it reports."""
    pytest.importorskip("mypy", reason="mypy is not installed here")

    def run(*programs):
        settings = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache", "--no-error-summary"]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *settings, *programs], cwd=ROOT, capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return run


def test_types_are_what_programs_expect_and_each_misuse_is_found(mypy):
    """A misuse that mypy did not find would leave its `type: ignore` unused, which it reports."""
    assert mypy(USES, MISUSES) == []


def test_mypy_objects_to_the_misuses_and_to_nothing_else(mypy, tmp_path):
    """Without the comments: were everything Any, or nothing looked at, the test above would not notice all of it."""
    lines = MISUSES.read_text().splitlines()
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(line.partition(MARK)[0] for line in lines))
    reported = {int(line.split(":")[1]) for line in mypy(bare) if ": error: " in line}
    assert reported == {number for number, line in enumerate(lines, 1) if MARK in line}


def test_what_has_the_right_types_also_runs():
    runpy.run_path(str(USES), run_name="__main__")
