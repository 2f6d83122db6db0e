"""Every key and every kind of execution unit, and ways to run a function in a unit of each kind and get its result."""

import contextvars
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from helpers.packages import installed

THREAD_INHERITS = bool(getattr(sys.flags, "thread_inherit_context", False))


# --- running a function in another unit -------------------------------------------------------------------------------


def in_thread(func):
    outcome = []

    def run():
        try:
            outcome.append((func(), None))
        except BaseException as exc:
            outcome.append((None, exc))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return _result(outcome.pop())


def in_fresh_thread(func):
    """In a thread that starts with an empty context, also where threads inherit one."""
    return in_thread(lambda: contextvars.Context().run(func))


def in_thread_with_context(func):
    """In a thread that has a copy of this context, as free-threaded builds from 3.14 on start every thread."""
    return in_thread(lambda context=contextvars.copy_context(): context.run(func))


def in_greenlet(func):
    import greenlet

    return greenlet.greenlet(func).switch()


def in_greenlet_sharing_context(func):
    """In a greenlet whose context is the current one, not a copy, as SQLAlchemy makes its greenlets."""
    import greenlet

    contextvars.copy_context()  # makes sure that there is a context to share
    made = greenlet.greenlet(func)
    made.gr_context = greenlet.getcurrent().gr_context
    return made.switch()


def in_gevent(func):
    import gevent

    return gevent.spawn(func).get()


def in_asyncio_task(func):
    import asyncio

    async def call():
        return func()

    async def main():
        return await asyncio.create_task(call())

    return asyncio.run(main())


def in_trio_task(func):
    import trio

    outcome = []

    async def call():
        try:
            outcome.append((func(), None))
        except BaseException as exc:  # the nursery would raise it within an exception group
            outcome.append((None, exc))

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)

    trio.run(main)
    return _result(outcome.pop())


def in_context(func):
    """In a copy of this context, and otherwise here."""
    return contextvars.copy_context().run(func)


def in_fork(func):
    """In a forked child. What `func` returns or raises is pickled on the way back. A child that hangs is killed."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # 3.12 and later warn if other threads run. The child does nothing but `func`.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        signal.alarm(60)
        try:
            os.close(read_end)
            try:
                outcome = func(), None
            except BaseException as exc:
                outcome = None, exc
            with open(write_end, "wb") as pipe:
                pickle.dump(outcome, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0 and told, f"the forked child died: wait status {status}"
    return _result(pickle.loads(told))


def in_spawned(func):
    """In a process started anew. `func` must be a function of a module that can be imported."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(func)
        pool.close()
        pool.join()
    return result


def _result(outcome):
    value, exc = outcome
    if exc is not None:
        raise exc
    return value


# --- the table: which key tells which kind of unit from the one that asks ---------------------------------------------


def _keys(names):
    return frozenset(names.split())


@dataclass(frozen=True)
class Kind:
    """A kind of execution unit that a function can be run in."""

    name: str
    run: Callable  # run(func): its result, or its exception
    carries_context: bool  # the function starts with the caller's context, or a copy
    told_apart_by: frozenset  # names of the keys under which it runs in another unit than the caller
    needs: str | None = None  # a package

    @property
    def reason_to_skip(self):
        if self.needs and not installed(self.needs):
            return f"{self.needs} cannot be imported here"
        if self.name == "fork" and not hasattr(os, "fork"):
            return "nothing forks here"
        return None


_TABLE = [
    Kind("thread", in_thread, THREAD_INHERITS, _keys("thread greenlet work task flow context callable")),
    Kind("thread+context", in_thread_with_context, True, _keys("thread greenlet work task flow context callable")),
    Kind("greenlet", in_greenlet, False, _keys("greenlet work task flow context"), "greenlet"),
    Kind("greenlet+context", in_greenlet_sharing_context, True, _keys("greenlet work task"), "greenlet"),
    Kind("gevent", in_gevent, False, _keys("greenlet work task flow context"), "gevent"),
    Kind("asyncio", in_asyncio_task, True, _keys("task flow context")),
    Kind("trio", in_trio_task, True, _keys("task flow context"), "trio"),
    Kind("context", in_context, True, _keys("flow context")),
    Kind("fork", in_fork, True, _keys("process thread greenlet work task flow context callable")),
]
KINDS = {kind.name: kind for kind in _TABLE}
KEYS = ["process", "thread", "greenlet", "task", "flow", "work", "context", "callable"]
