"""The plugin for pytest: each test is a unit of work."""

import subprocess
import sys

TESTS = """
import asyncio
import pytest
import xctx

kept = xctx.local(key=xctx.keys.work)
current = xctx.xlocal()
units = []

@pytest.fixture
def user():
    kept.user = "ada"
    yield kept.user
    assert kept.user == "ada"
    units.append(xctx.work.current())

@pytest.mark.parametrize("n", range(3))
def test_each(n, user):
    assert vars(kept) == {"user": user}
    assert not vars(current)
    assert xctx.work.current() is not None and xctx.work.current() not in units
    kept.n = n
    current(n=n).__enter__()
    async def task():
        return kept.n
    assert asyncio.run(task()) == n

def test_after():
    assert not vars(kept) and not vars(current)
    assert len(set(units)) == 3 and not any(unit.alive for unit in units)
"""


def test_each_test_is_a_unit_of_work(tmp_path):
    (tmp_path / "test_units_of_work.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "xctx.pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--rootdir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr
