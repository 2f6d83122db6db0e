"""Where a unit of work is seen: wherever its context, a snapshot or a carried function goes."""

import asyncio
import gc

import pytest
from units_of_work import store

import xctx

pytestmark = pytest.mark.usefixtures("nothing_stays_bound", "outside_of_any_work")


def seen_and_set():
    seen = getattr(store, "a", None)
    store.b = "set there"
    return seen


def test_it_is_seen_where_the_context_is_carried(unit_kind):
    with xctx.work():
        store.a = "set here"
        carried = unit_kind.carries_context and unit_kind.name not in ("thread", "fork")
        assert unit_kind.run(seen_and_set) == ("set here" if carried else None)
        assert hasattr(store, "b") == carried
    gc.collect()  # trio leaves garbage, which has the context


@pytest.mark.parametrize("how", ["snapshot", "carry"])
def test_it_goes_along_with_what_is_carried(how, unit_kind):
    with xctx.work():
        store.a = "set here"
        func = xctx.carry(seen_and_set) if how == "carry" else xctx.capture()(seen_and_set)
        assert unit_kind.run(func) == "set here"
        assert hasattr(store, "b") != (unit_kind.name == "fork")  # a child has one of its own
    gc.collect()  # trio leaves garbage, which has the context


def test_in_a_snapshot_that_was_taken_outside_it_is_not_seen():
    outside = xctx.capture()
    with xctx.work():
        store.a = 1
        with outside:
            assert xctx.work.current() is None
            assert not hasattr(store, "a")
        assert store.a == 1


def test_threads_pools_and_tasks_of_xctx():
    from xctx import concurrent

    async def main():
        return [
            await concurrent.to_thread(seen_and_set),
            await concurrent.create_task(coroutine()),
            await concurrent.run_in_executor(None, seen_and_set),
        ]

    async def coroutine():
        return seen_and_set()

    with xctx.work():
        store.a = 1
        with concurrent.ThreadPoolExecutor(1) as pool:
            assert pool.submit(seen_and_set).result() == 1
        seen = []
        thread = concurrent.Thread(target=lambda: seen.append(seen_and_set()))
        thread.start()
        thread.join()
        assert seen == [1]
        assert asyncio.run(main()) == [1, 1, 1]


def test_greenlets_of_gevent(gevent):
    import xctx.gevent

    with xctx.work():
        store.a = 1
        assert gevent.spawn(seen_and_set).get() is None
        assert xctx.gevent.spawn(seen_and_set).get() == 1
        assert xctx.gevent.Pool(2).map(lambda _: seen_and_set(), range(2)) == [1, 1]


def test_a_forked_child_is_in_none(in_fork, thing):
    with xctx.work() as unit:
        store.a = thing()

        def child():
            before = hasattr(store, "a"), xctx.work.current(), unit.alive
            with xctx.work():
                store.a = "child's"
                inside = store.a
            return before, inside, hasattr(store, "a")

        assert in_fork(child) == ((False, None, False), "child's", False)
        assert store.a.name == "thing"


def test_the_block_is_left_in_a_forked_child_as_well(in_fork):
    block = xctx.work()
    with block:
        store.a = 1

        def child():
            block.__exit__(None, None, None)  # by hand, of what a with statement opened
            return xctx.work.current()

        with pytest.raises(RuntimeError, match="was not entered"):
            in_fork(child)
