"""The end of a unit of work, whatever ends it, and what is left open then."""

import asyncio
import contextlib
import contextvars
import gc
import threading
import weakref

import pytest
from helpers.packages import FREE_THREADED
from makers import run_threads
from units_of_work import current, store

import xctx
from xctx import keys

pytestmark = pytest.mark.usefixtures("nothing_stays_bound", "outside_of_any_work")


def test_a_cancelled_task_ends_it(thing, no_collector):
    refs = []

    @xctx.work()
    async def job():
        store.a = value = thing()
        refs.append(weakref.ref(value))
        del value
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(job())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (ref,) = refs
        assert ref() is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert ref() is None

    asyncio.run(main())


def test_a_killed_greenlet_ends_it(gevent, thing, no_collector):
    refs = []

    def job():
        with xctx.work():
            store.a = value = thing()
            refs.append(weakref.ref(value))
            del value
            gevent.sleep(60)

    job = gevent.spawn(job)
    gevent.sleep(0)
    assert refs[0]() is not None
    job.kill()
    assert refs[0]() is None


def test_a_dropped_one_ends(thing, no_collector):
    def generator():
        store.a = value = thing()
        refs.append(weakref.ref(value))
        del value
        yield

    refs = []
    steps = xctx.work()(generator)()
    next(steps)
    assert refs[0]() is not None
    del steps
    assert refs[0]() is None


def test_one_that_is_in_garbage_ends(thing):
    cycle = []
    context = contextvars.copy_context()

    def enter():
        xctx.work().__enter__()
        store.a = value = thing()
        cycle.extend((context, cycle))
        return weakref.ref(value)

    ref = context.run(enter)
    del context, cycle
    gc.collect()
    assert ref() is None


def test_values_are_released_in_the_unit_that_ends_it():
    class Value:
        def __del__(self):
            said.append((threading.get_ident(), xctx.work.current(), store.__dict__.get("late")))
            if len(said) < 3:
                store.late = Value()

    said = []
    with xctx.work() as unit:
        store.a = Value()
    assert said == [(threading.get_ident(), unit, None)] * 3
    assert not vars(store)


def test_a_task_that_outlives_it_is_in_the_one_outside():
    async def job(inner, outer):
        store.a = "job's"
        assert xctx.work.current() is inner
        running.set()
        await ended.wait()
        assert xctx.work.current() is outer
        assert not hasattr(store, "a")
        store.b = "for the outer one"

    async def main():
        with xctx.work() as outer:
            with xctx.work() as inner:
                task = asyncio.create_task(job(inner, outer))
                await running.wait()
                assert store.a == "job's"
            ended.set()
            await task
            assert store.b == "for the outer one"

    running, ended = asyncio.Event(), asyncio.Event()
    asyncio.run(main())


def test_a_thread_that_outlives_it_keeps_what_it_holds_and_no_more(thing):
    running, ended = threading.Event(), threading.Event()
    seen = []

    def job():
        held = store.a
        running.set()
        ended.wait()
        seen.extend((held.name, hasattr(store, "b"), xctx.work.current()))
        store.c = "the thread's own"
        seen.append(store.c)

    with xctx.work():
        store.a, store.b = thing("a"), thing("b")
        refs = [weakref.ref(store.a), weakref.ref(store.b)]
        from xctx import concurrent

        thread = concurrent.Thread(target=job)
        thread.start()
        running.wait()
    assert [ref() is not None for ref in refs] == [True, False]
    ended.set()
    thread.join()
    assert seen == ["a", False, None, "the thread's own"]
    assert refs[0]() is None
    assert not vars(store)


def test_a_task_that_starts_its_like_keeps_no_chain(count_objects):
    async def job(done, left):
        with xctx.work():
            await asyncio.sleep(0)
            if left:
                asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(job(done, left - 1)))
                most.append(count_objects("UnitOfWork"))
            else:
                done.set_result(None)

    most = []

    async def once():
        done = asyncio.get_running_loop().create_future()
        started = asyncio.ensure_future(job(done, 100))
        await done
        await started

    asyncio.run(once())
    assert max(most) < 40


def ended_elsewhere(context, in_thread, into=None):
    """A unit of work is opened in a context, with a block that is left open there, and ends in another one."""

    def open_it():
        block.__enter__()
        current(left=1).__enter__()

    block = xctx.work()
    context.run(open_it)
    other = context.copy() if into == "a copy of it" else into or contextvars.Context()
    in_thread(lambda: other.run(block.__exit__, None, None, None))
    return other


@pytest.mark.parametrize("into", ["a context", "a copy of it"])
def test_what_was_left_open_is_gone_where_it_was_opened_and_where_it_ends(into, in_thread):
    context = contextvars.Context()
    with current(a=1):
        other = contextvars.copy_context()
    other = ended_elsewhere(context, in_thread, into if into == "a copy of it" else other)
    assert context.run(vars, current) == {}
    if into == "a context":
        assert other.run(vars, current) == {"a": 1}
    elif not FREE_THREADED:  # no thread can tell there what was left open in the other one
        assert other.run(vars, current) == {}


@pytest.mark.parametrize("steps", [False, True], ids=["block", "steps"])
def test_the_next_job_of_that_context_starts_clean_and_keeps_what_it_binds(steps, in_thread):
    """Whatever it does first. Without the GIL the context is cleaned up by that."""
    from xctx._stores.works import WorkSteps

    def opened():
        made = WorkSteps()
        made.run(lambda: (current(left=1).__enter__(), other(left=1).__enter__()), (), {})
        return made.close

    def entered():
        block = xctx.work()
        block.__enter__()
        current(left=1).__enter__()
        other(left=1).__enter__()
        return lambda: block.__exit__(None, None, None)

    def next_job(first):
        if first == "look":
            assert not hasattr(current, "left")
        elif first == "bind":
            with other(a=1):
                assert vars(other) == {"a": 1}
                assert vars(current) == {}
                assert vars(other) == {"a": 1}
        elif first == "bind another":
            third = xctx.xlocal()
            with third(a=1):
                assert not vars(current)
                assert third.a == 1
        elif first == "bind by hand":
            scope = current(a=1)
            scope.__enter__()
            assert not vars(other) and vars(current) == {"a": 1}
            scope.__exit__(None, None, None)
        elif first == "capture":
            assert xctx.capture().run(lambda: (vars(current), vars(other))) == ({}, {})
        elif first == "apply":
            for _ in range(3):
                with snapshot:
                    assert vars(current) == {"a": 1} and not vars(other)
                    assert vars(current) == {"a": 1}
                assert snapshot.run(lambda: (vars(other), vars(current))) == ({}, {"a": 1})
        elif first == "work":
            with xctx.work():
                assert (vars(current), vars(other)) == ({}, {})
                current(left=2).__enter__()
        else:
            WorkSteps().run(lambda: vars(other), (), {})
        assert (vars(current), vars(other), xctx.work.current()) == ({}, {}, None)

    other = xctx.xlocal()
    with current(a=1):
        snapshot = xctx.capture(current)
        whole = xctx.capture()
    for first in ("look", "bind", "bind another", "bind by hand", "capture", "apply", "work", "steps"):
        context = contextvars.Context()
        for _ in range(3):
            end = context.run(opened if steps else entered)
            context.run(whole.run, vars, other)
            in_thread(end)
            context.run(next_job, first)


def test_a_context_that_has_its_chain_in_common_with_another_looks_through_it_all_the_same(in_thread):
    context = contextvars.Context()
    copies = []

    def open_it():
        block.__enter__()
        current(left=1).__enter__()
        copies.append(contextvars.copy_context())

    block = xctx.work()
    context.run(open_it)
    in_thread(lambda: contextvars.Context().run(block.__exit__, None, None, None))
    for _ in range(2):
        assert copies[0].run(vars, current) == {"left": 1}  # it is a child
    assert context.run(vars, current) == {}
    assert copies[0].run(vars, current) == {"left": 1}


def test_nothing_is_kept_for_a_context_that_is_not_used_again(thing, in_thread, no_collector):
    def open_it():
        block.__enter__()
        current(left=value).__enter__()

    block, value, context = xctx.work(), thing(), contextvars.Context()
    ref = weakref.ref(value)
    context.run(open_it)
    in_thread(lambda: contextvars.Context().run(block.__exit__, None, None, None))
    del value, context
    assert ref() is None


def test_workers_that_end_each_others_units_of_work():
    """None ever sees what another, or its own last job, has left open; its own blocks always show their own."""
    wrong, opened = [], [[] for _ in range(3)]
    together = threading.Barrier(3)

    def work(mine):
        for number in range(200):
            block = xctx.work()
            block.__enter__()
            if vars(current):
                wrong.append(("before", vars(current)))
            current(left=(mine, number)).__enter__()
            opened[mine].append(block)
            together.wait()
            opened[(mine + 1) % 3].pop().__exit__(None, None, None)
            if getattr(current, "left", (mine, number)) != (mine, number):  # its own may be ended just now
                wrong.append(("meanwhile", vars(current)))
            together.wait()
            with current(a=mine):
                if vars(current) != {"a": mine}:
                    wrong.append(("after", vars(current)))

    run_threads(3, work)
    assert wrong == []


def test_a_task_that_lives_on_keeps_the_blocks_that_it_has_left_open():
    async def job():
        current(a=1).__enter__()
        opened.set()
        await ended.wait()
        return vars(current), xctx.work.current()

    async def main():
        with xctx.work():
            task = asyncio.create_task(job())
            await opened.wait()
        assert not vars(current)
        ended.set()
        assert await task == ({"a": 1}, None)

    opened, ended = asyncio.Event(), asyncio.Event()
    asyncio.run(main())


def test_locals_with_other_keys_are_not_of_the_unit_of_work():
    for key in (keys.greenlet, keys.flow, keys.context):
        other = xctx.local(key=key)
        with xctx.work():
            other.a = 1
        assert other.a == 1
        del other.a


def test_one_that_is_dropped_half_way_leaves_nothing_bound():
    from xctx._stores.works import WorkSteps

    steps = WorkSteps()
    steps.run(lambda: current(left=1).__enter__(), (), {})
    unit = steps.run(xctx.work.current, (), {})
    assert vars(current) == {"left": 1} and unit.alive
    del steps
    assert not vars(current) and not unit.alive


def test_what_others_bind_between_the_steps_stays_theirs(in_thread):
    """Also what is bound anew or left in between. Each step's context is cleaned up, not just the first one."""
    from xctx._stores.works import WorkSteps

    def leave_open(**names):
        scope = current(**names)
        scope.__enter__()
        return scope

    steps, other = WorkSteps(), contextvars.Context()
    with current(a="outside"):
        steps.run(leave_open, (), {"a": "first"})
        with current(b="between"):
            left = steps.run(leave_open, (), {"c": "second"})
            assert vars(current) == {"a": "first", "b": "between", "c": "second"}
            other.run(in_thread, lambda: steps.run(lambda: None, (), {}))
            other.run(steps.run, leave_open, (), {"d": "elsewhere"})
            assert other.run(vars, current) == {"d": "elsewhere"}
            left.__exit__(None, None, None)
            left = leave_open(c="again")
            steps.close()
            assert vars(current) == {"a": "outside", "b": "between", "c": "again"}
            left.__exit__(None, None, None)
        assert vars(current) == {"a": "outside"}
    assert other.run(vars, current) == {}


def test_a_step_keeps_no_value_alive(thing, no_collector):
    from xctx._stores.works import WorkSteps

    def leave_open(value):
        scope = current(value=value)
        scope.__enter__()
        return scope

    steps = WorkSteps()
    left = [steps.run(leave_open, (value := thing(),), {})]
    ref = weakref.ref(value)
    del value
    assert ref() is current.value
    left.pop().__exit__(None, None, None)
    assert ref() is None
    steps.close()
