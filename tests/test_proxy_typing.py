"""What the stubs of proxies promise (mypy)."""

import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def run(*command):
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=HERE.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_assert_type():
    pytest.importorskip("mypy")
    run("mypy", "--strict", "--no-incremental", str(HERE / "typing" / "proxy_types.py"))
