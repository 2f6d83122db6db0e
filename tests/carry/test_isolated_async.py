"""Coroutines and async generators whose bindings no other code sees or disturbs while they are suspended."""

import asyncio
import gc
import inspect
import sys
import types
import weakref

import pytest

import xctx


def test_what_a_coroutine_binds_stays_with_it(keep, x):
    """Driven by hand, step by step: a task would keep them apart by itself."""

    @types.coroutine
    def pause(value):
        return (yield value)

    @keep
    async def work():
        with x(a=1):
            got = await pause(vars(x))
            with x(b=2):
                try:
                    await pause(got)
                except ValueError:
                    return vars(x)

    each = work()
    assert (each.send(None), vars(x)) == ({"a": 1}, {})
    with x(mine=1):
        assert (each.send("got"), vars(x)) == ("got", {"mine": 1})
        with pytest.raises(StopIteration) as stop:
            each.throw(ValueError)
        assert vars(x) == {"mine": 1}
    assert stop.value.value == {"a": 1, "b": 2}


def test_coroutines_in_one_task(keep, x):
    @keep
    async def work(number):
        with x(a=number):
            await asyncio.sleep(0)
            assert x.a == number
            async with asyncio.timeout(60):
                await asyncio.sleep(0)
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            return x.a

    async def main():
        with x(mine=1):
            seen = [await work(1), *await asyncio.gather(work(2), work(3))]
            return seen, vars(x)

    assert asyncio.run(main()) == ([1, 2, 3], {"mine": 1})


def test_a_coroutine_that_is_cancelled(keep, x):
    seen = []

    @keep
    async def work():
        with x(a=1):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                seen.append(vars(x))

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == [{"a": 1}]


def test_a_trio_task(keep, x):
    trio = pytest.importorskip("trio")

    @keep
    async def work(number):
        with x(a=number):
            await trio.sleep(0)
            with trio.move_on_after(0.001):
                await trio.sleep(60)
            return x.a

    async def main():
        with x(mine=1):
            return await work(1), await work(2), vars(x)

    assert trio.run(main) == (1, 2, {"mine": 1})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction came with 3.12")
def test_a_function_marked_as_a_coroutine_function(keep, x):
    async def inner():
        with x(a=1):
            await asyncio.sleep(0)
            return vars(x)

    def work():
        return inner()

    inspect.markcoroutinefunction(work)

    async def main():
        return await keep(work)(), vars(x)

    assert asyncio.run(main()) == ({"a": 1}, {})


# Async generators


def test_what_an_async_generator_binds_stays_with_it(keep, x):
    @keep
    async def work():
        with x(a=1):
            got = yield vars(x)
            await asyncio.sleep(0)
            with x(b=got):
                try:
                    yield vars(x)
                except ValueError:
                    yield "thrown", vars(x)
        yield vars(x)

    async def main():
        each = work()
        seen = [(await anext(each), vars(x))]
        with x(mine=1):
            seen.append((await each.asend(5), vars(x)))
        seen.append((await each.athrow(ValueError), vars(x)))
        seen += [item async for item in each]
        return seen

    assert asyncio.run(main()) == [
        ({"a": 1}, {}),
        ({"a": 1, "b": 5}, {"mine": 1}),
        (("thrown", {"a": 1, "b": 5}), {}),
        {},
    ]


@pytest.mark.parametrize("how", ["aclose", "drop", "loop", "other task"])
def test_the_end_of_an_async_generator(keep, x, how, key_name):
    seen = []

    @keep
    async def work():
        with x(a=1):
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                seen.append(vars(x))
        seen.append("not reached")

    async def main():
        each = work()
        with x(mine=1):
            async for _ in each:
                break
            if how == "aclose":
                await each.aclose()
            elif how == "drop":
                del each  # the loop closes it in a task of its own
                await asyncio.sleep(0.01)
            elif how == "other task":
                await asyncio.create_task(each.aclose())
            assert vars(x) == {"mine": 1}
        if how == "loop":
            loop_left.append(each)

    loop_left = []
    asyncio.run(main())
    # When the loop shuts down there may be no task at all, so the unit is yet another one.
    assert seen == [{"mine": 1, "a": 1} if keep is xctx.isolated else {"a": 1}]
    assert vars(x) == {}


def test_nothing_of_a_finished_one_stays_alive(keep, x, thing, no_collector):
    def refs_of(func):
        value = thing()
        ref = weakref.ref(value)
        func(value)
        return ref

    @keep
    def generator(value):
        with x(a=value):
            yield
        yield

    @keep
    async def coroutine(value):
        with x(a=value):
            await asyncio.sleep(0)

    @keep
    async def async_generator(value):
        with x(a=value):
            yield
        yield

    async def consume(value):
        async for _ in async_generator(value):
            pass

    alive = []

    def step_out(value):
        each = generator(value)
        next(each)
        del value
        alive.append(each)

    assert refs_of(lambda value: list(generator(value)))() is None
    ref = refs_of(step_out)
    assert ref() is not None
    alive.clear()
    assert ref() is None
    for run in (coroutine, consume):
        ref = refs_of(lambda value, run=run: asyncio.run(run(value)))
        gc.collect()  # a loop that ran is a cycle
        assert ref() is None


@pytest.mark.parametrize("decorate", [xctx.isolated, lambda func: xctx.xlocal()(a=1)(func)], ids=["isolated", "bound"])
def test_an_exception_that_ends_one_is_in_no_cycle(decorate, no_collector):
    class Thrown(Exception):
        pass

    @decorate
    def generator():
        yield

    @decorate
    async def async_generator():
        yield

    def throw(into):
        box = [Thrown()]  # no frame of the test holds it
        ref = weakref.ref(box[0])
        with pytest.raises(Thrown):
            into(box)
        return ref

    each = generator()
    next(each)
    assert throw(lambda box: each.throw(box.pop()))() is None
    each = async_generator()
    with pytest.raises(StopIteration):
        anext(each).send(None)
    assert throw(lambda box: each.athrow(box.pop()).send(None))() is None
