"""Taking bindings along, beside taking a whole context along."""

import contextvars

import xctx
from benchmarks.bench_xlocal import Reenterable
from benchmarks.harness import Case, Contender


def cases():
    """The cases that this room is measured by."""
    x = xctx.xlocal()
    return [
        Case(
            "carry",
            "capture",
            [
                Contender("xctx", "capture(x)", {"capture": xctx.capture, "x": x}, Reenterable(lambda: x(a=1))),
                Contender("copy_context", "copy()", {"copy": contextvars.copy_context}, Reenterable(lambda: x(a=1))),
            ],
            {"copy_context": 2.0},
        ),
        Case(
            "carry",
            "capture of all xlocals",
            [
                Contender("xctx", "capture()", {"capture": xctx.capture}, Reenterable(lambda: x(a=1))),
                Contender("copy_context", "copy()", {"copy": contextvars.copy_context}, Reenterable(lambda: x(a=1))),
            ],
            {"copy_context": 2.0},
        ),
        Case(
            "carry",
            "capture of a hundred names",
            [
                Contender("xctx", "capture()", {"capture": xctx.capture}, Reenterable(lambda: many(x, 100))),
                Contender("of one", "capture()", {"capture": xctx.capture}, Reenterable(lambda: x(a=1))),
            ],
            {"of one": 1.1},
        ),
        Case(
            "carry",
            "run in a snapshot",
            [
                Contender("xctx", "run(int)", {"run": taken(x).run, "int": int}),
                Contender("Context.run", "run(int)", {"run": contextvars.copy_context().run, "int": int}),
                Contender("with block", "with x(a=1): int()", {"x": x, "int": int}),
            ],
            {"with block": 1.2},
        ),
        Case(
            "carry",
            "a step of an isolated generator",
            [
                Contender("xctx", "next(steps)", {"steps": xctx.isolated(forever)()}),
                Contender("bound by a decorator", "next(steps)", {"steps": x(a=1)(forever)()}),
                Contender("plain", "next(steps)", {"steps": forever()}),
            ],
            {"bound by a decorator": 1.2},
        ),
    ]


def many(x, number):
    return x(**{f"name{each}": each for each in range(number)})


def taken(x):
    with x(a=1):
        return xctx.capture()


def forever():
    while True:
        yield


def thread_bodies():
    """What two threads do at once: name -> a function for harness.thread_times."""
    x = xctx.xlocal()

    def capture():
        value = object()  # of this thread: a shared value's own count would be what is measured

        def body(number):
            with x(a=value):
                for _ in range(number):
                    xctx.capture(x)

        return body

    def copy():
        def body(number):
            for _ in range(number):
                contextvars.copy_context()

        return body

    return {"carry: capture": capture, "copy_context": copy}
