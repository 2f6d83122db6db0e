"""Units of work: what is kept and bound for one is seen by all units that work for it, and gone at its end."""

import asyncio
import contextlib
import weakref

import pytest
from units_of_work import bound, by_with, current, every_way, store

import xctx
from xctx import keys

pytestmark = pytest.mark.usefixtures("nothing_stays_bound", "outside_of_any_work")


@every_way
def test_what_is_set_inside_is_there_and_gone_at_its_end(inside, thing, no_collector):
    store.a = "outside"
    released = []

    def work():
        assert not hasattr(store, "a")
        value = thing()
        weakref.finalize(value, released.append, "released")
        store.a = value
        del value
        assert not released
        return xctx.work.current()

    unit = inside(work)
    assert released == ["released"]
    assert not unit.alive and unit.kind == "work"
    assert xctx.work.current() is None
    assert store.a == "outside"


@every_way
def test_it_ends_where_it_raises(inside, thing, no_collector):
    def work():
        store.a = value = thing()
        units.append((xctx.work.current(), weakref.ref(value)))
        del value
        raise LookupError("on purpose")

    units = []
    with pytest.raises(LookupError, match="on purpose"):
        inside(work)
    ((unit, ref),) = units
    assert not unit.alive
    assert ref() is None


@every_way
def test_each_entry_is_a_unit_of_its_own(inside):
    def outer():
        store.a = 1
        first = xctx.work.current()

        def inner():
            assert not hasattr(store, "a")
            store.a = 2
            return xctx.work.current()

        second = by_with(inner)
        assert first.alive and not second.alive and first is not second
        assert xctx.work.current() is first
        return store.a

    assert inside(outer) == 1


def test_one_opener_again_and_nested():
    work = xctx.work()
    with work as first:
        store.a = 1
        with work as second:
            assert (first, second) == (first, xctx.work.current())
            assert not hasattr(store, "a")
        assert store.a == 1
    with work as third:
        assert len({first, second, third}) == 3
        assert not hasattr(store, "a")


def test_what_the_block_is_called():
    with xctx.work() as unit:
        assert unit is keys.work.current() is xctx.work.current() is keys.work()
        assert keys.work.of(unit) is unit
        assert unit() is None
        assert unit.alive
    assert keys.work.of(unit) is None
    assert keys.work.current().kind in ("thread", "greenlet")


def test_errors():
    with pytest.raises(RuntimeError, match="this unit of work is left, but it was not entered"):
        xctx.work().__exit__(None, None, None)
    with pytest.raises(TypeError, match="cannot pickle a unit of work"):
        __import__("pickle").dumps(xctx.work())
    with pytest.raises(TypeError, match="a unit of work decorates a function, not 3"):
        xctx.work()(3)


def test_outside_of_any_it_goes_by_the_greenlet(in_thread):
    store.a = 1
    assert not in_thread(lambda: hasattr(store, "a"))
    assert store.a == 1


def test_bindings_of_the_unit_of_work_are_seen_in_that_one_alone():
    with bound(a=0):
        with xctx.work():
            assert not hasattr(bound, "a")
            with bound(a=1):
                assert bound.a == 1
                with xctx.work():
                    assert not hasattr(bound, "a")
                assert bound.a == 1
                assert asyncio.run(looked_at_by_a_task()) == 1
        assert bound.a == 0


async def looked_at_by_a_task():
    async def look():
        return bound.a

    return await asyncio.create_task(look())


# --- generators ------------------------------------------------------------------------------------------------------


def test_between_the_steps_of_a_generator_its_consumer_is_not_in_its_unit_of_work():
    def generator():
        with xctx.work():
            store.a = 1
            yield xctx.work.current()
            yield store.a

    steps = generator()
    unit = next(steps)
    assert unit.alive and xctx.work.current() is None and not hasattr(store, "a")
    with xctx.work():
        store.a = 2
        assert next(steps) == 1
        assert store.a == 2
    assert unit.alive  # it is suspended, in its own block
    steps.close()
    assert not unit.alive


def test_an_async_generator_likewise():
    async def generator():
        async with xctx.work():
            store.a = 1
            yield xctx.work.current()
            await asyncio.sleep(0)
            yield store.a

    async def main():
        async with contextlib.aclosing(generator()) as steps:
            unit = await anext(steps)
            assert unit.alive and xctx.work.current() is None and not hasattr(store, "a")
            assert await anext(steps) == 1
        assert not unit.alive

    asyncio.run(main())


def test_what_a_suspended_generator_has_bound_stays_its_own():
    def generator():
        with current(a=1):
            yield
            yield current.a

    with xctx.work():
        steps = generator()
        next(steps)
    assert not vars(current)
    assert next(steps) == 1
    steps.close()


def test_a_context_manager_opens_one_for_its_caller():
    @contextlib.contextmanager
    def request():
        with xctx.work() as unit:
            store.user = "ada"
            yield unit

    with request() as unit:
        assert xctx.work.current() is unit
        assert store.user == "ada"
    assert not unit.alive


def test_default_factories_are_called_once_a_unit_of_work():
    class Store(xctx.local, key=keys.work):
        names: list = xctx.field(default_factory=list)

    made = Store()
    for _ in range(2):
        with xctx.work():
            made.names.append(1)
            assert xctx.capture().run(lambda: made.names) == [1]
