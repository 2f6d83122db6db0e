"""Units of work: what is kept and bound for one is there for all that works for it, and gone at its end."""

import asyncio
import contextlib
import contextvars
import gc
import threading
import weakref

import pytest
from helpers.packages import FREE_THREADED
from makers import run_threads

import xctx
from xctx import debug, keys

store = xctx.local(key=keys.work)
current = xctx.xlocal()
bound = xctx.xlocal(key=keys.work)

pytestmark = pytest.mark.usefixtures("nothing_stays_bound")


@pytest.fixture(autouse=True)
def nothing_outside():
    """Each test starts with nothing outside of any unit of work, and leaves none open."""
    vars(store).clear()
    assert xctx.work.current() is None
    yield
    assert xctx.work.current() is None


# --- ways to be in one ------------------------------------------------------------------------------------------------


def by_with(func):
    with xctx.work():
        return func()


def by_async_with(func):
    async def main():
        async with xctx.work():
            await asyncio.sleep(0)
            return func()

    return asyncio.run(main())


def by_function(func):
    return xctx.work()(func)()


def by_coroutine(func):
    @xctx.work()
    async def main():
        await asyncio.sleep(0)
        return func()

    return asyncio.run(main())


def by_generator(func):
    @xctx.work()
    def generator():
        yield func()

    with contextlib.closing(generator()) as steps:
        return next(steps)


def by_async_generator(func):
    @xctx.work()
    async def generator():
        await asyncio.sleep(0)
        yield func()

    async def main():
        async with contextlib.aclosing(generator()) as steps:
            return await anext(steps)

    return asyncio.run(main())


def by_hand(func):
    opener = xctx.work()
    with contextlib.ExitStack() as stack:
        stack.enter_context(opener)
        return func()


WAYS = [by_with, by_async_with, by_function, by_coroutine, by_generator, by_async_generator, by_hand]
every_way = pytest.mark.parametrize("inside", WAYS)


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


# --- where it goes ---------------------------------------------------------------------------------------------------


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


# --- its end ---------------------------------------------------------------------------------------------------------


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


# --- what the class has, and what is kept ----------------------------------------------------------------------------


def test_what_is_kept_comes_before_what_the_class_has_unless_that_is_a_data_descriptor():
    class Base(xctx.local, key=keys.work):
        a = "class"
        n = 7

        def method(self):
            return self.a

    class Store(Base):
        names: list = xctx.field(default_factory=list)

    made = Store()
    with xctx.work():
        assert (made.a, made.n, made.method()) == ("class", 7, "class")
        made.a = made.b = "kept"
        for _ in range(3):
            assert (made.a, made.n, made.method(), made.b) == ("kept", 7, "kept", "kept")
        made.names.append(1)
        assert made.names == [1] and made.a == "kept"
        # From now on the class says what these are.
        Base.a = property(lambda self: "property")
        assert made.a == "property" and made.b == "kept"
        Store.b = property(lambda self: "property")
        assert made.b == "property"
        assert vars(made)["b"] == vars(made)["a"] == "kept"
        del Base.a, Store.b
        assert (made.a, made.b) == ("kept", "kept")
        assert made.__class__ is Store
        vars(made)["__class__"] = vars(made)["__doc__"] = 1
        assert made.__class__ is Store and made.__doc__ == 1
        assert not hasattr(made, "c") and not hasattr(made, "_c")
        made._c = 1
        assert made._c == 1


def test_a_descriptor_whose_class_changes():
    class Attribute:
        pass

    class Store(xctx.local, key=keys.work):
        a = Attribute()

    made = Store()
    with xctx.work():
        made.a = 1
        assert made.a == 1
        Attribute.__get__ = lambda self, store, cls: "descriptor"
        assert made.a == 1  # it is no data descriptor
        Attribute.__set__ = lambda self, store, value: None
        assert made.a == "descriptor"


def test_nothing_is_found_of_what_was_there_before():
    """Whatever it is that a unit of work had: it has ended, its values were taken away, or moved into a dict."""

    class Store(xctx.local, key=keys.work):
        def __init__(self):
            self.ready = True
            if fails:
                raise LookupError("on purpose")

    fails = []
    plain, made = xctx.local(key=keys.work), Store()
    for n in range(50):
        with xctx.work():
            assert not hasattr(plain, "a")
            plain.a = n
            assert plain.a == n and made.ready
            with xctx.work():
                assert not hasattr(plain, "a")
                fails.append(1)
                for _ in range(2):
                    with pytest.raises(LookupError):
                        made.ready
                fails.clear()
                assert made.ready
            assert plain.a == n
            for i in range(20):
                setattr(plain, f"a{i}", i)
            assert (plain.a, plain.a19) == (n, 19)
            del plain.a
            assert not hasattr(plain, "a") and plain.a0 == 0


def test_finalisers_that_read_while_it_ends():
    class Value:
        def __del__(self):
            seen.append((getattr(store, "a", None), getattr(store, "b", None)))
            if len(seen) < 4:
                store.b = Value()
                seen.append(getattr(store, "b", None) is not None)

    seen = []
    with xctx.work():
        store.a = Value()
        assert store.a is not None
    assert [each for each in seen if each is not True] == [(None, None)] * 3
    assert not vars(store)


# --- one unit of work, many threads ----------------------------------------------------------------------------------


def test_initialised_once_a_unit_of_work():
    class Store(xctx.local, key=keys.work):
        def __init__(self, start):
            self.n = start
            calls.append(start)

    calls = []
    made = Store(7)
    for _ in range(3):
        with xctx.work():
            assert made.n == 7
            made.n += 1
            assert xctx.capture().run(lambda: made.n) == 8
    assert calls == [7] * 4


def test_threads_share_it_and_initialise_it_once():
    class Store(xctx.local, key=keys.work):
        def __init__(self):
            calls.append(xctx.work.current())

    calls = []
    made = Store()
    del calls[:]
    with xctx.work() as unit:
        snapshot = xctx.capture()

        def run(i):
            snapshot.run(setattr, made, f"name{i}", i)

        run_threads(8, run)
        assert vars(made) == {f"name{i}": i for i in range(8)}
        assert calls == [unit]


def test_no_operation_is_lost():
    with xctx.work():
        snapshot = xctx.capture()

        def run(i):
            for n in range(200):
                setattr(store, f"a{i}", n)
                setattr(store, f"b{i}", n)
                delattr(store, f"b{i}")
                assert getattr(store, f"a{i}") == n
                assert not hasattr(store, f"b{i}")

        run_threads(4, lambda i: snapshot.run(run, i))
        assert vars(store) == {f"a{i}": 199 for i in range(4)}


def test_it_ends_while_others_work_for_it():
    # What they store when it has ended goes with it, or is their own, and nobody finds it later.
    def job(started, stop, snapshot):
        started.wait()
        snapshot.run(stores, stop)

    def stores(stop):
        while not stop.is_set():
            store.a = store.b = 1
            store.__dict__.get("a")
            store.a = 2

    for _ in range(20):
        started, stop = threading.Barrier(3), threading.Event()
        with xctx.work():
            snapshot = xctx.capture()
            threads = [threading.Thread(target=job, args=(started, stop, snapshot)) for _ in range(2)]
            for thread in threads:
                thread.start()
            started.wait()
        with xctx.work():
            assert not hasattr(store, "a")
        stop.set()
        for thread in threads:
            thread.join()
        assert not vars(store)


def test_many_names_and_what_can_be_done_with_them():
    with xctx.work():
        for i in range(40):
            setattr(store, f"n{i}", i)
        assert [getattr(store, f"n{i}") for i in range(40)] == list(range(40))
        for i in range(0, 40, 2):
            delattr(store, f"n{i}")
        assert vars(store) == {f"n{i}": i for i in range(1, 40, 2)}
        vars(store)["more"] = 1
        assert store.more == 1
        with pytest.raises(AttributeError):
            del store.n0
        store.__release_local__()
        assert not vars(store)


def test_debug_shows_what_is_kept_for_it():
    with xctx.work() as unit:
        store.a = 1
        assert debug.stores_of(unit) == [(store, {"a": 1})]
        assert (unit, {"a": 1}) in debug.units_of(store)
    assert debug.stores_of(unit) == []


def test_a_store_that_dies_releases_what_it_has(thing, no_collector):
    with xctx.work():
        mine = xctx.local(key=keys.work)
        mine.a = value = thing()
        ref = weakref.ref(value)
        del value
        assert ref() is not None
        del mine
        assert ref() is None


def test_a_value_that_refers_to_its_store_is_collected(thing):
    with xctx.work():
        mine = xctx.local(key=keys.work)
        mine.a = value = thing()
        value.store = mine
        ref = weakref.ref(value)
        del value, mine
        gc.collect()
        assert ref() is None


# --- what is left open -----------------------------------------------------------------------------------------------


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


def test_it_tells_what_was_left_open_and_where():
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
