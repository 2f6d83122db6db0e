"""Blocks that are left elsewhere: in another context, task, greenlet or thread."""

import asyncio
import contextlib
import contextvars
import gc
import sys
import weakref

import pytest
from by_hand import enter, in_new_context, leave

import xctx
from xctx import keys

# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_a_block_left_in_a_copied_context_is_left_here_too():
    """Contexts that were copied while it was open are children, which keep it; but for the one that leaves it."""
    x = xctx.xlocal(key=keys.context)
    with x(a=1):
        scope = enter(x(b=2))
        copied, other = contextvars.copy_context(), contextvars.copy_context()
        copied.run(leave, scope)
        assert copied.run(lambda: dict(vars(x))) == {"a": 1}
        assert other.run(lambda: dict(vars(x))) == {"a": 1, "b": 2}
        assert vars(x) == {"a": 1}
    assert vars(x) == {}
    assert copied.run(lambda: dict(vars(x))) == {"a": 1}
    assert other.run(lambda: dict(vars(x))) == {"a": 1, "b": 2}


def test_a_block_left_in_an_unrelated_context_is_left_here_alone(x):
    def use():
        scope = enter(x(a=1))

        def elsewhere():
            with x(a=3):
                leave(scope)
                assert vars(x) == {"a": 3}
            assert vars(x) == {}

        with x(b=2):
            in_new_context(elsewhere)
            assert vars(x) == {"b": 2}

    in_new_context(use)


def test_a_block_entered_in_a_copied_context_and_left_here(x):
    def use():
        scope = x(a=1)
        with x(b=2):
            contextvars.copy_context().run(enter, scope)
            leave(scope)
            assert vars(x) == {"b": 2}

    in_new_context(use)


def test_a_block_is_left_in_another_unit(x, other_unit):
    scope = enter(x(a=1))
    try:
        assert other_unit(lambda: leave(scope)) is None
    finally:
        with contextlib.suppress(RuntimeError):  # still entered here where the other one was a forked child
            leave(scope)
    with x(b=1):
        assert x.b == 1


def test_a_block_of_another_thread_is_left_here(x, in_thread):
    scope = in_thread(lambda: enter(x(a=1)))
    with x(b=1):
        leave(scope)
        assert vars(x) == {"b": 1}
    with pytest.raises(RuntimeError, match="not entered"):
        leave(scope)


def test_a_binding_entered_in_two_contexts_is_left_in_each(x):
    def use():
        scope = x(a=1)
        one, two = contextvars.Context(), contextvars.Context()
        for context in (one, two):
            context.run(enter, scope)
        for context in (one, two):
            context.run(leave, scope)
            assert context.run(lambda: dict(vars(x))) == {}
        with pytest.raises(RuntimeError, match="not entered"):
            leave(scope)

    use()


def test_a_task_that_closes_anothers_generator(x):
    @xctx.transparent
    async def generate():
        with x(a="generator"):
            yield 1
            yield 2

    async def begin(generator):
        await anext(generator)
        return dict(vars(x))

    async def close(generator):
        with x(b=1):
            await generator.aclose()
            assert x.b == 1
        return dict(vars(x))

    async def main():
        generator = generate()
        assert (await asyncio.create_task(begin(generator)))["a"] == "generator"
        assert await asyncio.create_task(close(generator)) == {}
        assert vars(x) == {}

    asyncio.run(main())
    assert not hasattr(x, "a")


def test_an_async_generator_closed_by_the_loop(x):
    closed = []

    async def generate():
        with x(a=1):
            try:
                yield 1
            finally:
                closed.append(True)

    async def main():
        generator = generate()
        await anext(generator)

    asyncio.run(main())
    assert closed == [True]
    assert not hasattr(x, "a")


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_interleaved_tasks_do_not_meet(x):
    async def work(i):
        with x(a=i):
            for _ in range(5):
                await asyncio.sleep(0)
                with x(b=-i):
                    await asyncio.sleep(0)
                    assert (x.a, x.b) == (i, -i)
                assert vars(x) == {"a": i}
        assert vars(x) == {}

    async def main():
        async with asyncio.TaskGroup() as group:
            for i in range(20):
                group.create_task(work(i))

    asyncio.run(main())


def test_child_tasks_inherit_but_under_the_task_key(x, key_name):
    async def child():
        return getattr(x, "a", None)

    async def main():
        with x(a=1):
            task = asyncio.create_task(child())
        return await task

    assert asyncio.run(main()) == (None if key_name == "task" else 1)


def test_to_thread_carries_where_the_key_says(key_name, x):
    async def main():
        with x(a=1):
            return await asyncio.to_thread(lambda: getattr(x, "a", None))

    assert asyncio.run(main()) == (1 if key_name in ("process", "flow", "context") else None)


INHERITING = """
import contextvars, threading
import xctx
x, store, variable = xctx.xlocal(), xctx.local(key=xctx.keys.flow), contextvars.ContextVar("variable")
every = xctx.xlocal(key=xctx.keys.context)
store.a = 1
def look():
    return hasattr(x, "a"), hasattr(store, "a"), hasattr(every, "a"), variable.get(None)
def in_thread(func):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(func()))
    thread.start()
    thread.join()
    return seen.pop()
def bind():
    before = look()
    with x(a=2):
        store.a = 2
        within = x.a, store.a, contextvars.copy_context().run(look)
    return before, within, look()[0]
variable.set(1)
with x(a=1), every(a=1):
    context = contextvars.copy_context()
    print(in_thread(look))
    print(in_thread(lambda: contextvars.copy_context().run(look)))
    print(in_thread(lambda: context.run(look)))
    print(in_thread(bind))
    print(in_thread(lambda: in_thread(look)))
    print(look(), contextvars.copy_context().run(look))
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads take a context from 3.14 on")
def test_nothing_is_seen_in_a_context_that_a_thread_inherited(python):
    told = python(INHERITING, "-X", "thread_inherit_context=1")
    inherited, carried = (False, False, True, 1), (True, True, True, 1)
    assert told.splitlines() == [
        str(inherited),
        str(inherited),
        str(carried),
        str((inherited, (2, 2, carried), False)),
        str(inherited),
        f"{carried} {carried}",
    ]


def test_tasks_that_share_one_context(x):
    async def work(i, turn, other):
        with x(a=i):
            turn.set()
            await other.wait()
        return None

    async def main():
        context = contextvars.copy_context()
        one, two = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(work(1, one, two), context=context),
            loop.create_task(work(2, two, one), context=context),
        ]
        await asyncio.gather(*tasks)
        return context.run(lambda: dict(vars(x)))

    assert asyncio.run(main()) == {}


# --- greenlets --------------------------------------------------------------------------------------------------------


def test_interleaved_greenlets_do_not_meet(x, key_name, greenlet):
    if key_name in ("process", "thread", "callable"):
        seen_by_others = "each greenlet has its own context"
    else:
        seen_by_others = None

    def work(i):
        with x(a=i):
            greenlet.getcurrent().parent.switch()
            assert vars(x) == {"a": i}, seen_by_others
        greenlet.getcurrent().parent.switch()
        assert vars(x) == {}

    greenlets = [greenlet.greenlet(work) for _ in range(10)]
    with x(b=1):
        for i, each in enumerate(greenlets):
            each.switch(i)
            assert vars(x) == {"b": 1}
        for _ in range(2):
            for each in reversed(greenlets):
                each.switch()
                assert vars(x) == {"b": 1}


def test_interleaved_greenlets_that_share_a_context(greenlet):
    x = xctx.xlocal(key=xctx.keys.greenlet)

    def work(i):
        assert vars(x) == {}
        with x(a=i):
            greenlet.getcurrent().parent.switch()
            assert vars(x) == {"a": i}
        assert vars(x) == {}

    def use():
        contextvars.ContextVar("any").set(1)
        greenlets = [greenlet.greenlet(work) for _ in range(10)]
        for each in greenlets:
            each.gr_context = greenlet.getcurrent().gr_context
        with x(b=1):
            for i, each in enumerate(greenlets):
                each.switch(i)
                assert vars(x) == {"b": 1}
        assert vars(x) == {}
        with x(b=2):
            for each in greenlets[::2] + greenlets[1::2]:
                each.switch()
                assert vars(x) == {"b": 2}

    # A greenlet cannot take over a context that Context.run() has entered, so this one runs in a greenlet of its own.
    greenlet.greenlet(use).switch()


def test_a_greenlet_killed_in_a_block_leaves_it(x, greenlet):
    values = []

    def work():
        with x(a=1):
            try:
                greenlet.getcurrent().parent.switch()
            finally:
                values.append(x.a)
        values.append(vars(x))

    suspended = greenlet.greenlet(work)
    suspended.switch()
    with x(b=1):
        del suspended
        gc.collect()
        assert vars(x) == {"b": 1}
    assert values == [1]


def test_gevent_greenlets_do_not_meet(x, gevent):
    def work(i):
        with x(a=i):
            for _ in range(3):
                gevent.sleep(0)
                with x(b=-i):
                    gevent.sleep(0)
                    assert vars(x) == {"a": i, "b": -i}
        return vars(x)

    with x(c=1):
        assert [each.get() for each in [gevent.spawn(work, i) for i in range(20)]] == [{}] * 20


# --- threads that end -------------------------------------------------------------------------------------------------


def test_a_threads_open_bindings_die_with_it(x, in_thread, thing, no_collector):
    def run():
        value = thing()
        x(a=value).__enter__()
        assert x.a is value
        return weakref.ref(value)

    assert in_thread(run)() is None


def test_a_finaliser_at_thread_exit_that_makes_a_context_and_reads(x, in_thread):
    variable = contextvars.ContextVar("variable")
    seen = []

    class Value:
        def __del__(self):
            variable.set(1)
            seen.append(getattr(x, "a", None))
            with x(a=2):
                seen.append(getattr(x, "a", None))
            seen.append(getattr(x, "a", None))

    def run():
        x(a=Value(), b=[1]).__enter__()
        assert x.b == [1]

    for _ in range(10):
        in_thread(run)
    assert seen == [None, 2, None] * 10
