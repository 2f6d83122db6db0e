"""Fixtures of all rooms, and how much of the tests a run takes. tests/helpers has functions that need no fixture.

Write a test once, over `key` and `unit_kind`::

    def test_a_binding_is_seen_where_the_key_says(key, other_unit, sees_bindings):
        x = xctx.xlocal(key=key)
        with x(a=1):
            assert other_unit(lambda: hasattr(x, "a")) == sees_bindings
"""

import contextvars
import gc
import threading

import pytest
from helpers import effort, packages, waiting
from helpers.interpreters import run_script
from helpers.packages import installed
from helpers.units import KEYS, KINDS, in_fresh_thread, in_spawned

import xctx

pytest.register_assert_rewrite("helpers.lock_contract")

if installed("hypothesis"):
    effort.load_hypothesis_profile()


# --- how tests are chosen and run -------------------------------------------------------------------------------------


def pytest_report_header():
    return f"effort: {effort.EFFORT}, stress tests of {effort.STRESS_SECONDS:g} seconds (see tests/helpers/effort.py)"


def pytest_sessionstart(session):
    if packages.ought_to_be_complete() and (missing := packages.missing()):
        raise pytest.UsageError(f"tests would be skipped, because these are not installed: {', '.join(missing)}")
    if packages.FREE_THREADED and installed("greenlet"):
        import greenlet

        # Where a thread has ended, greenlet gives up a reference to its main greenlet if the collector finds nobody
        # that has it, although another thread may have it at this very time.
        greenlet._greenlet.enable_optional_cleanup(False)


def pytest_ignore_collect(collection_path, config):
    """Tests that need a server are run where they are asked for, as `make test-postgres` and `make test-embedding` do.
    And where there are no locks, of their tests only those that make none."""
    name = collection_path.name
    if name in ("embedding", "postgres") and not any(name in argument for argument in config.args):
        return True
    if collection_path.parent.name == "lock" and not packages.offers("SharedLock"):
        return collection_path.name not in ("test_lock_model.py", "test_lock_absent.py") or None
    return None


def pytest_collection_modifyitems(config, items):
    if left_out := effort.left_out(items):
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


def forget_what_stays():
    """Keeps from the garbage collector what exists between two tests, because that stays.

    In a process that has imported all tests each full collection would take a tenth of a second, and a run of all tests
    has thousands of them. Nothing is ever unfrozen: that would undo it.
    """
    gc.collect()
    gc.freeze()
    forget_what_stays.collections = full_collections()


def full_collections():
    return gc.get_stats()[-1]["collections"]


def pytest_collection_finish():
    forget_what_stays()


def pytest_runtest_setup():
    # What tests import and hypothesis remembers stays too, and would make the collections slow again.
    if full_collections() - forget_what_stays.collections > 20:
        forget_what_stays()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs each test in a context of its own, so that the next test does not see what one leaves bound on purpose."""
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    contextvars.copy_context().run(pyfuncitem.obj, **arguments)
    return True


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=KEYS)
def key_name(request):
    """The name of a key: each of xctx.keys, and 'callable'."""
    return request.param


@pytest.fixture
def key(key_name):
    """A key: each of xctx.keys, and a new one made of a callable, which returns the thread's ident."""
    if key_name == "callable":
        return xctx.keys.Key(threading.get_ident, "callable")
    return getattr(xctx.keys, key_name)


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def unit_kind(request):
    """A kind of unit, as a `Kind`; skipped if the package that it needs is not installed."""
    if request.param.reason_to_skip:
        pytest.skip(request.param.reason_to_skip)
    return request.param


@pytest.fixture
def other_unit(unit_kind):
    """other_unit(func): runs `func` in another unit of this kind; gives its result, or raises its exception."""
    return unit_kind.run


@pytest.fixture
def told_apart(key_name, unit_kind):
    """Whether, under `key`, a function that runs in a unit of this kind runs in another unit than its caller."""
    return key_name in unit_kind.told_apart_by


@pytest.fixture
def sees_bindings(key_name, unit_kind):
    """Whether a binding of an xlocal with `key` is visible in a unit of this kind that is started inside the block."""
    if key_name == "context":
        return unit_kind.carries_context
    if key_name == "flow":
        # A thread that merely inherits its maker's context was not given it on purpose.
        return unit_kind.carries_context and unit_kind.name not in ("thread", "fork")
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


@pytest.fixture(name="in_fresh_thread")
def run_in_fresh_thread():
    """Runs a function in a thread that starts with an empty context."""
    return in_fresh_thread


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
    return run_script


@pytest.fixture
def count_objects():
    """count_objects(type_name): how many objects of types with that name the garbage collector knows."""

    def count(type_name):
        return sum(type(each).__name__ == type_name for each in gc.get_objects())

    return count


@pytest.fixture
def nothing_stays_bound(xctx_nothing_left):
    """Checks that no binding is left that was not there before the test: by xctx's own plugin for pytest."""


@pytest.fixture
def small_heap():
    """The collector has little to look at, so that a test can collect often."""
    forget_what_stays()


@pytest.fixture
def no_collector():
    """The garbage collector is off, so objects die in the test only when nothing refers to them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def eventually():
    """eventually(condition): waits until it holds. For what another thread cannot tell of, such as its own exit."""
    return waiting.eventually


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
