"""Taking bindings along, beside taking a whole context along."""

import contextvars

import xctx
from benchmarks.harness import Case, Contender, Reenterable
from benchmarks.rooms import two_threads


def cases():
    """The cases that this room is measured by."""
    x = xctx.xlocal()
    capture, copy = xctx.capture, contextvars.copy_context

    def one():
        return Reenterable(lambda: x(a=1))

    def hundred():
        return Reenterable(lambda: x(**{f"name{number}": number for number in range(100)}))

    names = {"capture": capture, "copy": copy, "x": x, "int": int}
    snapshot = taken(x)
    return [
        # Beside a context, which is more: all context variables, whether or not they mean anything elsewhere.
        Case(
            "carry",
            "capture",
            [
                Contender("xctx", "capture(x)", names, one()),
                Contender("copy_context", "copy()", names, one()),
                Contender("xctx, of a hundred names", "capture(x)", names, hundred(), reference=True),
            ],
            {"copy_context": 2.0, "xctx, of a hundred names": 1.1},
            same=False,
        ),
        # There are more xlocals here than are listed, so the context is looked through.
        Case(
            "carry",
            "capture of all of many xlocals",
            [
                Contender("xctx", "capture()", {"many": [xctx.xlocal() for _ in range(20)], **names}, one()),
                Contender("copy_context", "copy()", names, one()),
            ],
            {"copy_context": 4.0},
            same=False,
        ),
        Case(
            "carry",
            "run in a snapshot",
            [
                Contender("xctx", "run(int)", {"run": snapshot.run, **names}),
                Contender("Context.run", "run(int)", {"run": contextvars.copy_context().run, **names}),
                Contender("xctx, with block", "with x(a=1): int()", names, reference=True),
            ],
            {"xctx, with block": 1.2},
            same=False,
        ),
        Case(
            "carry",
            "a step of an isolated generator",
            [
                Contender("xctx", "next(steps)", lambda: {"steps": xctx.isolated(forever)()}),
                Contender("plain generator", "next(steps)", lambda: {"steps": forever()}, reference=True),
                Contender("xctx, decorated", "next(steps)", lambda: {"steps": x(a=1)(forever)()}, reference=True),
            ],
            {"xctx, decorated": 1.2},
        ),
        two_threads("two threads", "capture", captures, peers=[("copy_context", copies, None)]),
    ]


def taken(x):
    with x(a=1):
        return xctx.capture()


def forever():
    while True:
        yield


SHARED = xctx.xlocal()


def captures():
    value = object()  # of this thread: a shared value's own count would be what is measured

    def body(number):
        with SHARED(a=value):
            for _ in range(number):
                xctx.capture(SHARED)

    return body


def copies():
    def body(number):
        for _ in range(number):
            contextvars.copy_context()

    return body
