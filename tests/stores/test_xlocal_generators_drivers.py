"""Generators that bind for their caller: managers, and those marked as transparent."""

import asyncio
import contextlib
import types

import pytest
from stepping import sees_nothing, steps

import xctx

pytestmark = pytest.mark.sampled


def test_managers_bind_for_their_caller(x):
    @contextlib.contextmanager
    def inner(name):
        with x(**{name: 1}):
            yield

    @contextlib.contextmanager
    def outer():
        with x(a=1), inner("b"), contextlib.ExitStack() as stack:
            stack.enter_context(inner("c"))
            stack.enter_context(x(d=1))
            assert vars(x) == {"a": 1, "b": 1, "c": 1, "d": 1}
            yield

    with outer():
        assert vars(x) == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert sees_nothing(x)

    @outer()
    def decorated():
        return dict(vars(x))

    assert decorated() == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert sees_nothing(x)


def test_a_manager_that_delegates(x):
    def binds(name):
        with x(**{name: 1}):
            yield

    @contextlib.contextmanager
    def delegates():
        yield from binds("a")

    @contextlib.contextmanager
    def iterates():
        for each in binds("a"):
            assert sees_nothing(x)
            yield each

    with delegates():
        assert vars(x) == {"a": 1}
    with iterates():
        assert sees_nothing(x)
    assert sees_nothing(x)


def test_a_manager_in_a_generator(x):
    """What it binds is its caller's, and that is a generator: nothing tells so, as with a context variable."""

    @contextlib.contextmanager
    def manager():
        with x(a=1):
            yield

    def generate():
        with manager():
            yield x.a

    generator = generate()
    assert next(generator) == 1
    generator.close()
    assert sees_nothing(x)


def test_transparent(x):
    @xctx.transparent
    def binds(name="a"):
        with x(**{name: 1}):
            yield
            yield x.a

    def delegates():
        yield from binds()

    class Methods:
        @xctx.transparent
        def plain(self):
            yield from binds()

        @xctx.transparent
        @staticmethod
        def static():
            with x(a=1):
                yield

        @classmethod
        @xctx.transparent
        def of_class(cls):
            with x(a=1):
                yield

    for generator in (binds(), delegates(), Methods().plain(), Methods.static(), Methods.of_class()):
        next(generator)
        assert vars(x) == {"a": 1}
        generator.close()
        assert sees_nothing(x)
    assert xctx.transparent(binds) is binds
    assert not hasattr(binds, "__wrapped__")


def test_transparent_async_generators(x):
    @xctx.transparent
    async def binds():
        await asyncio.sleep(0)
        with x(a=1):
            yield

    async def main():
        generator = binds()
        await anext(generator)
        seen = dict(vars(x))
        await generator.aclose()
        return seen, dict(vars(x))

    assert asyncio.run(main()) == ({"a": 1}, {})


@pytest.mark.parametrize(
    "thing", [len, 3, lambda: 1, contextlib.contextmanager(steps), types.coroutine(lambda: (yield))]
)
def test_transparent_marks_generator_functions_alone(thing):
    with pytest.raises(TypeError, match="generator function"):
        xctx.transparent(thing)


def test_a_decorated_generator_that_binds(x):
    @x(a="decorated")
    def generate():
        yield x.a
        with x(a="inner"):
            yield x.a
            yield x.a
        yield x.a

    assert list(generate()) == ["decorated", "inner", "inner", "decorated"]
    assert sees_nothing(x)
