"""A binding as a decorator: of functions, methods, coroutine functions, generators and async generators."""

import asyncio
import inspect
import sys
import types
import weakref

import pytest

pytestmark = pytest.mark.usefixtures("nothing_left_bound")


def test_a_function(x):
    @x(a=1)
    def work(n, *, m=0):
        """Adds."""
        return x.a + n + m

    assert work(1, m=2) == 4
    assert (work.__name__, work.__doc__) == ("work", "Adds.")
    assert not hasattr(x, "a")


def test_a_function_that_raises(x):
    @x(a=1)
    def work():
        raise OSError(x.a)

    with pytest.raises(OSError, match="1"):
        work()
    assert not hasattr(x, "a")


def test_a_function_that_calls_itself(x):
    @x(a=1)
    def work(n):
        with x(a=n):
            return (work(n - 1) if n else ()) + (x.a,)

    assert work(3) == (0, 1, 2, 3)


def test_methods(x):
    class Work:
        @x(a=1)
        def method(self):
            return self, x.a

        @classmethod
        @x(a=2)
        def of_class(cls):
            return cls, x.a

        @staticmethod
        @x(a=3)
        def static():
            return x.a

        @property
        @x(a=4)
        def attribute(self):
            return x.a

    work = Work()
    assert (work.method(), Work.of_class(), Work.static(), work.attribute) == ((work, 1), (Work, 2), 3, 4)


def test_what_is_not_callable_is_refused(x):
    with pytest.raises(TypeError, match="a binding decorates a function, not 1"):
        x(a=1)(1)


def test_a_coroutine_function(x):
    @x(a=1)
    async def work(n):
        await asyncio.sleep(0)
        return x.a + n

    assert inspect.iscoroutinefunction(work)

    async def main():
        coroutine = work(1)
        assert not hasattr(x, "a")
        results = await asyncio.gather(coroutine, work(2))
        assert not hasattr(x, "a")
        return results

    assert asyncio.run(main()) == [2, 3]


# --- generators -------------------------------------------------------------------------------------------------------


def test_a_generator_is_bound_while_it_runs_and_not_while_suspended(x):
    @x(a=1)
    def generate():
        for i in range(3):
            assert x.a == 1
            yield i

    assert inspect.isgeneratorfunction(generate)
    generator = generate()
    seen = []
    for i in generator:
        assert not hasattr(x, "a")
        with x(a=2):
            seen.append(i)
            if i == 1:
                assert next(generator) == 2
            assert x.a == 2
    assert seen == [0, 1]


def test_a_generator_takes_what_is_sent_and_returns_a_value(x):
    @x(a=1)
    def generate():
        got = yield x.a
        while got is not None:
            got = yield got, x.a
        return "done"

    generator = generate()
    assert [next(generator), generator.send(5), generator.send(0)] == [1, (5, 1), (0, 1)]
    with pytest.raises(StopIteration) as stop:
        generator.send(None)
    assert stop.value.value == "done"

    def outer():
        return (yield from generate())

    assert list(outer()) == [1]


def test_a_generator_takes_what_is_thrown(x):
    @x(a=1)
    def generate():
        while True:
            try:
                yield
            except KeyError as error:
                assert x.a == 1
                yield error

    generator = generate()
    next(generator)
    error = KeyError("in")
    assert generator.throw(error) is error
    with pytest.raises(OSError, match="out"):
        generator.throw(OSError("out"))
    assert not hasattr(x, "a")
    with pytest.raises(StopIteration):
        next(generator)


def test_a_generator_is_closed_inside_the_binding(x):
    seen = []

    @x(a=1)
    def generate():
        try:
            yield
        finally:
            seen.append(x.a)

    generator = generate()
    next(generator)
    generator.close()
    generator = generate()
    next(generator)
    del generator
    assert seen == [1, 1]


def test_a_generator_that_ignores_being_closed(x):
    @x(a=1)
    def generate():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = generate()
    next(generator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        generator.close()


def test_a_generator_that_returns_when_it_is_closed(x):
    def generate():
        try:
            yield
        except GeneratorExit:
            return "value"

    plain, decorated = generate(), x(a=1)(generate)()
    next(plain)
    next(decorated)
    assert decorated.close() == plain.close()


def test_a_generator_that_raises_stop_iteration(x):
    @x(a=1)
    def generate():
        yield 1
        raise StopIteration(2)

    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        list(generate())


def test_a_suspended_generator_keeps_no_value_of_its_caller(x, thing, no_collector):
    @x(a=1)
    def generate():
        while True:
            try:
                yield thing()
            except KeyError:
                pass

    generator = generate()
    yielded = weakref.ref(next(generator))
    assert yielded() is None
    value = thing()
    sent = weakref.ref(value)
    generator.send(value)
    del value
    assert sent() is None
    error = KeyError()
    error.thing = thing()
    thrown = weakref.ref(error.thing)
    generator.throw(error)
    del error
    assert thrown() is None


def test_two_generators_interleaved(x):
    def generate():
        for _ in range(3):
            yield x.a

    assert list(zip(x(a=1)(generate)(), x(a=2)(generate)(), strict=True)) == [(1, 2)] * 3


def test_a_generator_resumed_in_another_unit(x, other_unit, unit_kind):
    @x(a=1)
    def generate():
        yield x.a
        yield x.a

    generator = generate()
    assert next(generator) == 1
    assert other_unit(lambda: next(generator)) == 1
    assert not hasattr(x, "a")


# --- async generators -------------------------------------------------------------------------------------------------


def run(main):
    return asyncio.run(main())


def test_an_async_generator_is_bound_while_it_runs_and_not_while_suspended(x):
    @x(a=1)
    async def generate():
        for i in range(3):
            await asyncio.sleep(0)
            assert x.a == 1
            yield i

    assert inspect.isasyncgenfunction(generate)

    async def main():
        seen = []
        async for i in generate():
            assert not hasattr(x, "a")
            seen.append(i)
        return seen

    assert run(main) == [0, 1, 2]


def test_an_async_generator_takes_what_is_sent_and_thrown(x):
    @x(a=1)
    async def generate():
        got = yield x.a
        while True:
            try:
                got = yield got, x.a
            except KeyError as error:
                got = error

    async def main():
        generator = generate()
        assert await anext(generator) == 1
        assert await generator.asend(5) == (5, 1)
        error = KeyError("in")
        assert await generator.athrow(error) == (error, 1)
        with pytest.raises(OSError, match="out"):
            await generator.athrow(OSError("out"))
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        assert not hasattr(x, "a")

    run(main)


def test_an_async_generator_is_closed_inside_the_binding(x):
    seen = []

    @x(a=1)
    async def generate():
        try:
            yield
        finally:
            await asyncio.sleep(0)
            seen.append(x.a)

    async def main():
        generator = generate()
        await anext(generator)
        await asyncio.create_task(generator.aclose())
        generator = generate()
        await anext(generator)
        del generator  # closed by the loop, in a task of its own
        for _ in range(10):
            await asyncio.sleep(0)
        assert seen == [1, 1]
        generator = generate()
        await anext(generator)
        main.kept = generator  # closed with the loop

    run(main)
    assert seen == [1, 1, 1]
    assert not hasattr(x, "a")


def test_an_async_generator_that_ignores_being_closed(x):
    @x(a=1)
    async def generate():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    async def main():
        generator = generate()
        await anext(generator)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            await generator.aclose()

    run(main)


def test_a_coroutine_is_cancelled_inside_the_binding(x):
    seen = []

    @x(a=1)
    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(x.a)

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)
    assert seen == [1]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction came with 3.12")
def test_a_function_marked_as_a_coroutine_function(x):
    async def inner():
        return x.a

    def work():
        return inner()

    inspect.markcoroutinefunction(work)

    async def main():
        return await x(a=1)(work)()

    assert run(main) == 1


def test_wrapped_functions_can_be_unwrapped(x):
    def work():
        return 1

    decorated = x(a=1)(work)
    assert isinstance(decorated, types.FunctionType)
    assert inspect.unwrap(decorated) is work
