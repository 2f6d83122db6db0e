"""``inspect.signature``, and so ``help`` and editors, know the arguments of every public class, function and method."""

import importlib
import inspect

import pytest
from helpers.packages import installed

import xctx

NEEDS = {"gevent": "gevent", "dramatiq": "dramatiq", "rq": "rq"}
MODULES = ["xctx", "xctx.keys", *(f"xctx.{name}" for name in xctx._MODULES if installed(NEEDS.get(name, "xctx")))]


def public():
    for name in MODULES:
        module = importlib.import_module(name)
        for each in module.__all__:
            thing = getattr(module, each)
            # An exception takes what BaseException does. Keys are objects that can be called.
            left_out = isinstance(thing, xctx.keys.Key) or (
                isinstance(thing, type) and issubclass(thing, BaseException)
            )
            if callable(thing) and not left_out:
                yield f"{name}.{each}", thing
            if isinstance(thing, type):
                for method in vars(thing):
                    if not method.startswith("_") and callable(getattr(thing, method)):
                        yield f"{name}.{each}.{method}", getattr(thing, method)


PUBLIC = dict(public())
NOT_MADE = {"xctx.keys.Unit"}  # by programs


@pytest.mark.parametrize("name", PUBLIC)
def test_each_has_a_signature(name):
    if name in NOT_MADE:
        with pytest.raises(ValueError, match="no signature"):
            inspect.signature(PUBLIC[name])
        with pytest.raises(TypeError):
            PUBLIC[name]()
    else:
        inspect.signature(PUBLIC[name])


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (xctx.xlocal, "(*, key=None)"),
        (xctx.local, "(*args, key=None, **kwargs)"),
        (xctx.work, "()"),
        (xctx.BatchExecutor, "(source, size, *, prefetch=0)"),
        (xctx.SharedLock, "(name=None, *, key=None, on_death='warn')"),
        (xctx.SharedRLock, "(name=None, *, key=None, on_death='warn')"),
        (xctx.keys.Key, "(func, name=None)"),
        (xctx.LocalProxy, "(source, name=None, *, unbound_message=None)"),
    ],
)
def test_a_compiled_class_says_its_arguments_once(cls, arguments):
    assert str(inspect.signature(cls)) == arguments
    assert not cls.__doc__.startswith(cls.__name__ + "(")


def test_a_subclass_has_the_arguments_of_its_own_init():
    class Store(xctx.local):
        def __init__(self, host, port=80):
            pass

    class Current(xctx.xlocal):
        user: str = "nobody"

    assert str(inspect.signature(Store)) == "(host, port=80)"
    assert str(inspect.signature(Current)) == "(*, key=None)"
