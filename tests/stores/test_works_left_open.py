"""What is left open in a unit of work is gone with it, and nothing else is."""

import contextvars
import weakref

import pytest
from units_of_work import current, every_way, store

import xctx
from xctx import debug, keys

pytestmark = pytest.mark.usefixtures("nothing_stays_bound", "outside_of_any_work")


@pytest.fixture
def left_open():
    """Blocks that a test leaves open, held so that nothing closes them."""
    return []


def test_what_was_bound_inside_and_left_open_is_gone(key, left_open, no_collector, thing):
    x = xctx.xlocal(key=key)
    value = thing()
    ref = weakref.ref(value)
    with x(a="outside"), xctx.work():
        block = x(a=value, b=1)
        del value
        block.__enter__()
        assert x.b == 1
        left_open.append(x)
        del block
    assert not vars(x)
    assert ref() is None


def test_what_was_bound_outside_stays(key):
    x = xctx.xlocal(key=key)
    with x(a=1):
        scope = x(b=2)
        scope.__enter__()
        with xctx.work():
            x(c=3).__enter__()
        if key is not keys.work:
            assert vars(x) == {"a": 1, "b": 2}
        scope.__exit__(None, None, None)
        assert vars(x) == {"a": 1}


def test_what_was_left_inside_though_it_was_bound_outside_stays_left():
    scope = current(a=1)
    scope.__enter__()
    with xctx.work():
        current(b=2).__enter__()
        scope.__exit__(None, None, None)
        assert vars(current) == {"b": 2}
    assert not vars(current)


def test_beneath_and_above(left_open):
    outer, left, later = current(a=1), current(a=2), current(a=3)
    with outer:
        with xctx.work():
            left.__enter__()
        with later:
            assert current.a == 3
        assert current.a == 1
    assert not vars(current)


def test_a_unit_of_work_that_is_left_open_inside_ends_too(thing, no_collector):
    with xctx.work():
        opened = xctx.work()
        inner = opened.__enter__()
        store.a = value = thing()
        ref = weakref.ref(value)
        del value
    assert not inner.alive
    assert ref() is None
    assert xctx.work.current() is None
    opened.__exit__(None, None, None)
    assert xctx.work.current() is None


def test_one_that_was_left_open_and_is_left_later_takes_nothing_with_it():
    late = xctx.work()
    with xctx.work():
        late.__enter__()
        current(left=1).__enter__()
    with current(a=1):
        late.__exit__(None, None, None)
        assert vars(current) == {"a": 1}
    with xctx.work() as unit:
        late.__enter__()
    with xctx.work() as unit, current(a=1):
        store.a = 1
        late.__exit__(None, None, None)
        assert (vars(current), vars(store), xctx.work.current()) == ({"a": 1}, {"a": 1}, unit)


def test_what_is_set_in_the_context_meanwhile_stays_set():
    """Though an empty unit of work puts back at its end what the context mapped before."""
    var = contextvars.ContextVar("var")
    with xctx.work():
        var.set(1)
    assert var.get() == 1
    with xctx.work():
        token = var.set(2)
        with xctx.work():
            var.reset(token)
        assert var.get() == 1
    assert var.get() == 1
    with xctx.work():
        context = contextvars.copy_context()
    assert var.get() == 1 and context.run(var.get) == 1
    outer = current(a=1)
    outer.__enter__()
    with xctx.work():
        assert current.a == 1
        contextvars.Context().run(outer.__exit__, None, None, None)
    assert not hasattr(current, "a")


def test_a_block_that_a_suspended_generator_left_open_is_left_later_in_peace():
    def generator():
        with current(a=1):
            yield

    with xctx.work():
        steps = generator()
        next(steps)
    assert not vars(current)
    steps.close()
    assert not vars(current)


@every_way
def test_nothing_is_left_in_the_context(inside, nothing_left_bound):
    def work():
        store.a = 1
        current(a=1).__enter__()

    inside(work)


def test_copies_of_the_context_keep_what_they_have():
    with xctx.work():
        current(a=1).__enter__()
        copy = contextvars.copy_context()
    assert not vars(current)
    assert copy.run(lambda: (current.a, xctx.work.current())) == (1, None)


def test_it_says_what_was_left_open_and_where():
    debug.track()
    try:
        with pytest.warns(RuntimeWarning, match=r"were left open: user, request of xlocal, entered in .*test_works"):
            with xctx.work():
                current(user=1, request=2).__enter__()
        with pytest.warns(RuntimeWarning, match=r"blocks were left open: a unit of work, entered in .*, line \d+$"):
            with xctx.work():
                xctx.work().__enter__()
        with xctx.work(), current(user=1):  # warnings are errors: there is none
            pass
    finally:
        debug.track(False)
    with xctx.work():
        current(user=1).__enter__()
