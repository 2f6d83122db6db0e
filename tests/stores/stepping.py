"""Generators that bind and read in each of their steps, for the tests of what a generator binds."""

import asyncio
import contextlib

import xctx


class Stack:
    """As an ExitStack does, or hooks that somebody calls by hand. It is used in the generator's own frame."""

    def __init__(self, opener, stack):
        self.opener, self.stack = opener, stack


@contextlib.contextmanager
def nothing():
    yield


def steps(opened, read, times=3):
    """A generator that binds and reads in each of its steps."""
    if isinstance(opened, Stack) and opened.stack:
        with contextlib.ExitStack() as stack:
            stack.enter_context(opened.opener)
            for _ in range(times):
                yield read()
    elif isinstance(opened, Stack):
        opened.opener.__enter__()
        try:
            for _ in range(times):
                yield read()
        finally:
            opened.opener.__exit__(None, None, None)
    else:
        with opened:
            for _ in range(times):
                yield read()


async def async_steps(opened, read, times=3):
    if isinstance(opened, Stack) and opened.stack:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(opened.opener)
            for _ in range(times):
                await asyncio.sleep(0)
                yield read()
    elif isinstance(opened, Stack):
        opened.opener.__enter__()
        try:
            for _ in range(times):
                await asyncio.sleep(0)
                yield read()
        finally:
            opened.opener.__exit__(None, None, None)
    else:
        with opened:
            for _ in range(times):
                await asyncio.sleep(0)
                yield read()


def reader(x):
    return lambda: getattr(x, "a", None)


def sees_nothing(x):
    assert not hasattr(x, "a")
    assert vars(x) == {}
    assert "a" not in dir(x)
    assert xctx.capture(x).run(lambda: dict(vars(x))) == {}
    assert xctx.capture().run(lambda: dict(vars(x))) == {}
    return True
