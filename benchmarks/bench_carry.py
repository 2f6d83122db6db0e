"""Taking bindings along, beside taking a whole context along."""

import contextlib
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
    many = [xctx.xlocal() for _ in range(100)]
    of_three = taken(*many[10:40:10])
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
                Contender("xctx", running(snapshot.run)),
                Contender("Context.run", running(contextvars.copy_context().run)),
            ],
            {"Context.run": 5.0},
            same=False,
        ),
        # A hundred xlocals are alive, three of them bound in the snapshot.
        Case(
            "carry",
            "run in a snapshot of three of many xlocals",
            [
                Contender("xctx", running(of_three.run, many)),
                Contender("Context.run", running(contextvars.copy_context().run)),
            ],
            {"Context.run": 5.0},
            same=False,
        ),
        Case(
            "carry",
            "with a snapshot of three of many xlocals",
            [
                Contender("xctx", entering(of_three, many)),
                Contender("xctx, with block of two names", entering(x(a=1, b=2)), reference=True),
            ],
            {"xctx, with block of two names": 1.3},
        ),
        # Where something is set already, in the same mapping each time.
        Case(
            "carry",
            "run in a snapshot within a block",
            [
                Contender("xctx", "run(int)", {"run": snapshot.run, "int": int}, one()),
                Contender("Context.run", "run(int)", {"run": contextvars.copy_context().run, "int": int}, one()),
            ],
            {"Context.run": 5.0},
            same=False,
        ),
        # And where it is set anew each time, so that what is bound has to be put there one by one.
        Case(
            "carry",
            "run in a snapshot of three where the context changes",
            [
                Contender("xctx", changing(of_three.run)),
                Contender("Context.run", changing(contextvars.copy_context().run), reference=True),
            ],
            same=False,
        ),
        Case(
            "carry",
            "with a snapshot within a block",
            [
                Contender("xctx", "with snapshot: pass", {"snapshot": snapshot}, one()),
                Contender("xctx, with block of two names", "with x(a=1, b=2): pass", names, one(), reference=True),
            ],
            {"xctx, with block of two names": 1.3},
        ),
        Case(
            "carry",
            "carry of what is carried already",
            [
                Contender("xctx", "carry(carried)", {"carry": xctx.carry, "carried": xctx.carry(nothing)}, one()),
                Contender("xctx, once", "carry(plain)", {"carry": xctx.carry, "plain": nothing}, one(), reference=True),
            ],
            {"xctx, once": 1.0},
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
            {"plain generator": 6.0, "xctx, decorated": 1.2},
        ),
        two_threads("two threads", "capture", captures, peers=[("copy_context", copies, None)]),
    ]


def taken(*xlocals):
    with contextlib.ExitStack() as stack:
        for each in xlocals:
            stack.enter_context(each(a=1))
        return xctx.capture()


# In a context in which nothing is set, as a thread or greenlet has it where it begins.


def running(run, _alive=()):
    def loop(number, run=run, func=int, _alive=_alive):
        for _ in range(number):
            run(func)

    return lambda: lambda number: contextvars.Context().run(loop, number)


def changing(run):
    var = contextvars.ContextVar("var")

    def loop(number, run=run, func=int, change=var.set):
        for each in range(number):
            change(each)
            run(func)

    return lambda: lambda number: contextvars.Context().run(loop, number)


def entering(block, _alive=()):
    def loop(number, block=block, _alive=_alive):
        for _ in range(number):
            with block:
                pass

    return lambda: lambda number: contextvars.Context().run(loop, number)


def nothing():
    pass


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
