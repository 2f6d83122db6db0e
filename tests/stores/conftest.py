"""What the tests of stores share: a store with each key, and the classes that xctx.local stands in for."""

import contextvars

import pytest
import units_of_work
from makers import MAKERS
from stepping import Stack

import xctx


@pytest.fixture
def x(key):
    """An xlocal with each key."""
    return xctx.xlocal(key=key)


@pytest.fixture(params=["scope", "snapshot", "snapshot of all", "by hand", "stack", "snapshot by hand"])
def bound(request, x):
    """Makes a context manager that binds `a` in a generator, in each of the ways that there are."""

    def make(value):
        opener = x(a=value)
        if "snapshot" in request.param:
            with opener:
                opener = xctx.capture() if request.param.endswith("all") else xctx.capture(x)
        if "hand" in request.param or request.param == "stack":
            return Stack(opener, request.param == "stack")
        return opener

    return make


@pytest.fixture
def nothing_left_bound():
    """A test leaves nothing behind in the context that it runs in."""
    before = list(contextvars.copy_context())
    yield
    assert list(contextvars.copy_context()) == before


@pytest.fixture
def outside_of_any_work():
    """Each test starts with nothing outside of any unit of work, and leaves none open."""
    vars(units_of_work.store).clear()
    assert xctx.work.current() is None
    yield
    assert xctx.work.current() is None


@pytest.fixture
def store(key):
    return xctx.local(key=key)


@pytest.fixture
def starts_empty(key_name, told_apart, sees_bindings):
    """Whether another unit of this kind finds nothing in a store that this one has filled."""
    if key_name in ("flow", "context"):
        return not sees_bindings
    return told_apart


@pytest.fixture
def writes_back(key_name, told_apart):
    """Whether this unit sees what the other one writes."""
    return not told_apart


@pytest.fixture(params=MAKERS)
def maker(request):
    return request.param


@pytest.fixture
def local(maker):
    """The class under test."""
    return MAKERS[maker]()


@pytest.fixture
def log():
    """What finalisers write into: see `finalised.Value`."""
    return []
