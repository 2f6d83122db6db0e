"""Blocks that are left in another context than they were entered in, and are no longer seen in the latter."""

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.waiting import eventually_async

import xctx

pytestmark = pytest.mark.sampled


@pytest.fixture
def x(key):
    return xctx.xlocal(key=key)


class Value:
    pass


@pytest.fixture(params=["scope", "snapshot", "snapshot of all", "two names"])
def opener(request, x):
    """Makes an opener that binds `a` to what it is given."""

    def make(value):
        if request.param == "scope":
            return x(a=value)
        if request.param == "two names":
            return x(a=value, b=2)
        with x(a=value):
            return xctx.capture(x) if request.param == "snapshot" else xctx.capture()

    return make


@xctx.transparent
def steps(opened):
    with opened:
        del opened
        yield


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def in_a_copied_context(function):
    contextvars.copy_context().run(function)


def in_an_empty_context(function):
    contextvars.Context().run(function)


def in_a_greenlet(function):
    pytest.importorskip("greenlet").greenlet(function).switch()


def in_gevents_hub(function):
    gevent = pytest.importorskip("gevent")
    done = gevent.event.Event() if hasattr(gevent, "event") else None
    if done is None:
        from gevent.event import Event

        done = Event()

    def call():
        function()
        done.set()

    gevent.get_hub().loop.run_callback(call)
    done.wait(10)


def in_a_task(function):
    async def main():
        function()

    asyncio.run(main())


@pytest.fixture(
    params=[in_a_thread, in_a_copied_context, in_an_empty_context, in_a_greenlet, in_gevents_hub, in_a_task],
    ids=lambda each: each.__name__,
)
def elsewhere(request):
    return request.param


def test_it_is_not_seen_any_more(x, opener, elsewhere):
    generator = steps(opener("inner"))
    next(generator)
    assert x.a == "inner"
    elsewhere(generator.close)
    assert vars(x) == {}
    assert "a" not in dir(x)
    assert xctx.capture(x).run(vars, x) == {}
    assert not hasattr(x, "a")


def test_what_was_beneath_is_seen_again(x, opener, elsewhere):
    with x(a="outer"):
        generator = steps(opener("inner"))
        next(generator)
        elsewhere(generator.close)
        assert x.a == "outer"
    assert vars(x) == {}


def test_what_is_above_stays(x, elsewhere):
    generator = steps(x(a="inner"))
    next(generator)
    with x(b="above"):
        elsewhere(generator.close)
        assert vars(x) == {"b": "above"}
        with x(a="again"):
            assert vars(x) == {"a": "again", "b": "above"}
        assert vars(x) == {"b": "above"}
    assert vars(x) == {}


def test_contexts_copied_meanwhile_keep_it_and_later_ones_do_not(x, opener, elsewhere):
    generator = steps(opener("inner"))
    next(generator)
    before = contextvars.copy_context()
    elsewhere(generator.close)
    assert vars(x) == {}
    after = contextvars.copy_context()
    for _ in range(2):
        assert before.run(lambda: x.a) == "inner"
        assert after.run(lambda: dict(vars(x))) == {}
        assert vars(x) == {}


@pytest.mark.sampled
def test_its_value_is_released(x, opener, elsewhere):
    value = Value()
    dead = weakref.ref(value)
    generator = steps(opener(value))
    del value
    next(generator)
    elsewhere(generator.close)
    del generator
    getattr(x, "a", None)  # without the GIL the context is cleaned up when it is next used
    gc.collect()
    assert dead() is None


def test_many_of_them(x, opener, elsewhere):
    """Interleaved with blocks that stay, and left in no order."""
    with contextlib.ExitStack() as stack:
        generators = []
        for number in range(12):
            generators.append(steps(opener(number)))
            next(generators[-1])
            stack.enter_context(x(**{f"n{number}": number}))
        for generator in generators[::2] + generators[1::2]:
            elsewhere(generator.close)
            assert {name for name in vars(x) if name.startswith("n")} >= {"n11"}
        assert not hasattr(x, "a")
    assert vars(x) == {}


def test_a_block_entered_and_left_by_two_workers(x, opener):
    @contextlib.contextmanager
    def dependency():
        with opener("request"):
            yield

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        for _ in range(20):
            manager = dependency()
            one.submit(manager.__enter__).result()
            two.submit(manager.__exit__, None, None, None).result()
            assert one.submit(lambda: dict(vars(x))).result() == {}
            assert two.submit(lambda: dict(vars(x))).result() == {}


@pytest.mark.sampled
def test_an_async_generator_that_the_loop_closes(x, opener):
    @xctx.transparent
    async def numbers():
        with opener("inner"):
            for number in range(5):
                yield number

    async def main():
        async for _ in numbers():
            break
        gc.collect()
        await eventually_async(lambda: not vars(x))
        return dict(vars(x))

    assert asyncio.run(main()) == {}


@pytest.mark.sampled
def test_a_generator_closed_by_the_collector_in_another_thread(x, opener):
    def begin():
        generator = steps(opener("inner"))
        next(generator)
        cycle = [generator]
        cycle.append(cycle)

    with ThreadPoolExecutor(1) as worker:
        worker.submit(begin).result()
        gc.collect()
        assert worker.submit(lambda: dict(vars(x))).result() == {}


def test_a_statements_block_left_by_hand_and_in_a_copied_context(x):
    scope = x(a=1)

    def leave_by_hand():
        scope.__exit__(None, None, None)
        assert vars(x) == {}

    with pytest.raises(RuntimeError, match="not entered"), scope:
        contextvars.copy_context().run(leave_by_hand)
    assert vars(x) == {}


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="it is left to the thread that has it")
def test_context_variables_of_a_snapshot(x, elsewhere):
    var = contextvars.ContextVar("var")
    token = var.set("taken")
    snapshot = xctx.capture(x, contextvars=[var])
    var.reset(token)
    generator = steps(snapshot)
    next(generator)
    assert var.get() == "taken"
    elsewhere(generator.close)
    assert var.get(None) is None


def test_threads_that_leave_each_others_blocks_all_the_time(x):
    """No thread ever sees a value that another one has bound, and its own block always shows its own."""
    wrong = []
    generators = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def work(mine):
        start.wait()
        for number in range(300):
            generator = steps(x(a=(mine, number)))
            next(generator)
            generators[mine].append(generator)
            with x(b=mine):
                if x.b != mine:
                    wrong.append(x.b)
                with contextlib.suppress(IndexError, ValueError):  # of a generator that another thread closes now
                    generators[(mine + 1) % 4].pop().close()
            seen = getattr(x, "a", (mine, None))
            if seen[0] != mine:
                wrong.append(seen)
        start.wait()
        with contextlib.suppress(IndexError):
            while True:
                generators[(mine + 1) % 4].pop().close()
        start.wait()
        if vars(x):
            wrong.append(vars(x))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nothing_is_bound_where_memory_runs_out(x, opener):
    _testcapi = pytest.importorskip("_testcapi")
    opened = opener("inner")

    def use():
        with opened:
            return x.a

    def tried(number):
        use()
        try:
            _testcapi.set_nomemory(number, number + 1)
            try:
                use()
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError:
            return False
        return True

    outcomes = set()
    for number in range(40):
        outcomes.add(contextvars.copy_context().run(tried, number))
        outcomes.add(tried(number))
        assert vars(x) == {}
    assert True in outcomes
