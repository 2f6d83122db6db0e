"""The classes that xctx.local stands in for, and itself with several keys."""

import _threading_local
import contextvars
import threading

import pytest
from helpers.packages import installed

import xctx
from xctx import keys


def threading_local():
    return threading.local


def python_local():
    return _threading_local.local


def gevent_local():
    if not installed("gevent"):
        pytest.skip("gevent is not installed")
    from gevent.local import local

    return local


def of_key(name):
    def make():
        return type("local", (xctx.local,), {"__slots__": ()}, key=getattr(keys, name))

    return make


MAKERS = {
    "threading": threading_local,
    "_threading_local": python_local,
    "gevent": gevent_local,
    "xctx": lambda: xctx.local,
    "xctx thread": of_key("thread"),
    "xctx task": of_key("task"),
    "xctx context": of_key("context"),
}


class Weak:
    """A value that can be referred to weakly."""


def run_threads(count, func):
    """Runs func(i) in so many threads at once, each with an empty context; raises what they raised."""
    errors = []
    start = threading.Barrier(count)

    def run(i):
        try:
            start.wait()
            func(i)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=contextvars.Context().run, args=(run, i)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
