"""Scripts in an interpreter of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"

# Ends the child if whatever started it does not: a little later than `timeout` below, which tells more.
TIMEOUT = 120


def environment(path=(), **changes):
    """The variables for a child which imports xctx from this tree, and first of all from the folders in `path`."""
    places = [*map(str, path), str(ROOT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), **changes}


def run_python(*arguments, dev=True, path=(), timeout=TIMEOUT, cwd=None, **changes):
    """Runs an interpreter with these arguments, all warnings errors, and gives what subprocess.run gives.

    It runs with -X dev too, unless `dev` is false; what is in `changes` are environment variables.
    """
    return subprocess.run(
        [sys.executable, *(["-X", "dev"] if dev else []), "-W", "error", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=environment(path, **changes),
    )


def run_script(source, *options, status=0, path=(), **changes):
    """Runs a script, and gives what it printed. It must write nothing to stderr, and end with `status`."""
    done = run_python(*options, "-c", source, path=path, **changes)
    assert (done.stderr, done.returncode) == ("", status)
    return done.stdout
