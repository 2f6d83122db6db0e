"""What the tests of proxies share: every way to make a proxy, and things to put behind it."""

import sys
import sysconfig
import types
from contextvars import ContextVar

import pytest

from xctx import LocalProxy, LocalWrapper


def through_variable(obj):
    variable = ContextVar("variable")
    variable.set(obj)
    return LocalProxy(variable)


def lazy(obj):
    return LocalWrapper.lazy(lambda: obj)


def through_callable(obj):
    return LocalProxy(lambda: obj)


def wrapper_of_variable(obj):
    return LocalWrapper(through_variable(obj))


def bare(obj):
    """No proxy at all."""
    return obj


def through_store(obj):
    store = Store()
    store.inner = types.SimpleNamespace(obj=obj)
    return LocalProxy(store, "inner.obj")


class Store:
    """Stands for an xlocal or a local: attributes, and callable for a purpose of its own."""

    __xctx_store__ = True

    def __call__(self, **names):
        raise AssertionError("a store is not a callable source")


LEAVES = [LocalWrapper, lazy, through_variable, through_callable, through_store]


each_leaf = pytest.mark.parametrize("proxy", LEAVES, ids=lambda leaf: leaf.__name__)


# Free-threaded 3.13 makes every class immortal once the program has started a thread.
CLASSES_DIE = not sysconfig.get_config_var("Py_GIL_DISABLED") or sys.version_info >= (3, 14)


class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x, y=0):
        self.x = x
        self.y = y

    def total(self, *more, scale=1):
        return (self.x + self.y + sum(more)) * scale

    @property
    def sum(self):
        return self.x + self.y

    def __eq__(self, other):
        return (self.x, self.y) == (other.x, other.y)

    __hash__ = None


def enter(obj):
    with obj as value:
        return value


def outcome(f, *args):
    try:
        return "returned", f(*args)
    except Exception as error:
        return type(error), error
