"""carry: functions of each kind that run with what was seen where they were carried."""

import asyncio
import weakref

import pytest

import xctx


def test_carry_takes_what_is_seen_when_it_is_called(x, other_unit):
    with x(a=1):
        carried = xctx.carry(lambda b: (x.a, b))
        with x(a=2):
            assert other_unit(lambda: carried(5)) == (1, 5)
    assert other_unit(lambda: carried(b=6)) == (1, 6)


def test_what_is_carried_already_is_not_wrapped_again(x, y):
    """It would see nothing of a second snapshot of all xlocals."""
    with x(a=1):
        once = xctx.carry(dict)
    with y(b=2):
        assert xctx.carry(once) is once
    with x(a=3):
        chosen = xctx.capture(x)(lambda: (vars(x), vars(y)))
    with x(a=4), y(b=5):
        twice = xctx.carry(chosen)
    assert twice is not chosen
    assert twice() == ({"a": 3}, {"b": 5})


def test_carried_functions_nested_too_deep_end_in_a_recursion_error():
    snapshot = xctx.capture()
    innermost = function = xctx.carry(int)
    for _ in range(100_000):
        function = type(innermost)(snapshot, function)
    with pytest.raises(AttributeError):
        function.missing
    with pytest.raises(RecursionError):
        repr(function)
    with pytest.raises(RecursionError):
        function()


def test_carry_as_a_decorator_of_functions_and_methods(x):
    with x(a=1):

        @xctx.carry
        def function():
            """Documented."""
            return x.a

        class Class:
            @xctx.carry
            def method(self, b):
                return self, x.a, b

    instance = Class()
    assert function() == 1
    assert instance.method(2) == (instance, 1, 2)
    assert Class.method(instance, 3) == (instance, 1, 3)
    assert function.__name__ == "function"
    assert function.__wrapped__.__doc__ == "Documented."
    assert weakref.ref(function)() is function


def test_a_carried_coroutine_keeps_to_its_snapshot(x):
    async def work(b):
        before = vars(x)
        with x(b=b):
            await asyncio.sleep(0)
            return before, vars(x)

    with x(a=1):
        carried = xctx.carry(work)

    async def main():
        with x(c=3):
            both = await asyncio.gather(carried(1), carried(2))
            direct = await carried(3)
            return both, direct, vars(x)

    expected = [({"a": 1}, {"a": 1, "b": number}) for number in (1, 2, 3)]
    assert asyncio.run(main()) == (expected[:2], expected[2], {"c": 3})


def test_a_carried_generator_sees_its_snapshot_and_what_it_binds(x):
    def work():
        with x(b=2):
            yield vars(x)
            yield vars(x)
        yield vars(x)

    with x(a=1):
        carried = xctx.carry(work)
    with x(c=3):
        seen = []
        for each in carried():
            seen.append(each)
            assert vars(x) == {"c": 3}
    assert seen == [{"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1}]


# What stays alive
