"""Whole programs as benchmarks: several measures, taken in rounds in which the contenders take turns.

A macro benchmark starts processes of its own; what it gives becomes a `results.Result` for each measure.
"""

import importlib.util
import json
import subprocess
from dataclasses import dataclass, field

from benchmarks import rooms


@dataclass
class Macro:
    """A program measured from outside.

    Attributes:
        group: the title under which its measures are shown.
        contenders: their names, xctx first.
        measures: measure -> its unit ("second" or "byte"), or (unit, what is told a second).
        rounds: called with `quick`, gives for each round {measure: {contender: figure}}.
        count: `quick` -> how many rounds there will be.
        seconds: `quick` -> how long one will take, about.
        needs: modules without which it cannot run.
        references: contenders that are measuring rods.
        targets: measure -> {peer: the ratio that is not to be passed}.
    """

    group: str
    contenders: list
    measures: dict
    rounds: object
    count: object
    seconds: object
    needs: tuple = ()
    references: tuple = ()
    targets: dict = field(default_factory=dict)

    @property
    def title(self):
        return f"macro {self.group}"

    def missing(self):
        """The first module that it needs and that is not installed, or None."""
        return next((name for name in self.needs if importlib.util.find_spec(name) is None), None)


def figures_of(module, *arguments, timeout=300):
    """What a module of this tree measured in a process of its own and wrote as JSON on its last line.

    Raises:
        RuntimeError: it failed; with what it wrote.
    """
    done = subprocess.run(rooms.command(module, *arguments), capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(
            f"{module} {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def resident(pid=None):
    """Bytes of memory that a process (this one, unless told) has in use now."""
    import psutil  # comes with pyperf

    return psutil.Process(pid).memory_info().rss


def allow_files(count):
    """Lets this process open so many files where it may; shells often allow few."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
