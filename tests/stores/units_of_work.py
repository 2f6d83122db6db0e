"""Stores of units of work, and the ways to be in one, for the tests of units of work."""

import asyncio
import contextlib

import pytest

import xctx
from xctx import keys

store = xctx.local(key=keys.work)
current = xctx.xlocal()
bound = xctx.xlocal(key=keys.work)


def by_with(func):
    with xctx.work():
        return func()


def by_async_with(func):
    async def main():
        async with xctx.work():
            await asyncio.sleep(0)
            return func()

    return asyncio.run(main())


def by_function(func):
    return xctx.work()(func)()


def by_coroutine(func):
    @xctx.work()
    async def main():
        await asyncio.sleep(0)
        return func()

    return asyncio.run(main())


def by_generator(func):
    @xctx.work()
    def generator():
        yield func()

    with contextlib.closing(generator()) as steps:
        return next(steps)


def by_async_generator(func):
    @xctx.work()
    async def generator():
        await asyncio.sleep(0)
        yield func()

    async def main():
        async with contextlib.aclosing(generator()) as steps:
            return await anext(steps)

    return asyncio.run(main())


def by_hand(func):
    opener = xctx.work()
    with contextlib.ExitStack() as stack:
        stack.enter_context(opener)
        return func()


WAYS = [by_with, by_async_with, by_function, by_coroutine, by_generator, by_async_generator, by_hand]
every_way = pytest.mark.parametrize("inside", WAYS)
