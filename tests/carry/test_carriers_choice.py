"""Which xlocals go along with work, and that callbacks and initializers see what was bound where they were given."""

import asyncio
import concurrent.futures
import multiprocessing
import pickle
import queue
import threading
import weakref

import pytest
from carry_module import (
    ALL,
    START_METHODS,
    VAR,
    initialise,
    initialised,
    look,
    look_at_both,
    other,
    what_was_initialised,
)
from helpers.packages import installed

import xctx
import xctx.concurrent

LONG = 60
needs_gevent = pytest.mark.skipif(not installed("gevent"), reason="no gevent")


def by_thread(key_name, **how):
    seen = []
    thread = xctx.concurrent.Thread(target=lambda: seen.append(look_at_both(key_name)), **how)
    thread.start()
    thread.join()
    return seen[0]


def by_executor(key_name, **how):
    with xctx.concurrent.ThreadPoolExecutor(1, **how) as pool:
        first, second = pool.submit(look_at_both, key_name).result(), *pool.map(look_at_both, [key_name])
    assert first == second
    return first


def by_carrying_executor(key_name, **how):
    with concurrent.futures.ThreadPoolExecutor(1) as inner:
        pool = xctx.concurrent.CarryingExecutor(inner, **how)
        first, second = pool.submit(look_at_both, key_name).result(), *pool.map(look_at_both, [key_name])
    assert first == second
    return first


def by_loop(key_name, **how):
    bound = xctx.capture()

    async def main():
        with bound:  # the task is a unit of its own
            return await xctx.concurrent.run_in_executor(None, look_at_both, key_name, **how)

    return asyncio.run(main())


def by_spawn(key_name, **how):
    import xctx.gevent

    later = xctx.gevent.spawn_later(0, look_at_both, key_name, **how)
    first = xctx.gevent.spawn(look_at_both, key_name, **how).get()
    assert first == later.get()
    return first


def by_pool_of_gevent(key_name, **how):
    import xctx.gevent

    pool = xctx.gevent.Pool(1, **how)
    first, second = pool.spawn(look_at_both, key_name).get(), *pool.map(look_at_both, [key_name])
    assert first == second
    return first


def by_process_pool(key_name, **how):
    with xctx.concurrent.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"), **how) as pool:
        return pool.submit(look_at_both, key_name).result()


def by_pool(key_name, **how):
    with xctx.concurrent.Pool(1, context=multiprocessing.get_context("fork"), **how) as pool:
        return pool.apply(look_at_both, (key_name,))


WAYS = [
    by_thread,
    by_executor,
    by_carrying_executor,
    by_loop,
    by_process_pool,
    by_pool,
    pytest.param(by_spawn, marks=needs_gevent),
    pytest.param(by_pool_of_gevent, marks=needs_gevent),
]


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
def test_only_the_chosen_ones_go_along(way, key_name):
    x = ALL[key_name]
    with x(a=1), other(b=2):
        assert way(key_name) == ({"a": 1}, {"b": 2})
        assert way(key_name, xlocals=[x]) == ({"a": 1}, {})
        assert way(key_name, xlocals=(other,)) == ({}, {"b": 2})
        assert way(key_name, xlocals=[x, other]) == ({"a": 1}, {"b": 2})
        assert way(key_name, xlocals=()) == ({}, {})


def test_what_cannot_be_pickled_stays_where_it_is_not_chosen(x_of_module):
    with (
        x_of_module(a=1), other(b=lambda: None),
        xctx.concurrent.ProcessPoolExecutor(1, xlocals=[x_of_module]) as pool,
    ):  # fmt: skip
        assert pool.submit(look, "greenlet").result() == {"a": 1}
        with pytest.raises(TypeError, match="this snapshot cannot be pickled: 'b' of"):
            pickle.dumps(xctx.capture())


@pytest.fixture
def x_of_module():
    return ALL["greenlet"]


def test_any_iterable_is_taken_once():
    with xctx.concurrent.ThreadPoolExecutor(1, xlocals=(each for each in [other])) as pool, other(b=2):
        for _ in range(2):
            assert pool.submit(vars, other).result() == {"b": 2}


@pytest.mark.parametrize("chosen", [[], [other]])
@pytest.mark.parametrize("work", ["same", "new"])
def test_the_unit_of_work_goes_along_whatever_is_chosen(chosen, work):
    kept = xctx.local(key=xctx.keys.work)

    def look():
        return xctx.work.current(), vars(kept)

    with xctx.concurrent.ThreadPoolExecutor(1, xlocals=chosen, work=work) as pool, xctx.work():
        kept.a = 1
        here = xctx.work.current()
        seen, found = pool.submit(look).result()
        assert (here == seen, found) == ((True, {"a": 1}) if work == "same" else (False, {}))


@pytest.mark.parametrize("bindings", ["share", "empty"])
@pytest.mark.parametrize("chosen", [[], [other]])
@needs_gevent
def test_what_is_shared_or_empty_has_nothing_to_choose(bindings, chosen):
    import xctx.gevent

    with pytest.raises(ValueError, match=f"xlocals can be chosen where bindings is 'copy', not '{bindings}'"):
        xctx.gevent.spawn(int, bindings=bindings, xlocals=chosen)


@pytest.mark.parametrize(
    "make",
    [
        xctx.concurrent.ThreadPoolExecutor,
        xctx.concurrent.ProcessPoolExecutor,
        lambda **how: xctx.concurrent.CarryingExecutor(None, **how),
        xctx.concurrent.Thread,
        xctx.concurrent.Process,
        lambda **how: xctx.concurrent.Pool(1, **how),
        lambda **how: xctx.concurrent.run_in_executor(None, int, **how),
    ],
)
def test_others_than_xlocals_are_refused_where_they_are_given(make):
    with pytest.raises(TypeError, match=r"xlocals is an iterable of xlocals, or None for all, not <xlocal"):
        make(xlocals=other)
    with pytest.raises(TypeError, match="'user'"):
        make(xlocals=["user"])
    with pytest.raises(ValueError, match="not 'empty'"):
        make(xlocals=[other], bindings="empty")


# --- callbacks of futures ---------------------------------------------------------------------------------------------


EXECUTORS = [
    lambda: xctx.concurrent.ThreadPoolExecutor(1),
    lambda: xctx.concurrent.ProcessPoolExecutor(1, multiprocessing.get_context("fork")),
    lambda: xctx.concurrent.CarryingExecutor(concurrent.futures.ThreadPoolExecutor(1)),
]


def wait_for(event):
    assert event.wait(LONG)


@pytest.mark.parametrize("bindings", ["copy", "empty"])
def test_a_callback_sees_what_is_bound_where_it_is_added(key_name, bindings):
    x, seen, begun = ALL[key_name], queue.SimpleQueue(), threading.Event()

    def note(future):
        seen.put((threading.get_ident(), look(key_name)))

    with xctx.concurrent.ThreadPoolExecutor(1, bindings=bindings) as pool:
        with x(a="of the work"):
            future = pool.submit(wait_for, begun)
        future.add_done_callback(note)
        for number in range(2):
            with x(a=number):
                future.add_done_callback(note)
        begun.set()
        results = [seen.get(timeout=LONG) for _ in range(3)]
        found = [{}, {"a": 0}, {"a": 1}] if bindings == "copy" else [{}] * 3
        assert [what for _, what in results] == found
        assert threading.get_ident() not in {ident for ident, _ in results}


@pytest.mark.parametrize("make", EXECUTORS)
def test_callbacks_of_all_executors(make):
    seen, x = queue.SimpleQueue(), ALL["greenlet"]
    with make() as pool:
        with x(a=1), other(b=2):
            future = pool.submit(pow, 2, 3)
            future.add_done_callback(lambda done: seen.put((done.result(), vars(x), vars(other))))
        assert seen.get(timeout=LONG) == (8, {"a": 1}, {"b": 2})
        # Of one that is done already, it is called at once.
        assert future.result() == 8
        with x(a=2):
            future.add_done_callback(lambda done: seen.put((done is future, vars(x))))
        assert seen.get_nowait() == (True, {"a": 2})


def test_callbacks_see_the_chosen_ones_alone():
    begun, seen, x = threading.Event(), queue.SimpleQueue(), ALL["greenlet"]
    with xctx.concurrent.ThreadPoolExecutor(1, xlocals=[x]) as pool:
        with x(a=1), other(b=2):
            future = pool.submit(wait_for, begun)
            future.add_done_callback(lambda done: seen.put((vars(x), vars(other))))
        begun.set()
        assert seen.get(timeout=LONG) == ({"a": 1}, {})


def test_a_callback_is_in_the_unit_of_work_where_it_is_added():
    begun, seen = threading.Event(), queue.SimpleQueue()
    with xctx.concurrent.ThreadPoolExecutor(1, work="new") as pool:
        with xctx.work():
            here = xctx.work.current()
            future = pool.submit(wait_for, begun)
            future.add_done_callback(lambda done: seen.put(xctx.work.current()))
            begun.set()
            assert seen.get(timeout=LONG) == here


def test_nothing_that_a_callback_sets_reaches_another():
    begun, seen = threading.Event(), queue.SimpleQueue()

    def note(future):
        seen.put(VAR.get(None))
        VAR.set("of a callback")

    with xctx.concurrent.ThreadPoolExecutor(1, contextvars=[VAR]) as pool:
        future = pool.submit(wait_for, begun)
        token = VAR.set("here")
        future.add_done_callback(note)
        VAR.reset(token)
        future.add_done_callback(note)
        begun.set()
        assert [seen.get(timeout=LONG), seen.get(timeout=LONG)] == ["here", None]


def test_a_callback_that_fails_is_logged_and_others_run(caplog):
    begun, ran = threading.Event(), threading.Event()
    with xctx.concurrent.ThreadPoolExecutor(1) as pool:
        future = pool.submit(wait_for, begun)
        future.add_done_callback(lambda done: 1 / 0)
        future.add_done_callback(lambda done: ran.set())
        begun.set()
        wait_for(ran)
        assert future.result() is None
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("end", ["done", "cancelled", "failed"])
def test_a_future_that_has_ended_dies_without_the_collector(end, no_collector):
    begun, ended = threading.Event(), threading.Event()
    with xctx.concurrent.ThreadPoolExecutor(1) as pool:
        blocker = pool.submit(wait_for, begun)
        future = pool.submit((lambda: 1 / 0) if end == "failed" else int)
        future.add_done_callback(lambda done: ended.set())
        if end == "cancelled":
            assert future.cancel()
        begun.set()
        wait_for(ended)
        concurrent.futures.wait([blocker])
    reference = weakref.ref(future)
    if end == "failed":
        future.exception().__traceback__ = None
    del future
    assert reference() is None


def test_waiting_for_futures_and_asyncio_know_them():
    async def main():
        with xctx.concurrent.ThreadPoolExecutor(2) as pool:
            loop = asyncio.get_running_loop()
            with other(b=1):
                first = loop.run_in_executor(pool, vars, other)
            futures = [pool.submit(int, text) for text in "123"]
            assert concurrent.futures.wait(futures, LONG).not_done == set()
            assert sorted(each.result() for each in concurrent.futures.as_completed(futures)) == [1, 2, 3]
            assert await asyncio.wrap_future(pool.submit(int, "4")) == 4
            return await first

    assert asyncio.run(main()) == {"b": 1}


@needs_gevent
def test_callbacks_of_gevents_threads(gevent):
    import gevent.event

    import xctx.gevent

    told = gevent.event.AsyncResult()
    pool = xctx.gevent.ThreadPoolExecutor(1)
    with other(b=1):
        future = pool.submit(gevent.sleep, 0)
        future.add_done_callback(lambda done: told.set((done.result(), vars(other))))
    assert told.get(timeout=LONG) == (None, {"b": 1})
    pool.shutdown()


# --- callbacks of pools -----------------------------------------------------------------------------------------------


def fail(*ignored):
    raise LookupError("as it should")


@pytest.mark.parametrize("bindings", ["copy", "empty"])
@pytest.mark.parametrize("by_name", [False, True])
def test_callbacks_of_a_pool(bindings, by_name):
    seen = queue.SimpleQueue()

    def note(result):
        seen.put((str(result), vars(other)))

    def ask(method, func, *args, before):
        if by_name:
            return method(func, *args, callback=note, error_callback=note)
        return method(func, *args, *before, note, note)

    with xctx.concurrent.Pool(1, context=multiprocessing.get_context("fork"), bindings=bindings) as pool:
        for func in abs, fail:
            for method, args, before in [
                (pool.apply_async, (1,), ({},)), (pool.map_async, 1, (None,)), (pool.starmap_async, (1,), (None,)),
            ]:  # fmt: skip
                with other(b=1):
                    ask(method, func, args if method == pool.apply_async else [args], before=before)
                result, bound = seen.get(timeout=LONG)
                assert bound == ({"b": 1} if bindings == "copy" else {})
                assert result in {"1", "[1]"} if func is abs else "as it should" in result
        assert pool.apply_async(abs, (-1,), callback=None).get() == 1


@needs_gevent
@pytest.mark.parametrize("kind", ["Pool", "Group", "ThreadPool"])
@pytest.mark.parametrize("bindings", ["copy", "share", "empty"])
def test_callbacks_of_gevents_pools(gevent, kind, bindings):
    import gevent.queue

    import xctx.gevent

    if bindings == "share" and kind == "ThreadPool":
        return
    seen = gevent.queue.Queue()
    made = getattr(xctx.gevent, kind)
    pool = made(bindings=bindings) if kind == "Group" else made(2, bindings=bindings)

    def note(result):
        seen.put((result, vars(other)))

    with other(b=1):
        pool.apply_async(abs, (-1,), callback=note)
        pool.apply_async(abs, (-1,), {}, note)
        pool.map_async(abs, [-1], callback=note)
    found = [seen.get(timeout=LONG) for _ in range(3)]
    assert [bound for _, bound in found] == [{} if bindings == "empty" else {"b": 1}] * 3
    assert sorted(map(str, (result for result, _ in found))) == ["1", "1", "[1]"]
    if kind == "ThreadPool":
        pool.kill()


# --- initializers -----------------------------------------------------------------------------------------------------


def initialised_by_threads(by_name, **how):
    initialised.clear()
    given = {"initializer": initialise, "initargs": (1,)} if by_name else {}
    with other(b=1):
        pool = xctx.concurrent.ThreadPoolExecutor(1, *(() if by_name else ("", initialise, (1,))), **given, **how)
    return pool, pool.submit(what_was_initialised).result


def initialised_by_processes(by_name, method, **how):
    given = {"initializer": initialise, "initargs": (1,)} if by_name else {}
    context = multiprocessing.get_context(method)
    with other(b=1):
        if by_name:
            pool = xctx.concurrent.ProcessPoolExecutor(1, context, **given, **how)
        else:
            pool = xctx.concurrent.ProcessPoolExecutor(1, context, initialise, (1,), **how)
    return pool, pool.submit(what_was_initialised).result


def initialised_by_pool(by_name, method, **how):
    context = multiprocessing.get_context(method)
    with other(b=1):
        if by_name:
            pool = xctx.concurrent.Pool(1, initializer=initialise, initargs=(1,), context=context, **how)
        else:
            pool = xctx.concurrent.Pool(1, initialise, (1,), context=context, **how)
    return pool, pool.apply_async(what_was_initialised).get


INITIALISED = [
    (initialised_by_threads,),
    *((initialised_by_processes, method) for method in START_METHODS),
    *((initialised_by_pool, method) for method in START_METHODS),
]


@pytest.mark.sampled
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("bindings", ["copy", "empty"])
@pytest.mark.parametrize("make", INITIALISED, ids=lambda made: "-".join([made[0].__name__, *made[1:]]))
def test_an_initializer_sees_what_is_bound_where_the_pool_is_made(make, bindings, by_name):
    made, *method = make
    pool, ask = made(by_name, *method, bindings=bindings)
    with pool:
        found = ask(LONG)
    # A forked process has what this one noted before.
    assert found[-1] == ({"b": 1} if bindings == "copy" else {}, 1)


def test_an_initializer_sees_the_chosen_ones_alone():
    pool, ask = initialised_by_threads(True, xlocals=[ALL["flow"]])
    with pool:
        assert ask(LONG) == [({}, 1)]


def test_without_an_initializer_an_executor_keeps_nothing(thing, no_collector):
    value = thing()
    with other(b=value):
        pools = [
            xctx.concurrent.ThreadPoolExecutor(1),
            xctx.concurrent.ThreadPoolExecutor(1, initializer=None),
            xctx.concurrent.ThreadPoolExecutor(1, "", None),
        ]
    reference = weakref.ref(value)
    del value
    assert reference() is None, pools


def test_an_initializer_that_is_none_or_wrong_is_refused_as_ever():
    with pytest.raises(TypeError, match="initializer must be a callable"):
        xctx.concurrent.ThreadPoolExecutor(1, initializer=1)
