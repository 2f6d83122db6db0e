"""Values, units, contexts and xlocals die when they should, without the garbage collector."""

import asyncio
import contextvars
import sys
import threading
import weakref

import pytest

import xctx
from xctx import keys

pytestmark = pytest.mark.usefixtures("no_collector")


def test_a_value_is_released_when_its_block_is_left(x, thing):
    with x(a=(value := thing())):
        value = weakref.ref(value)
        assert x.a is value()
    assert value() is None


def test_a_value_is_released_when_the_outer_block_is_left_first_and_then_the_inner(x, thing):
    def use():
        outer, inner = x(a=(value := thing())), x(b=1)
        value = weakref.ref(value)
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        del outer
        inner.__exit__(None, None, None)
        assert value() is None

    contextvars.Context().run(use)


def test_a_value_is_released_after_many_nested_blocks(x, thing):
    def nest(n):
        with x(a=(value := thing()), **{f"n{n}": 1}):
            refs.append(weakref.ref(value))
            del value
            if n:
                nest(n - 1)
        assert refs.pop()() is None

    refs = []
    nest(50)


def test_a_value_is_released_by_an_exception(x, thing):
    refs = []

    def work():
        with x(a=(value := thing())):
            refs.append(weakref.ref(value))
            raise OSError

    try:
        work()
    except OSError:
        pass
    assert refs[0]() is None


def test_a_value_is_released_when_its_copied_context_dies(x, thing):
    with x(a=(value := thing())):
        value = weakref.ref(value)
        context = contextvars.copy_context()
        context.run(getattr, x, "a", None)
    assert value() is not None
    del context
    assert value() is None


@pytest.mark.sampled
def test_a_value_is_released_in_another_unit(x, other_unit, unit_kind):
    def bind():
        class Local:
            pass

        with x(a=(value := Local())):
            value = weakref.ref(value)
            assert x.a is value()
        return value() is None

    assert other_unit(bind)


def test_a_values_reference_count_is_what_it_was(x):
    value = object()
    before = sys.getrefcount(value)
    for _ in range(100):
        with x(a=value), x(b=value):
            for _ in range(10):
                x.a, x.b
            vars(x)
            getattr(x, "c", None)
    assert sys.getrefcount(value) == before


def test_an_xlocal_dies(x, key):
    x = xctx.xlocal(key=key)
    with x(a=1):
        pass
    x = weakref.ref(x)
    assert x() is None


def test_an_xlocal_dies_in_the_middle_of_its_block(key):
    x = xctx.xlocal(key=key)

    def use():
        nonlocal x
        with x(a=1):
            dead = weakref.ref(x)
            x = None
            assert dead() is not None
        assert dead() is None

    use()


def test_a_context_dies_after_a_block_in_it(x):
    context = contextvars.Context()

    def use():
        with x(a=1):
            assert x.a == 1

    context.run(use)
    context = weakref.ref(context)
    assert context() is None


def test_a_context_dies_with_a_block_left_open_in_it(x, thing):
    context = contextvars.Context()
    value = thing()
    context.run(lambda: x(a=value).__enter__() and None)
    value, context = weakref.ref(value), weakref.ref(context)
    assert context() is None
    assert value() is None


def test_a_thread_ends_with_a_block_left_open_in_it(x, thing, in_thread):
    def run():
        value = thing()
        x(a=value).__enter__()
        return weakref.ref(value), weakref.ref(keys.thread.current())

    assert [each() for each in in_thread(run)] == [None, None]


def test_a_greenlet_dies_that_is_suspended_in_a_block(x, thing, greenlet):
    refs = []

    def run():
        with x(a=(value := thing())):
            refs.extend([weakref.ref(value), weakref.ref(keys.greenlet.current())])
            del value
            greenlet.getcurrent().parent.switch()

    made = greenlet.greenlet(run)
    made.switch()
    assert refs[0]() is not None
    del made
    assert [each() for each in refs] == [None, None]


def test_a_task_is_done_that_had_a_block(x, thing):
    refs = []

    async def work():
        with x(a=(value := thing())):
            refs.extend([weakref.ref(value), weakref.ref(keys.task.current())])
            del value
            await asyncio.sleep(0)
            assert refs[0]() is not None

    async def main():
        await asyncio.create_task(work())
        assert refs[0]() is None
        await asyncio.sleep(0)

    asyncio.run(main())
    assert refs[1]() is None


def test_a_units_watch_keeps_no_context(thing):
    x = xctx.xlocal(key=keys.context)
    refs = []

    async def work(event):
        keys.task.current()
        await event.wait()

    async def main():
        event = asyncio.Event()
        with x(a=(value := thing())):
            refs.append(weakref.ref(value))
            del value
            context = contextvars.Context()
            task = asyncio.get_running_loop().create_task(work(event), context=context)
        await asyncio.sleep(0)
        assert refs[0]() is None
        event.set()
        await task

    asyncio.run(main())


@pytest.mark.sampled
def test_rounds_of_everything_leave_nothing(x, other_unit, unit_kind, count_objects):
    def bind():
        scope = x(a=1)
        with scope, x(b=2), scope:
            return x.a

    bind()
    other_unit(bind)
    counts = [count_objects(name) for name in ("Binding", "Scope", "Lease")]
    for _ in range(3 if unit_kind.name == "fork" else 20):
        other_unit(bind)
    after = [count_objects(name) for name in ("Binding", "Scope", "Lease")]
    assert all(now <= before + 2 for now, before in zip(after, counts, strict=True))


def test_a_thousand_threads_leave_no_unit(count_objects):
    x = xctx.xlocal()

    def run():
        with x(a=1):
            assert x.a == 1

    before = count_objects("Lease")
    for _ in range(50):
        threads = [threading.Thread(target=run) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    del threads, thread
    assert count_objects("Lease") <= before


@pytest.mark.parametrize("key", [xctx.keys.greenlet, xctx.keys.context], ids=repr)
def test_contexts_copied_inside_two_blocks_for_ever_do_not_grow(key, thing, no_collector):
    """A copy of a binding that is still open, made while spent ones are merged, holds nothing of the old chain."""
    x = xctx.xlocal(key=key)
    refs = []

    def work(number):
        value = thing()
        refs.append(weakref.ref(value))
        with x(a=value), x(b=number):
            return contextvars.copy_context()

    context = contextvars.Context()
    for number in range(300):
        context = context.run(work, number)
    assert sum(ref() is not None for ref in refs) < 50
    assert context.run(vars, x) == {"a": refs[-1](), "b": 299}
