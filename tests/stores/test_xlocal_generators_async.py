"""What an async generator binds is seen only by what it runs, whatever else its event loop runs."""

import asyncio
import contextlib
import contextvars
import gc
import types

import pytest
from stepping import async_steps, reader, sees_nothing

pytestmark = pytest.mark.sampled


def test_an_async_generators_consumer_does_not_see_it(x, bound):
    async def main():
        seen = []
        async for each in async_steps(bound("inner"), reader(x)):
            seen.append(each)
            assert sees_nothing(x)
            with x(a="loop"):
                await asyncio.sleep(0)
                assert x.a == "loop"
        assert sees_nothing(x)
        return seen

    assert asyncio.run(main()) == ["inner"] * 3


def test_an_async_generator_left_by_break(x, bound):
    async def main():
        async for _ in async_steps(bound("inner"), reader(x)):
            break
        assert sees_nothing(x)
        for _ in range(5):
            gc.collect()
            await asyncio.sleep(0)
            assert sees_nothing(x)

    asyncio.run(main())


def test_an_async_generator_that_is_kept(x, bound):
    async def main():
        kept = async_steps(bound("inner"), reader(x))
        assert await anext(kept) == "inner"
        assert sees_nothing(x)
        with x(a="loop"):
            assert await anext(kept) == "inner"
            assert x.a == "loop"
        return kept

    asyncio.run(main())


def test_a_step_that_is_dropped_in_the_middle_of_an_await(x):
    @types.coroutine
    def pause():
        yield

    async def generate():
        with x(a="inner"):
            await pause()
            yield x.a

    generator = generate()
    step = generator.asend(None)
    step.send(None)
    assert sees_nothing(x)
    del step
    assert sees_nothing(x)
    with contextlib.suppress(RuntimeError, StopIteration):
        generator.aclose().send(None)
    assert sees_nothing(x)


def test_a_decorated_async_generators_step_that_is_dropped(x):
    @types.coroutine
    def pause():
        yield

    @x(a="decorated")
    async def generate():
        await pause()
        yield x.a

    step = generate().asend(None)
    step.send(None)
    assert sees_nothing(x)


def test_async_generators_within_each_other_that_are_cancelled(x):
    seen = []

    async def inner(started):
        try:
            with x(b=2):
                started.set()
                await asyncio.sleep(60)
                yield
        finally:
            seen.append(dict(vars(x)))

    async def outer(started):
        with x(a=1):
            async for _ in inner(started):
                yield

    async def work(started):
        async for _ in outer(started):
            pass

    async def main():
        started = asyncio.Event()
        task = asyncio.create_task(work(started))
        await started.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == [{"a": 1}]


def test_tasks_that_share_a_context(x, key_name):
    async def generate():
        with x(a="inner"):
            await asyncio.sleep(0)
            yield x.a
            await asyncio.sleep(0)
            yield x.a

    async def consume(seen):
        async for each in generate():
            seen.append(each)

    async def look(seen):
        for _ in range(10):
            seen.append(getattr(x, "a", None))
            await asyncio.sleep(0)

    async def main():
        context = contextvars.copy_context()
        one, other = [], []
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            loop.create_task(consume(one), context=context), loop.create_task(look(other), context=context)
        )
        return one, other

    one, other = asyncio.run(main())
    assert one == ["inner"] * 2
    assert other == [None] * 10


def test_tasks_that_a_generator_starts_see_it(x, key_name):
    async def child():
        await asyncio.sleep(0)
        return getattr(x, "a", None)

    async def generate():
        with x(a="inner"):
            yield await asyncio.create_task(child())

    async def main():
        seen = [each async for each in generate()]
        assert sees_nothing(x)
        return seen

    assert asyncio.run(main()) == [None if key_name == "task" else "inner"]


def test_async_managers_bind_for_their_caller(x):
    @contextlib.asynccontextmanager
    async def manager(name):
        await asyncio.sleep(0)
        with x(**{name: 1}):
            await asyncio.sleep(0)
            yield

    @contextlib.asynccontextmanager
    async def outer():
        async with manager("a"), contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(manager("b"))
            stack.enter_context(x(c=1))
            yield

    async def main():
        async with outer():
            await asyncio.sleep(0)
            assert vars(x) == {"a": 1, "b": 1, "c": 1}
        assert sees_nothing(x)

    asyncio.run(main())


def test_a_coroutine_binds_by_hand_for_the_generator_that_awaits_it(x):
    async def part(stack):
        await asyncio.sleep(0)
        stack.enter_context(x(a=1))

    async def whole():
        async with contextlib.AsyncExitStack() as stack:
            await part(stack)
            yield x.a
            await asyncio.sleep(0)
            yield x.a

    async def main():
        seen = []
        async for each in whole():
            seen.append(each)
            assert sees_nothing(x)
        return seen

    assert asyncio.run(main()) == [1, 1]


def test_generators_that_are_coroutines(x):
    @types.coroutine
    def old_style():
        with x(a=1):
            yield
            return x.a

    class Awaited:
        def __await__(self):
            with x(b=1):
                yield
                return x.b

    async def work():
        with x(c=1):
            assert await old_style() == 1
            assert await Awaited() == 1
            await asyncio.sleep(0)
            return dict(vars(x))

    assert asyncio.run(work()) == {"c": 1}
