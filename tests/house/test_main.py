"""``python -m xctx``: what it says, and that its check notices what it is there to notice."""

import sys
import sysconfig

import pytest
from helpers.interpreters import run_python
from helpers.packages import installed

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
CHECKS = [
    "scopes end, and release",
    "threads are kept apart",
    "many threads at once",
    "greenlets are kept apart",
    "gevent's greenlets too",
    "asyncio's tasks too",
    "a fork starts empty",
    "proxies do as their targets",
    "batches give each value once",
    "locks exclude",
    "bindings are carried along",
    "the GIL stays off",
]


def run(*args, source=None, **environ):
    command = ["-c", source] if source else ["-m", "xctx"]
    return run_python(*command, *args, dev=False, **environ)


def test_it_says_what_there_is():
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert rows["interpreter"].startswith(f"CPython {sys.version.split()[0].rstrip('+')}")
    assert rows["build"].startswith("free-threaded" if FREE_THREADED else "default")
    assert rows["GIL"].startswith("off" if FREE_THREADED else "on")
    assert [rows[name].split()[1] for name in ("<xctx", "process", "thread") if name in rows] == ["unit:", "unit:"]
    assert ("greenlet " in rows["packages"]) == installed("greenlet")
    assert {"xctx.debug", "xctx.keys"} <= set(rows["modules"].split(", "))


def test_saying_it_imports_no_package(tmp_path):
    """With a greenlet older than those that do without the GIL, which a free-threaded check leaves alone too."""
    (tmp_path / "greenlet.py").write_text("raise AssertionError('imported')")
    (tmp_path / "greenlet-3.2.4.dist-info").mkdir()
    (tmp_path / "greenlet-3.2.4.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: greenlet\nVersion: 3.2.4"
    )
    done = run(path=[tmp_path])
    assert (done.returncode, done.stderr) == (0, "")
    assert "greenlet 3.2.4" in done.stdout
    done = run("--check", path=[tmp_path])
    if FREE_THREADED:
        assert done.returncode == 0
        assert "skip  greenlets are kept apart: importing greenlet 3.2.4 would switch the GIL on" in done.stdout
        assert "ok    the GIL stays off" in done.stdout
    else:
        assert "FAIL  greenlets are kept apart: imported" in done.stdout


def test_the_check_passes_here():
    done = run("--check")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    *lines, last = done.stdout.splitlines()
    assert [line[6:].partition(":")[0] for line in lines] == CHECKS
    assert last.startswith("all is well")
    tried = {line[6:] for line in lines if line.startswith("ok")}
    assert tried >= {*CHECKS[:3], CHECKS[5], *CHECKS[7:9]}
    assert ("greenlets are kept apart" in tried) == installed("greenlet")
    assert ("gevent's greenlets too" in tried) == installed("gevent")
    assert ("the GIL stays off" in tried) == FREE_THREADED


SABOTAGE = """
import sys, xctx, xctx.__main__ as command
{code}
sys.exit(command.main(["--check"]))
"""
ONE_FOR_ALL = """
class OneForAll:
    def __init__(self, key=None): pass
    def __call__(self, **names):
        self.__dict__.update(names)
        return self
    def __enter__(self): return self
    def __exit__(self, *exc_info): pass
xctx.{name} = OneForAll
"""


@pytest.mark.parametrize(
    ("code", "noticed"),
    [
        (
            ONE_FOR_ALL.format(name="xlocal"),
            {"scopes end, and release", "threads are kept apart", "asyncio's tasks too"},
        ),
        (ONE_FOR_ALL.format(name="local"), {"threads are kept apart", "asyncio's tasks too"}),
        ("xctx.LocalWrapper = lambda target: target * 2", {"proxies do as their targets"}),
        ("xctx.LocalProxy = lambda *args, **named: 2", {"proxies do as their targets"}),
        (
            "class Twice(xctx.BatchExecutor):\n    def load(self): return 7\nxctx.BatchExecutor = Twice",
            {"batches give each value once"},
        ),
        ("def fails(): 1 / 0\ncommand.CHECKS['a check'] = fails", {"a check"}),
    ],
    ids=["xlocal", "local", "wrapper", "proxy", "batch", "exception"],
)
def test_the_check_notices(code, noticed):
    done = run(source=SABOTAGE.format(code=code))
    assert done.returncode == 1, done.stderr
    failed = {line[6:].partition(":")[0] for line in done.stdout.splitlines() if line.startswith("FAIL")}
    assert failed >= noticed
    assert all(name in done.stdout.splitlines()[-1] for name in noticed)
    assert "all is well" not in done.stdout


def test_a_check_that_hangs_is_ended_and_shown():
    code = (
        "command.PATIENCE = 1\ndef hangs(): __import__('threading').Event().wait()\n"
        "command.CHECKS.clear()  # no other one may take a second on a busy machine\ncommand.CHECKS['a check'] = hangs"
    )
    done = run(source=SABOTAGE.format(code=code))
    assert done.returncode == 1
    assert "in hangs" in done.stderr


def test_the_demonstration_mixes_up_what_is_global_and_nothing_else():
    done = run("--demo")
    assert (done.returncode, done.stderr) == (0, "")
    table = {line[:20].strip(): line[20:].split() for line in done.stdout.splitlines() if line[:20].strip() in KINDS}
    kinds = KINDS if installed("gevent") else [KINDS[0], KINDS[2]]
    assert [int(table[kind][1]) for kind in kinds] == [0] * len(kinds)
    assert all(int(table[kind][0]) > 0 for kind in kinds)
    assert done.stdout.endswith("bindings left afterwards: 0\n")


KINDS = ["threads", "gevent greenlets", "asyncio tasks"]


@pytest.mark.parametrize("args", [["--check", "--demo"], ["--nothing"], ["more"]])
def test_a_command_that_makes_no_sense_is_refused(args):
    done = run(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: python -m xctx")
