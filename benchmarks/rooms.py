"""What there is to measure: the rooms that lie here, and the peers that can be used on this interpreter.

A room is a module `bench_*.py`, found by its name. It has one or more of

* `cases()`: a list of `harness.Case`;
* `thread_bodies()`: name -> the statement of a contender, for two threads of a free-threaded build beside one;
* `macros()`: a list of `macro.Macro`, whole programs.
"""

import importlib
import importlib.metadata
import pathlib
import subprocess
import sys

from benchmarks import harness

HERE = pathlib.Path(__file__).parent

# What is installed -> the module that shows whether it can be used.
PEERS = {
    "asgiref": "asgiref.local",
    "fasteners": "fasteners",
    "flask": "flask",
    "ft_utils": "ft_utils.local",
    "gevent": "gevent.local",
    "greenlet": "greenlet",
    "lazy-object-proxy": "lazy_object_proxy",
    "multiprocessing_utils": "multiprocessing_utils",
    "werkzeug": "werkzeug.local",
    "wrapt": "wrapt",
    "xlocal": "xlocal",
}
GIL_IS_BACK = 77


def command(module, *arguments):
    """The command that runs a module of this tree in an interpreter of its own; xctx comes from where ours does."""
    path = f"import runpy, sys; sys.path.append({str(HERE.parent)!r}); "
    code = path + "runpy.run_module(sys.argv.pop(1), None, '__main__')"
    return [sys.executable, "-c", code, module, *arguments]


def peers():
    """(usable, left out): distribution -> version, and distribution -> why not.

    Each is imported in an interpreter of its own first: what switches the GIL back on would spoil all other figures.
    """
    usable, left = {}, {}
    gil = "getattr(sys, '_is_gil_enabled', lambda: True)()"
    for distribution, module in PEERS.items():
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            left[distribution] = "not installed"
            continue
        code = f"import sys; before = {gil}; import {module}; sys.exit({GIL_IS_BACK} * (before != {gil}))"
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
        if done.returncode == GIL_IS_BACK:
            left[distribution] = "switches the GIL on"
        elif done.returncode:
            last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            left[distribution] = f"cannot be imported: {last}"
        else:
            usable[distribution] = version
    return usable, left


def forbid(distributions):
    """Makes the imports of these peers fail, as where they are not installed."""
    for distribution in distributions:
        sys.modules[PEERS[distribution]] = sys.modules[PEERS[distribution].partition(".")[0]] = None


def modules():
    """The rooms, imported, in the order of their names."""
    return [importlib.import_module(f"benchmarks.{path.stem}") for path in sorted(HERE.glob("bench_*.py"))]


def chosen(title, words):
    return not words or any(word in title for word in words)


def cases(words=()):
    """All cases that run here and whose title has one of the words, if any are given."""
    made = []
    for room in modules():
        made += getattr(room, "cases", list)()
        for name, make_body in getattr(room, "thread_bodies", dict)().items():
            made.append(two_threads("two threads", name, make_body))
    made = [case for case in made if case.runs_here() and chosen(case.title, words)]
    groups = list(dict.fromkeys(case.group for case in made))
    return sorted(made, key=lambda case: groups.index(case.group))


def two_threads(group, name, statement, namespace=(), peers=(), targets=None):
    """The case of two threads that do the same at once, beside one that does it alone, and beside peers' two.

    Args:
        statement: as a contender has it.
        namespace: likewise.
        peers: of them (name, statement, namespace).
    """
    each = [("xctx", statement, namespace, 2, False), ("xctx, one thread", statement, namespace, 1, True)]
    each += [(peer, theirs, names, 2, False) for peer, theirs, names in peers]
    contenders = [
        harness.Contender(who, what, names or {}, threads=threads, reference=rod)
        for who, what, names, threads, rod in each
    ]
    return harness.Case(group, name, contenders, {"xctx, one thread": 1.15} if targets is None else targets)


def macros(words=()):
    """All macro benchmarks of which this interpreter has what they need, and with one of the words in the title."""
    made = [each for room in modules() for each in getattr(room, "macros", list)()]
    return [each for each in made if each.missing() is None and chosen(each.title, words)]
