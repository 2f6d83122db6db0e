"""What the stubs of proxies promise (mypy)."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run(*command):
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_assert_type():
    pytest.importorskip("mypy")
    run("mypy", "--strict", "--no-incremental", str(ROOT / "tests" / "typing" / "proxy_types.py"))
