"""xlocal beside context variables, thread locals and its namesake."""

import contextlib
import contextvars
import threading

import xctx
from benchmarks.harness import Case, Contender, Reenterable
from benchmarks.rooms import two_threads

try:
    from xlocal import xlocal as old_xlocal
except ImportError:  # not on this interpreter
    old_xlocal = None


class Slots:
    __slots__ = ("a",)


def cases():
    """The cases that this room is measured by."""
    x = xctx.xlocal()
    var = contextvars.ContextVar("var")
    var.set(1)
    unset = contextvars.ContextVar("unset")
    thread_local = threading.local()
    thread_local.a = 1
    slots = Slots()
    slots.a = 1

    bound = x(a=1)
    read = [
        Contender("xctx", "x.a", {"x": x}, bound),
        Contender("ContextVar", "var.get()", {"var": var}),
        Contender("threading.local", "local.a", {"local": thread_local}),
        Contender("__slots__ (floor)", "slots.a", {"slots": slots}, reference=True),
    ]
    block = [
        Contender("xctx", "with x(a=1): pass", {"x": x}),
        Contender("ContextVar", "var.reset(var.set(1))", {"var": unset}),
    ]
    if old_xlocal is not None:
        old = old_xlocal()
        read.append(Contender("xlocal 0.5", "x.a", {"x": old}, Reenterable(lambda: old(a=1))))
        block.append(Contender("xlocal 0.5", "with x(a=1): pass", {"x": old}))
    return [
        Case("xlocal", "read", read, {"ContextVar": 1.5, "threading.local": 0.7, "xlocal 0.5": 1 / 30}),
        # A block gives nothing, a reset variable its None; the same.
        Case("xlocal", "with block", block, {"ContextVar": 2.5, "xlocal 0.5": 1 / 15}),
        Case(
            "xlocal",
            "with block of a scope used again",
            [
                Contender("xctx", "with scope: pass", {"scope": x(a=1)}),
                Contender("xctx, a new scope", "with x(a=1): pass", {"x": x}, reference=True),
            ],
            {"xctx, a new scope": 1.0},
        ),
        Case(
            "xlocal",
            "with block in ten others",
            [
                Contender("xctx", "with x(a=1): pass", {"x": x}, Reenterable(lambda: nested(x, 10))),
                Contender(
                    "xctx, in one other",
                    "with x(a=1): pass",
                    {"x": x},
                    Reenterable(lambda: nested(x, 1)),
                    reference=True,
                ),
            ],
            {"xctx, in one other": 1.05},
        ),
        Case(
            "xlocal",
            "nothing bound (hasattr)",
            [
                Contender("xctx", "hasattr(x, 'b')", {"x": x}, Reenterable(lambda: x(a=1))),
                Contender("threading.local", "hasattr(local, 'b')", {"local": thread_local}),
            ],
            {"threading.local": 1.0},
        ),
        two_threads("xlocal", "read by two threads", reader(x), peers=[("ContextVar", getter(var), ())]),
    ]


@contextlib.contextmanager
def nested(x, depth):
    with contextlib.ExitStack() as stack:
        for number in range(depth):
            stack.enter_context(x(**{f"name{number}": number}))
        yield


def reader(x):
    def make():
        value = object()  # of this thread: a shared value's own count would be what is measured

        def body(number, x=x):  # no cell, for which two threads would queue
            with x(a=value):
                for _ in range(number):
                    x.a  # noqa: B018

        return body

    return make


def getter(var):
    def make():
        value = object()

        def body(number, var=var):
            token = var.set(value)
            for _ in range(number):
                var.get()
            var.reset(token)

        return body

    return make
