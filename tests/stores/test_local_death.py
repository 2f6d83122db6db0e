"""How what a store holds dies: with its unit, with the store, with both at once; by reference counts alone.

Every test here runs with the garbage collector off. No value may need it.
"""

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest
from finalised import Value

import xctx
from xctx import debug, keys

pytestmark = pytest.mark.usefixtures("no_collector")


@pytest.fixture(params=["few", "many", "dict"])
def fill(request, log):
    """fill(store): gives the current unit a value in each way that a store has of keeping it."""

    def fill(store, name="value", hook=None):
        if request.param == "many":
            for i in range(20):
                setattr(store, f"more{i}", i)
        elif request.param == "dict":
            store.__dict__["other"] = 1
        store.value = Value(log, hook, name)

    return fill


ends = pytest.mark.parametrize("key_name", ["thread", "greenlet", "task"])  # the keys whose units end by themselves


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_name", ["thread", "greenlet", "task", "work", "context", "callable"])
def test_a_thread_exits(key, key_name, fill, log, in_thread):
    store = xctx.local(key=key)
    in_thread(lambda: fill(store))
    if key_name == "callable":
        # A thread's ident does not tell when the thread ends.
        assert log == []
        del store
    assert log == ["value"]


@ends
def test_a_thread_exits_with_an_exception(key, fill, log, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda told: None)
    store = xctx.local(key=key)

    def work():
        fill(store)
        raise LookupError

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert log == ["value"]


@ends
@pytest.mark.parametrize("turns", [0, 1, 3, 100])
def test_a_finaliser_uses_the_store_while_its_thread_exits(key, log, in_thread, turns):
    store = xctx.local(key=key)
    made_again = []

    def again(left):
        assert not hasattr(store, "value")
        assert store.__dict__ == {}
        store.a = 1
        assert (store.a, store.__dict__) == (1, {"a": 1})
        del store.a
        assert not hasattr(store, "a")
        if left:
            made_again.append(left)
            store.value = Value(log, lambda: again(left - 1), "again")

    in_thread(lambda: setattr(store, "value", Value(log, lambda: again(turns), "first")))
    assert log[0] == "first" and log.count("first") == 1
    if turns < 5:
        assert log == ["first"] + ["again"] * turns
        assert debug.units_of(store) == []
    else:
        # A finaliser that fills the store again each time is given up after some rounds; the store keeps the value.
        assert len(log) >= 5
        names = [names for _, names in debug.units_of(store)]
        assert len(names) <= 1
        for each in names:
            each["value"].hook = None
        del names
        debug.units_of(store).clear()
        store = made_again = None
        assert log[-1] == "again"


@ends
def test_finalisers_use_other_stores_while_their_thread_exits(key, log, in_thread):
    stores = [xctx.local(key=key) for _ in range(5)]
    seen = []

    def fill():
        for store in stores:
            store.value = Value(log, lambda: seen.append(sum(hasattr(each, "value") for each in stores)))

    in_thread(fill)
    assert log == ["value"] * 5
    assert seen == [0] * 5  # all are out of reach before the first is finalised


@ends
def test_a_finaliser_makes_and_drops_stores_while_its_thread_exits(key, log, in_thread):
    holder = [xctx.local(key=key)]

    def hook():
        for _ in range(50):
            new = xctx.local(key=key)
            new.value = Value(log, name="new")
        holder.clear()

    in_thread(lambda: setattr(holder[0], "value", Value(log, hook, "value")))
    assert not holder
    assert log == ["new"] * 50 + ["value"]


def test_an_initialised_store_is_initialised_again_for_a_finaliser(log, in_thread):
    inits = []

    class Counted(xctx.local):
        def __init__(self):
            inits.append(threading.get_ident())
            self.a = len(inits)

    store = Counted()
    seen = []
    in_thread(lambda: setattr(store, "value", Value(log, lambda: seen.append(store.a))))
    assert (seen, len(inits), len(set(inits))) == ([3], 3, 2)
    assert log == ["value"]


# --- greenlets --------------------------------------------------------------------------------------------------------

greenlet_ends = pytest.mark.parametrize("key_name", ["greenlet", "task", "context"])


@greenlet_ends
def test_a_greenlet_finishes(key, fill, log, in_greenlet):
    store = xctx.local(key=key)
    in_greenlet(lambda: fill(store))
    assert log == ["value"]


@greenlet_ends
def test_a_greenlet_fails(key, fill, log, in_greenlet):
    store = xctx.local(key=key)

    def work():
        fill(store)
        raise LookupError

    with contextlib.suppress(LookupError):
        in_greenlet(work)
    assert log == ["value"]


@greenlet_ends
def test_a_greenlet_is_killed(key, fill, log, greenlet):
    store = xctx.local(key=key)
    main = greenlet.getcurrent()

    def work():
        fill(store)
        main.switch()

    made = greenlet.greenlet(work)
    made.switch()
    assert log == []
    made.throw()
    assert made.dead
    del made
    assert log == ["value"]


@greenlet_ends
def test_a_suspended_greenlet_is_garbage(key, fill, log, greenlet):
    """Its `finally` still sees what it had."""
    store = xctx.local(key=key)
    main = greenlet.getcurrent()
    seen = []

    def work():
        fill(store)
        try:
            main.switch()
        finally:
            seen.append(store.value.name)
            store.late = Value(log, name="late")

    made = greenlet.greenlet(work)
    made.switch()
    del made
    assert seen == ["value"]
    assert sorted(log) == ["late", "value"]


def test_a_garbage_greenlet_touches_a_store_for_the_first_time(log, greenlet):
    store = xctx.local()
    main = greenlet.getcurrent()

    def work():
        try:
            main.switch()
        finally:
            store.value = Value(log, name="late")

    made = greenlet.greenlet(work)
    made.switch()
    del made
    assert log == ["late"]
    assert debug.units_of(store) == []


def test_a_greenlet_that_never_starts(log, greenlet):
    store = xctx.local()
    made = greenlet.greenlet(lambda: setattr(store, "value", Value(log, name="value")))
    assert keys.greenlet.of(made) is None
    made.throw()
    del made
    assert log == []


@greenlet_ends
def test_a_finaliser_uses_the_store_when_its_greenlet_has_finished(key, log, in_greenlet):
    store = xctx.local(key=key)
    store.mine = "main"
    seen = []

    def hook():
        seen.append(hasattr(store, "value"))
        store.other = 1
        del store.other

    in_greenlet(lambda: setattr(store, "value", Value(log, hook, "value")))
    assert (seen, log) == ([False], ["value"])
    assert dict(store.__dict__) == {"mine": "main"}


def test_a_finaliser_that_switches(log, greenlet):
    """The end of one greenlet's values takes a way through others, which use the store meanwhile."""
    store = xctx.local()
    main = greenlet.getcurrent()

    def bystander():
        for i in range(100):
            store.value = i
            main.switch()
            assert store.value == i

    aside = greenlet.greenlet(bystander)
    aside.switch()
    for i in range(20):
        made = greenlet.greenlet(lambda i=i: setattr(store, "value", Value(log, aside.switch, i)))
        made.switch()
        del made
    assert log == list(range(20))


def test_a_finished_greenlet_of_gevent_that_is_still_referred_to(fill, log, gevent):
    store = xctx.local()
    jobs = [
        gevent.spawn(fill, store),
        gevent.spawn(lambda: (fill(store), 1 / 0)),
        gevent.spawn(lambda: (fill(store), gevent.sleep(60))),
    ]
    gevent.get_hub().print_exception = lambda *args: None
    try:
        gevent.sleep(0)
        jobs[2].kill()
        gevent.joinall(jobs)
        gevent.sleep(0)  # the hub tells of the end
    finally:
        del gevent.get_hub().print_exception
    assert all(job.dead for job in jobs)
    jobs[1].__dict__.clear()  # its traceback has the frames
    assert log == ["value"] * 3


def test_a_greenlet_of_gevent_that_is_killed_before_it_starts(log, gevent):
    store = xctx.local()
    job = gevent.spawn(lambda: setattr(store, "value", Value(log, name="value")))
    job.kill()
    gevent.sleep(0)
    assert job.dead and log == []


def test_finished_greenlets_kept_by_their_own_values_are_swept(log, greenlet):
    store = xctx.local()

    class Keeping(Value):
        pass

    def work():
        store.value = Keeping(log)
        store.value.greenlet = greenlet.getcurrent()
        assert store.value.greenlet

    for _ in range(2000):
        greenlet.greenlet(work).switch()
    # Each time their number has doubled they are looked through.
    assert len(debug.units_of(store)) <= 200
    assert len(log) >= 1800
    del store
    assert len(log) == 2000


# --- tasks ------------------------------------------------------------------------------------------------------------


async def settled():
    """When the callbacks of what is done have run."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
def test_a_task_ends(fill, log, how):
    store = xctx.local(key=keys.task)

    async def work():
        fill(store)
        await asyncio.sleep(0)
        assert store.value.name == "value"
        if how == "raises":
            raise LookupError
        if how == "is cancelled":
            await asyncio.Event().wait()

    async def main():
        store.value = "main"
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if how == "is cancelled":
            task.cancel()
        await asyncio.wait([task])
        await settled()
        if how == "raises":
            assert isinstance(task.exception(), LookupError)
            task.exception().__traceback__.tb_frame.clear()
        assert task.done() and log == ["value"]  # while the task is still referred to
        assert store.value == "main"

    asyncio.run(main())
    assert not hasattr(store, "value")
    assert debug.units_of(store) == []


def test_a_task_of_a_loop_that_is_closed_early(fill, log):
    store = xctx.local(key=keys.task)
    loop = asyncio.new_event_loop()

    async def work():
        fill(store)
        await asyncio.Event().wait()

    async def main():
        await asyncio.sleep(0)

    task = loop.create_task(work())
    loop.run_until_complete(main())
    loop.close()
    assert log == []
    task._log_destroy_pending = False
    del task
    gc.collect()  # the pending coroutine and its future refer to each other
    assert log == ["value"]


def test_a_task_that_is_done_when_its_loop_closes(fill, log):
    store = xctx.local(key=keys.task)
    loop = asyncio.new_event_loop()

    async def work():
        fill(store)
        loop.stop()

    loop.create_task(work())  # noqa: RUF006 (held by nobody else)
    loop.run_forever()
    loop.close()  # before anybody has been told
    gc.collect()
    assert log == ["value"]


def test_a_task_of_trio(fill, log):
    trio = pytest.importorskip("trio")

    store = xctx.local(key=keys.task)

    async def work():
        fill(store)
        await trio.lowlevel.checkpoint()
        assert store.value.name == "value"

    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(work)

    trio.run(main)
    gc.collect()  # trio's own cycles
    assert log == ["value"] * 5


def test_a_finaliser_uses_the_store_when_its_task_is_done(log):
    store = xctx.local(key=keys.task)
    seen = []

    def hook():
        seen.append(hasattr(store, "value"))
        store.written = 1
        del store.written

    async def work():
        store.value = Value(log, hook, "value")

    async def main():
        await asyncio.create_task(work())
        await settled()
        assert (seen, log) == ([False], ["value"])

    asyncio.run(main())


# --- values of a callable's key ---------------------------------------------------------------------------------------


def test_a_value_of_a_callables_key_dies(fill, log, thing):
    current = thing()
    key = keys.Key(lambda: current)
    store = xctx.local(key=key)
    fill(store)
    current = thing()
    assert log == ["value"]
    fill(store)
    key.forget(current)
    assert log == ["value"] * 2
    fill(store)
    del store
    assert log == ["value"] * 3


@pytest.mark.parametrize("by_identity", [True, False])
def test_a_callables_key_and_its_stores_die_together(fill, log, thing, by_identity):
    current = thing() if by_identity else "value"
    key = keys.Key(lambda: current)
    store = xctx.local(key=key)
    fill(store)
    told = weakref.ref(key)
    del key, store
    assert log == ["value"]
    assert told() is None
    del current
