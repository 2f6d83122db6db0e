"""Scripts in an interpreter of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import xctx

PLACE = Path(xctx.__file__).parents[1]  # where the build that is tested lies, which is not always the tree
# asyncio's debug mode, which -X dev switches on, logs this when a busy machine held up a step.
HELD_UP = re.compile(r"^Executing <.* took \d+\.\d+ seconds\n", re.MULTILINE)
TIMEOUT = 120  # seconds: no script that works takes so long, even on a busy machine


def environment(path=(), without=(), **changes):
    """The environment of a child that imports this xctx, and all else from the folders of `path` first."""
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    return {**inherited, "PYTHONPATH": os.pathsep.join(map(str, [*path, PLACE])), **changes}


def run_python(*arguments, dev=True, timeout=TIMEOUT, cwd=None, **variables):
    """Runs an interpreter to which every warning is an error, and gives what subprocess.run gives.

    It also runs with -X dev, unless `dev` is false. `variables` are the arguments of `environment`.
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
