"""pytest: each test is a unit of work, together with its fixtures of function scope; what it leaves is an error.

Where xctx is installed, pytest has two more settings and some fixtures. For a suite that uses none of them nothing
changes, except that xctx is imported, which takes some 20 milliseconds.

``xctx_units = true``
    Each test is a unit of work (:class:`xctx.work`), with its fixtures of function scope. Fixtures of a wider scope are
    made outside of it, whichever test asks for them: what they bind is seen by all tests until the end of the fixture.
    After the last finaliser of a test, what it has left open in an ``xlocal`` is taken out of the context, and what it
    has left in a ``local`` under another key than ``work`` is deleted. The test then has an error that names both.

``xctx_keeps = app.db:connections app.cache:parsers``
    Locals in which tests may leave what they like, such as caches. Also ignored are a ``local`` whose class has an
    ``__init__``, names that a :func:`xctx.field` makes, and a ``local`` that the test itself has made.

The fixture ``xctx_bind`` is a function that enters a block, such as ``current(user="ada")``, until the end of the test.
``xctx_bind_class``, ``xctx_bind_module``, ``xctx_bind_package`` and ``xctx_bind_session`` do so until the end of their
scope. The fixture ``xctx_nothing_left`` checks that the test has left nothing bound in any context of any thread, which
takes as long as a garbage collection.

Where plugins are not loaded by themselves, ``-p xctx.pytest`` loads this one.
"""

import contextlib
import contextvars
import gc
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, TypeVar

import pytest

from xctx._runtime.importable import find_name, object_of_type_at
from xctx._stores.fields import Field
from xctx._stores.inspection import all_bindings, kept_here, live_bindings, made_by_now, store_of
from xctx._stores.local import local
from xctx._stores.works import WorkSteps, here

__all__: list[str] = []

_R = TypeVar("_R")

# How long a thread that has nothing more to do may take to end. Seconds.
ENDING = 10


# --- what pytest finds here -------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("xctx_units", "Each test is a unit of work, and what it leaves is an error.", "bool", False)
    parser.addini("xctx_keeps", "Locals in which tests may leave what they like, as module:name.", "args", [])


def pytest_configure(config: pytest.Config) -> None:
    if config.getini("xctx_units"):
        config.pluginmanager.register(Units(config), "xctx_units")


@pytest.fixture
def xctx_bind() -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """xctx_bind(current(user="ada")): binds until the end of the test. Any block can be entered by it."""
    with ExitStack() as stack:
        yield stack.enter_context


def _binds_outside(config: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    # A test that calls this binds for the tests that follow too, so it does so outside of its own unit of work.
    units = config.pluginmanager.get_plugin("xctx_units")
    with ExitStack() as stack:
        yield stack.enter_context if units is None else partial(units.outside, stack.enter_context)


@pytest.fixture(scope="class")
def xctx_bind_class(pytestconfig: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """As xctx_bind, until the end of the class."""
    yield from _binds_outside(pytestconfig)


@pytest.fixture(scope="module")
def xctx_bind_module(pytestconfig: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """As xctx_bind, until the end of the module."""
    yield from _binds_outside(pytestconfig)


@pytest.fixture(scope="package")
def xctx_bind_package(pytestconfig: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """As xctx_bind, until the end of the package."""
    yield from _binds_outside(pytestconfig)


@pytest.fixture(scope="session")
def xctx_bind_session(pytestconfig: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """As xctx_bind, until the end of the run."""
    yield from _binds_outside(pytestconfig)


@pytest.fixture
def xctx_nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks that the test leaves nothing bound in any context of any thread. Takes as long as a garbage collection."""
    with checking_everywhere(request.node.nodeid):
        yield


# --- units of work ----------------------------------------------------------------------------------------------------


class Units:
    """The hooks by which each test becomes a unit of work."""

    def __init__(self, config: pytest.Config) -> None:
        self.names: list[str] = config.getini("xctx_keeps")
        self.keeps: list[local] = []
        self.test: Test | None = None  # the one that is running

    def pytest_collection_finish(self) -> None:
        # Not before: resolving a name imports its module, which a suite may want to prepare.
        self.keeps = [_named(name) for name in self.names]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        self.test = Test(item, self.keeps)
        try:
            return (yield)
        finally:
            self.test.leave()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        test = self.test
        if test is None:
            return (yield)
        if fixturedef.scope == "function":
            test.enter()
            return (yield)
        # What belongs to more than the test is made outside of it, also where the test or its fixtures ask for it.
        inside = test.leave()
        try:
            return (yield)
        finally:
            if inside:
                test.enter()

    def outside(self, func: Callable[..., _R], *args: Any) -> _R:
        """Calls a function outside of the unit of work of the test that runs, if one does."""
        inside = self.test is not None and self.test.leave()
        try:
            return func(*args)
        finally:
            if inside and self.test is not None:
                self.test.enter()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        assert self.test is not None
        self.test.enter()
        # An IsolatedAsyncioTestCase copied its context when it was made, before there were fixtures.
        case: Any = getattr(self.test.item, "instance", None)
        if hasattr(case, "_asyncioTestContext"):
            case._asyncioTestContext = contextvars.copy_context()
        try:
            return (yield)
        finally:
            self.test.leave()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        test = self.test
        if test is None:
            return (yield)
        if test.begun:
            test.enter()
        try:
            return (yield)
        finally:
            self.test = None
            test.leave()
            test.close()


class Test:
    """The unit of work of one test, in steps: setting up, the call, tearing down. Between them it is in none.

    Thread-safety: used by the thread that runs the tests.
    Lifetime: from the test's setting up until the last of its finalisers.
    """

    def __init__(self, item: pytest.Item, keeps: list[local]) -> None:
        self.item = item
        self.keeps = keeps
        self.steps = WorkSteps()
        self.begun = False
        self.inside = False
        # Names by the id of the place that keeps them (see kept_here). No id means two places: a local that is made
        # during the test does not count, and contexts hold their variables.
        self.before: dict[int, set[str]] = {}  # what was kept when this step began
        self.added: dict[int, tuple[Callable[[], Any], set[str]]] = {}  # what steps have added; refers weakly to locals
        self.first = 0  # stores with a smaller number were there before the test

    def enter(self) -> None:
        """Begins a step, unless one was begun."""
        if self.inside:
            return
        if not self.begun:
            self.begun = True
            self.first = made_by_now()
            self.item.addfinalizer(self.end)  # the first one is called last
        self.before = {id(place): names for place, names in self.kept_now()}
        self.steps.__enter__()
        self.inside = True

    def leave(self) -> bool:
        """Ends the step, if one was begun. Returns whether one was."""
        if not self.inside:
            return False
        self.inside = False
        self.steps.__exit__(None, None, None)
        for place, names in self.kept_now():
            added = names - self.before.get(id(place), set())
            if added:
                self.added.setdefault(id(place), (_reference(place), set()))[1].update(added)
        return True

    def close(self) -> None:
        self.steps.close()

    def end(self) -> None:
        """Ends the unit of work, and fails if the test has left anything."""
        self.leave()
        if self.opened() or self.remaining():
            gc.collect()
        opened, kept = self.opened(), self.remaining()
        with warnings.catch_warnings():
            if opened:  # what xctx.debug.track() would warn of is told here
                warnings.filterwarnings("ignore", "a unit of work has ended in which blocks were left open")
            self.close()
        for store, names in kept:
            for name in names:
                with contextlib.suppress(AttributeError):
                    local.__delattr__(store, name)
        left = [f"{kind}: {'; '.join(told)}" for kind, told in (("open", opened), ("kept", _told(kept, "in"))) if told]
        if left:
            pytest.fail(f"{self.item.nodeid} has left {', and '.join(left)}", pytrace=False)

    def opened(self) -> list[str]:
        """What is still open of what the steps have opened, in words."""
        told = []
        for store, names, opened_at in self.steps.still_open():
            what = "a unit of work" if store is here else f"{_listed(names)} of {_called(store)}"
            told.append(what if opened_at is None else f"{what}, entered in {opened_at[0]}, line {opened_at[1]}")
        return sorted(told)

    def remaining(self) -> list[tuple[local, list[str]]]:
        """What is still kept of what the steps have added."""
        found = []
        now = {id(place): names for place, names in self.kept_now()}
        for key, (reference, added) in self.added.items():
            place = reference()
            left = added & now.get(key, set())
            store = store_of(place, self.first) if left else None
            if isinstance(store, local) and not any(store is each for each in self.keeps):
                left -= {name for name in left if isinstance(_class_attribute(type(store), name), Field)}
                if left:
                    found.append((store, sorted(left)))
        return found

    def kept_now(self) -> list[tuple[Any, set[str]]]:
        return kept_here(self.first)


def _reference(place: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(place)
    except TypeError:  # a context variable, which does not die with the test
        return lambda: place


def _class_attribute(cls: type, name: str) -> object:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _named(name: str) -> local:
    module, _, qualname = name.partition(":")
    try:
        return object_of_type_at(local, module, qualname)  # type: ignore[no-any-return]
    except LookupError as exc:
        raise pytest.UsageError(f"xctx_keeps names locals, as module:name, and {name!r} is none: {exc}") from exc


# --- everywhere -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def checking_everywhere(nodeid: str) -> Iterator[None]:
    """Fails if bindings are alive at the end that were not there at the beginning, in any context of any thread.

    Waits for threads that are still ending, and collects what is left in cycles before it counts.
    """
    gc.collect()
    before, known = live_bindings(), Counter(all_bindings())
    yield
    latest = time.monotonic() + ENDING
    while live_bindings() > before:
        gc.collect()
        if time.monotonic() > latest and live_bindings() > before:
            left = Counter(all_bindings()) - known
            told = sorted(f"{_listed(names)} of {_called(store)}" for store, names in left)
            pytest.fail(f"{nodeid} has left bound: {'; '.join(told)}", pytrace=False)
        time.sleep(0.01)


# --- in words ---------------------------------------------------------------------------------------------------------


def _told(kept: list[tuple[local, list[str]]], word: str) -> list[str]:
    return sorted(f"{_listed(names)} {word} {_called(store)}" for store, names in kept)


def _listed(names: Any) -> str:
    return ", ".join(map(repr, sorted(names))) or "nothing"


def _called(store: object) -> str:
    """The name that a store has in a module, or else its type's."""
    try:
        return ".".join(find_name(store))
    except TypeError:
        return f"{type(store).__module__}.{type(store).__qualname__}()"
