"""xctx.nothing(): blocks in which nothing is bound."""

import asyncio
import contextlib
import contextvars
import pickle
import threading

import pytest

import xctx


@pytest.fixture
def x(key):
    return xctx.xlocal(key=key)


@pytest.fixture
def many():
    """More xlocals than are listed, so that contexts are looked through."""
    return [xctx.xlocal() for _ in range(20)]


def names(x):
    return sorted(x.__dict__)


@pytest.mark.usefixtures("nothing_stays_bound")
def test_nothing_is_bound_inside(x):
    with x(a=1), x(b=2):
        with xctx.nothing():
            assert names(x) == []
            with x(c=3):
                assert names(x) == ["c"]
            assert names(x) == []
        assert names(x) == ["a", "b"]


@pytest.mark.usefixtures("nothing_stays_bound")
def test_of_any_xlocal(x, many):
    with contextlib.ExitStack() as stack:
        for each in [x, *many]:
            stack.enter_context(each(a=1))
        with xctx.nothing():
            assert not any(hasattr(each, "a") for each in [x, *many])
        assert all(hasattr(each, "a") for each in [x, *many])


def test_of_some_xlocals(x):
    other = xctx.xlocal()
    with x(a=1), other(a=1), xctx.nothing(x):
        assert (names(x), names(other)) == ([], ["a"])
    with x(a=1), other(a=1), xctx.nothing(x, other, x):
        assert (names(x), names(other)) == ([], [])


def test_where_nothing_is_bound_anyway(x):
    with xctx.nothing():
        assert names(x) == []
        with x(a=1):
            assert x.a == 1
    contextvars.Context().run(test_nothing_is_bound_inside, x)


@pytest.mark.usefixtures("nothing_stays_bound")
def test_nested(x):
    with x(a=1), xctx.nothing(), x(b=2), xctx.nothing():
        assert names(x) == []
    nothing = xctx.nothing()
    with x(a=1), nothing, x(b=2):
        with nothing:
            assert names(x) == []
        assert names(x) == ["b"]


def test_a_default_stays():
    class Current(xctx.xlocal):
        user: str = "nobody"

    current = Current()
    with current(user="ada"), xctx.nothing():
        assert current.user == "nobody"


def test_it_is_undone_by_an_exception(x):
    with x(a=1):
        with pytest.raises(OSError, match="out"), xctx.nothing():
            raise OSError("out")
        assert x.a == 1


@pytest.mark.usefixtures("nothing_stays_bound")
def test_left_in_any_order(x):
    bound, nothing = x(a=1), xctx.nothing()
    with x(b=2):
        bound.__enter__()
        nothing.__enter__()
        bound.__exit__(None, None, None)
        assert names(x) == []
        nothing.__exit__(None, None, None)
        assert names(x) == ["b"]


def test_entered_by_hand_in_two_contexts(x):
    nothing = xctx.nothing()
    here, there = contextvars.Context(), contextvars.Context()
    bound = [x(a=1), x(a=2)]
    here.run(bound[0].__enter__)
    there.run(bound[1].__enter__)
    here.run(nothing.__enter__)
    there.run(nothing.__enter__)
    assert here.run(names, x) == there.run(names, x) == []
    there.run(nothing.__exit__, None, None, None)
    assert (here.run(names, x), there.run(names, x)) == ([], ["a"])
    here.run(nothing.__exit__, None, None, None)
    assert here.run(names, x) == ["a"]
    here.run(bound[0].__exit__, None, None, None)
    there.run(bound[1].__exit__, None, None, None)


@pytest.mark.usefixtures("nothing_stays_bound")
def test_left_in_another_context(x):
    @xctx.transparent
    def steps():
        with xctx.nothing():
            yield

    def begun():
        generator = steps()
        next(generator)
        assert names(x) == []
        return generator

    context = contextvars.copy_context()
    with x(a=1):
        inside = contextvars.copy_context()
        generator = inside.run(begun)
        child = inside.copy()
        thread = threading.Thread(target=generator.close)
        thread.start()
        thread.join()
        del generator
        assert inside.run(names, x) == ["a"]
        assert child.run(names, x) == []
    assert context.run(names, x) == []


def test_what_is_started_inside_has_nothing(x, other_unit, unit_kind):
    with x(a=1), xctx.nothing():
        assert other_unit(lambda: names(x)) == []


def test_decorated_functions(x):
    @xctx.nothing()
    def function():
        return names(x)

    @xctx.nothing()
    def generator():
        yield names(x)
        yield names(x)

    @xctx.nothing()
    async def coroutine():
        await asyncio.sleep(0)
        return names(x)

    async def main():
        with x(a=1):
            return await coroutine()

    with x(a=1):
        assert (function(), list(generator())) == ([], [[], []])
        assert names(x) == ["a"]
    assert asyncio.run(main()) == []


def test_run(x):
    with x(a=1):
        assert xctx.nothing().run(names, x) == []


def test_it_pickles(x):
    nothing = pickle.loads(pickle.dumps(xctx.nothing()))
    with x(a=1), nothing:
        assert names(x) == []


def test_context_variables_stay(x):
    var = contextvars.ContextVar("var")
    token = var.set(1)
    with xctx.nothing():
        assert var.get() == 1
    var.reset(token)


def test_it_takes_xlocals_only():
    with pytest.raises(TypeError, match="nothing takes xlocals, it was given 1"):
        xctx.nothing(1)
    with pytest.raises(TypeError):
        xctx.nothing(contextvars=())


def test_its_looks(x):
    assert repr(xctx.nothing()) == "<snapshot of nothing>"


def test_why_a_name_is_not_seen(x):
    with x(a=1), xctx.nothing(), pytest.raises(AttributeError, match=r": xctx\.nothing\(\) or a snapshot hides it$"):
        _ = x.a
