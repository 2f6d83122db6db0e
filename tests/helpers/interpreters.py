"""Scripts in an interpreter of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import xctx

PLACE = Path(xctx.__file__).parents[1]  # of the build that is tested: not always the tree
# asyncio's debug mode, which -X dev switches on, says this of a step that a busy machine held up.
HELD_UP = re.compile(r"^Executing <.* took \d+\.\d+ seconds\n", re.MULTILINE)
TIMEOUT = 120  # seconds: nothing that goes right takes so long, on a busy machine either


def environment(path=(), without=(), **changes):
    """The variables for a child that imports this xctx, and everything else from the folders in `path` first."""
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    return {**inherited, "PYTHONPATH": os.pathsep.join(map(str, [*path, PLACE])), **changes}


def run_python(*arguments, dev=True, timeout=TIMEOUT, cwd=None, **variables):
    """Runs an interpreter to which every warning is an error, and gives what subprocess.run gives.

    It runs with -X dev too, unless `dev` is false. `variables` are those of `environment`.
    """
    done = subprocess.run(
        [sys.executable, *(["-X", "dev"] if dev else []), "-W", "error", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=environment(**variables),
    )
    done.stderr = HELD_UP.sub("", done.stderr)
    return done


def run_script(source, *options, status=0, **variables):
    """Runs a script, and gives what it printed. It must write nothing to stderr, and end with `status`."""
    done = run_python(*options, "-c", source, **variables)
    assert (done.stderr, done.returncode) == ("", status)
    return done.stdout
