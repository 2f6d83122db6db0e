"""What the tests share: every key, every kind of unit, and ways to run a function elsewhere and get its result.

Write a test once, over `key` and `unit_kind`::

    def test_a_binding_is_seen_where_the_key_says(key, other_unit, sees_bindings):
        x = xctx.xlocal(key=key)
        with x(a=1):
            assert other_unit(lambda: hasattr(x, "a")) == sees_bindings
"""

import contextvars
import gc
import importlib.util
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import xctx
from xctx.debug import live_bindings


def pytest_configure(config):
    config.addinivalue_line("markers", "stress: runs for XCTX_STRESS_SECONDS (2), many threads at once")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs each test in a context of its own, so that what one leaves bound on purpose is not seen by the next."""
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    contextvars.copy_context().run(pyfuncitem.obj, **arguments)
    return True


def installed(name):
    """Whether a package could be imported; found out without importing it, which may switch the GIL on."""
    return importlib.util.find_spec(name) is not None


def offers(name):
    """Whether this version of xctx has a public name, and it works on this system."""
    if name == "SharedLock" and hasattr(xctx, name):
        try:
            xctx.SharedLock()
        except NotImplementedError:
            return False
    return hasattr(xctx, name)


# --- examples ---------------------------------------------------------------------------------------------------------

# How many times as many examples as usual hypothesis draws. Where it is set they are new ones at each run, as at night;
# where it is not they are the same at each run, so that `make test` never finds what the run before did not.
EXAMPLES = os.environ.get("XCTX_EXAMPLES")


def examples(usual):
    """How many examples to try, where `usual` is enough to try the same ones again."""
    return usual * int(EXAMPLES or 1)


def load_profile():
    from hypothesis import HealthCheck, settings

    # How long one takes is no matter here: the machine may be busy.
    common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "max_examples": examples(100)}
    settings.register_profile("same", derandomize=True, database=None, **common)
    settings.register_profile("nightly", derandomize=False, print_blob=True, **common)
    settings.load_profile("nightly" if EXAMPLES else "same")


if installed("hypothesis"):
    load_profile()


THREAD_INHERITS = bool(getattr(sys.flags, "thread_inherit_context", False))


# --- running a function in another unit -------------------------------------------------------------------------------


def in_thread(func):
    outcome = []

    def run():
        try:
            outcome.append((func(), None))
        except BaseException as exc:
            outcome.append((None, exc))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return _result(outcome.pop())


def in_thread_with_context(func):
    """In a thread that has a copy of this context, as free-threaded 3.14 starts every one."""
    return in_thread(lambda context=contextvars.copy_context(): context.run(func))


def in_greenlet(func):
    import greenlet

    return greenlet.greenlet(func).switch()


def in_greenlet_sharing_context(func):
    """In a greenlet whose context is this very one, as SQLAlchemy does."""
    import greenlet

    contextvars.copy_context()  # makes sure that there is a context to share
    made = greenlet.greenlet(func)
    made.gr_context = greenlet.getcurrent().gr_context
    return made.switch()


def in_gevent(func):
    import gevent

    return gevent.spawn(func).get()


def in_asyncio_task(func):
    import asyncio

    async def call():
        return func()

    async def main():
        return await asyncio.create_task(call())

    return asyncio.run(main())


def in_trio_task(func):
    import trio

    outcome = []

    async def call():
        try:
            outcome.append((func(), None))
        except BaseException as exc:  # the nursery would make a group of it
            outcome.append((None, exc))

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)

    trio.run(main)
    return _result(outcome.pop())


def in_context(func):
    """In a copy of this context, and otherwise here."""
    return contextvars.copy_context().run(func)


def in_fork(func):
    """In a forked child. What `func` returns or raises is pickled on the way back. One that hangs is killed."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # 3.12 and later warn where other threads run. The child does nothing but `func`.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        signal.alarm(60)
        try:
            os.close(read_end)
            try:
                outcome = func(), None
            except BaseException as exc:
                outcome = None, exc
            with open(write_end, "wb") as pipe:
                pickle.dump(outcome, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0 and told, f"the forked child died: wait status {status}"
    return _result(pickle.loads(told))


def in_spawned(func):
    """In a process started anew. `func` must be a function of a module that can be imported."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(func)
        pool.close()
        pool.join()
    return result


def _result(outcome):
    value, exc = outcome
    if exc is not None:
        raise exc
    return value


# --- the table: which key tells which kind of unit from the one that asks ---------------------------------------------


def _keys(names):
    return frozenset(names.split())


@dataclass(frozen=True)
class Kind:
    """A kind of execution unit that a function can be run in."""

    name: str
    run: Callable  # run(func): its result, or its exception
    carries_context: bool  # what runs there starts with this context, or a copy
    told_apart_by: frozenset  # names of the keys under which it is another unit than the one it was started from
    needs: str | None = None  # a package

    @property
    def reason_to_skip(self):
        if self.needs and not installed(self.needs):
            return f"{self.needs} cannot be imported here"
        if self.name == "fork" and not hasattr(os, "fork"):
            return "nothing forks here"
        return None


# The name, how to run a function there, whether the context comes along, the keys, what it needs.
_TABLE = [
    Kind("thread", in_thread, THREAD_INHERITS, _keys("thread greenlet task context callable")),
    Kind("thread+context", in_thread_with_context, True, _keys("thread greenlet task context callable")),
    Kind("greenlet", in_greenlet, False, _keys("greenlet task context"), "greenlet"),
    Kind("greenlet+context", in_greenlet_sharing_context, True, _keys("greenlet task"), "greenlet"),
    Kind("gevent", in_gevent, False, _keys("greenlet task context"), "gevent"),
    Kind("asyncio", in_asyncio_task, True, _keys("task context")),
    Kind("trio", in_trio_task, True, _keys("task context"), "trio"),
    Kind("context", in_context, True, _keys("context")),
    Kind("fork", in_fork, True, _keys("process thread greenlet task context callable")),
]
KINDS = {kind.name: kind for kind in _TABLE}
KEYS = ["process", "thread", "greenlet", "task", "context", "callable"]


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=KEYS)
def key_name(request):
    """The name of a key: each rung of the ladder, and 'callable'."""
    return request.param


@pytest.fixture
def key(key_name):
    """A key: each rung of the ladder, and one made of a callable (a new one each time: of the thread's ident)."""
    if key_name == "callable":
        return xctx.keys.Key(threading.get_ident, "callable")
    return getattr(xctx.keys, key_name)


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def unit_kind(request):
    """A kind of unit, as a `Kind`; skipped where what it needs is not installed."""
    if request.param.reason_to_skip:
        pytest.skip(request.param.reason_to_skip)
    return request.param


@pytest.fixture
def other_unit(unit_kind):
    """other_unit(func): runs `func` in another unit of this kind; gives its result, or raises its exception."""
    return unit_kind.run


@pytest.fixture
def told_apart(key_name, unit_kind):
    """Whether under `key` a unit of this kind is another one than the one that started it."""
    return key_name in unit_kind.told_apart_by


@pytest.fixture
def sees_bindings(key_name, unit_kind):
    """Whether what an xlocal with `key` has bound is visible in a unit of this kind started inside the block."""
    if key_name == "context":
        return unit_kind.carries_context
    return unit_kind.carries_context and key_name not in unit_kind.told_apart_by


def _runner(name):
    @pytest.fixture(name=f"in_{name.replace('+', '_with_')}", scope="session")
    def runner():
        kind = KINDS[name]
        if kind.reason_to_skip:
            pytest.skip(kind.reason_to_skip)
        return kind.run

    runner.__doc__ = f"Runs a function in another unit of the kind {name!r}; skips where there is none."
    return runner


run_in_thread = _runner("thread")
run_in_thread_with_context = _runner("thread+context")
run_in_greenlet = _runner("greenlet")
run_in_greenlet_with_context = _runner("greenlet+context")
run_in_gevent = _runner("gevent")
run_in_asyncio = _runner("asyncio")
run_in_trio = _runner("trio")
run_in_context = _runner("context")
run_in_fork = _runner("fork")


@pytest.fixture(name="in_spawned", scope="session")
def run_in_spawned():
    """in_spawned(func): runs a module's function in a process started anew."""
    return in_spawned


@pytest.fixture
def greenlet():
    """The module greenlet; skips where it is not installed."""
    return pytest.importorskip("greenlet") if installed("greenlet") else pytest.skip("greenlet is not installed")


@pytest.fixture
def gevent():
    """The package gevent; skips where it is not installed."""
    return pytest.importorskip("gevent") if installed("gevent") else pytest.skip("gevent is not installed")


@pytest.fixture
def python():
    """python(source, *options): runs a script in an interpreter of its own and gives what it printed.

    It runs with -X dev and warnings as errors, and fails the test where it writes anything to stderr or ends with
    another status than `status`.
    """

    def run(source, *options, status=0, **environ):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", *options, "-c", source],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(xctx.__file__)), **environ},
        )
        assert (done.stderr, done.returncode) == ("", status)
        return done.stdout

    return run


@pytest.fixture
def count_objects():
    """count_objects(type_name): how many objects of types with that name the garbage collector knows."""

    def count(type_name):
        return sum(type(each).__name__ == type_name for each in gc.get_objects())

    return count


@pytest.fixture
def nothing_stays_bound(eventually):
    """In the end there is no binding that was not there before the test. It waits for threads that still end."""
    gc.collect()
    before = live_bindings()
    yield
    eventually(lambda: live_bindings() <= before)


@pytest.fixture
def no_collector():
    """The garbage collector is off: what dies in the test dies by its reference count."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def eventually():
    """eventually(condition): waits until it holds. For what another thread does after it could tell (as its exit)."""

    def wait(condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("still not so")
            time.sleep(0.001)

    return wait


class Thing:
    """A value that can be referred to weakly."""

    def __init__(self, name="thing"):
        self.name = name

    def __repr__(self):
        return f"<{self.name}>"


@pytest.fixture
def thing():
    """thing(name): makes a new object that can be referred to weakly."""
    return Thing
