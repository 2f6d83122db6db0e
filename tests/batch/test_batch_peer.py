"""The same scenarios run against ft_utils, which breaks the law, and against xctx, which keeps it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CHECKER = Path(__file__).with_name("batch_checker.py")


def run(module, *args):
    # In an interpreter of its own, because a broken peer may read freed memory, or never return.
    command = [sys.executable, CHECKER, module, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


CASES = [("sleeps", 4, 16, 4_000), ("yields", 4, 16, 8_000), ("reenters", 1, 7, 200), ("raises", 1, 7, 200)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_xctx_keeps_the_law(case):
    done = run("xctx", *case)
    assert (done.returncode, done.stdout) == (0, "each value exactly once\n"), done.stderr


@pytest.mark.skipif(not importlib.util.find_spec("ft_utils"), reason="ft_utils, the peer, is not installed")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_the_peer_breaks_it(case):
    assert run("ft_utils.local", *case).returncode != 0
