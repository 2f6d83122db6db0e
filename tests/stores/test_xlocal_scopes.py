"""Blocks that are left late, elsewhere, in the wrong order or not at all; contexts that are copied and outlive them."""

import asyncio
import contextlib
import contextvars
import gc
import threading
import weakref

import pytest

import xctx
from xctx import keys
from xctx.debug import live_bindings


@pytest.fixture
def x(key):
    """An xlocal with each key."""
    return xctx.xlocal(key=key)


def enter(scope):
    scope.__enter__()
    return scope


def leave(scope):
    scope.__exit__(None, None, None)


def in_new_context(func, *args):
    return contextvars.Context().run(func, *args)


# --- no trace --------------------------------------------------------------------------------------------------------


def test_nothing_is_left_in_the_context(x):
    def use():
        with x(a=1), x(b=2), x(a=3):
            pass
        return len(contextvars.copy_context())

    assert in_new_context(use) == 0


def test_reading_what_is_not_bound_leaves_nothing(x):
    def use():
        assert not hasattr(x, "a")
        assert vars(x) == {}
        return len(contextvars.copy_context())

    assert in_new_context(use) == 0


# --- the wrong order --------------------------------------------------------------------------------------------------


def test_the_outer_block_is_left_first(x):
    def use():
        outer, inner = enter(x(a=1, b=1)), enter(x(a=2))
        leave(outer)
        assert vars(x) == {"a": 2}
        leave(inner)
        assert vars(x) == {}

    in_new_context(use)


def test_blocks_are_left_from_the_middle(x):
    def use():
        scopes = [enter(x(**{"all": i, f"n{i}": i})) for i in range(6)]
        for left, seen in [(2, 5), (4, 5), (5, 3), (0, 3), (3, 1)]:
            leave(scopes[left])
            assert x.all == seen
            assert not hasattr(x, f"n{left}")
        leave(scopes[1])
        assert vars(x) == {}

    in_new_context(use)


def test_what_is_bound_on_top_after_a_block_was_left_late(x):
    def use():
        outer, inner = enter(x(a=1)), enter(x(b=2))
        leave(outer)
        with x(c=3), x(b=4):
            assert vars(x) == {"b": 4, "c": 3}
            leave(inner)
            assert vars(x) == {"b": 4, "c": 3}
        assert vars(x) == {}

    in_new_context(use)


def test_an_abandoned_generator_never_restores(x):
    def generate():
        with x(a="generator"):
            yield

    def use():
        with x(a=1):
            generator = generate()
            next(generator)
            assert x.a == "generator"  # a generator shares its caller's context
            with x(a=2):
                del generator
                assert x.a == 2
            assert x.a == 1
        assert vars(x) == {}
        with x(a=3):
            generator = generate()
            next(generator)
        assert x.a == "generator"
        with x(a=4):
            pass
        generator.close()
        assert vars(x) == {}

    in_new_context(use)


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

    assert asyncio.run(main()) == (1 if key_name in ("process", "context") else None)


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


# --- contexts that outlive the block ----------------------------------------------------------------------------------


def test_a_copied_context_keeps_what_was_bound_when_it_was_copied(x, key_name):
    def use():
        with x(a=1):
            copied = contextvars.copy_context()
            with x(a=2):
                pass
        return copied.run(lambda: getattr(x, "a", None))

    assert in_new_context(use) == 1


def test_a_value_set_from_outside_is_noticed(x):
    """As asgiref does, which copies every variable of a context to another one."""

    def use():
        with x(a=[1], b=2):
            copied = contextvars.copy_context()

        def inside():
            assert x.a == [1]
            (variable,) = contextvars.copy_context()
            with x(a=[2]):
                other = variable.get()
            assert x.a == [1]
            variable.set(other)
            assert (x.a, x.b) == ([2], 2)
            variable.set(None)
            assert vars(x) == {}
            assert not hasattr(x, "a")

        return copied.run(inside)

    in_new_context(use)


@pytest.fixture
def grown(count_objects):
    """grown(): how many more bindings there are than at the beginning of the test."""
    before = count_objects("Binding")
    return lambda: count_objects("Binding") - before


def test_a_timer_that_arms_itself_again_inside_a_block(key_name, grown):
    value = threading.get_ident() if key_name == "callable" else None
    x = xctx.xlocal(key=(lambda: value) if key_name == "callable" else getattr(keys, key_name))

    def tick(n, done):
        with x(n=n, **{f"n{n % 3}": n}):
            if n == 0:
                done.set_result(grown())
            else:
                asyncio.get_running_loop().call_soon(tick, n - 1, done)

    async def main():
        done = asyncio.get_running_loop().create_future()
        with x(outer=1):
            tick(10_000, done)
            return await done

    assert asyncio.run(main()) < 100


def test_tasks_that_spawn_their_successors_inside_a_block(x, grown):
    async def work(n, done):
        with x(n=n):
            if n == 0:
                done.set_result(grown())
            else:
                asyncio.get_running_loop().call_soon(spawn, n - 1, done)
                await asyncio.sleep(0)

    tasks = set()

    def spawn(n, done):
        tasks.clear()
        tasks.add(asyncio.get_running_loop().create_task(work(n, done)))

    async def main():
        done = asyncio.get_running_loop().create_future()
        with x(outer=1):
            spawn(10_000, done)
            return await done

    assert asyncio.run(main()) < 100


def test_tasks_that_spawn_their_successors_while_the_block_is_open(x, grown):
    async def work(n):
        with x(n=n):
            if n:
                return asyncio.create_task(work(n - 1))
            return grown()

    async def main():
        result = asyncio.create_task(work(10_000))
        while isinstance(result, asyncio.Task):
            result = await result
        return result

    assert asyncio.run(main()) < 100


def test_threads_that_start_their_successors_with_their_context(x, grown, in_thread_with_context):
    contexts = [contextvars.copy_context()]

    def work():
        with x(a=1):
            contexts[0] = contextvars.copy_context()

    for _ in range(500):
        thread = threading.Thread(target=contexts[0].run, args=(work,))
        thread.start()
        thread.join()
    assert grown() < 100


def test_blocks_that_are_still_open_are_kept_when_the_chain_is_cleaned(x):
    def use():
        with contextlib.ExitStack() as stack:
            for i in range(200):
                stack.enter_context(x(**{f"open{i % 50}": i}))
                context = contextvars.copy_context()
                context.run(enter, x(left=i))
            assert vars(x) == {f"open{i % 50}": i for i in range(150, 200)}
        assert vars(x) == {}
        return len(contextvars.copy_context())

    assert in_new_context(use) == 0


def test_an_outer_block_is_left_after_the_chain_above_it_was_cleaned():
    x = xctx.xlocal(key=keys.context)

    def again(n):
        with x(n=n):
            return contextvars.copy_context()

    def use():
        outer = enter(x(outer=1))
        context = contextvars.copy_context()
        for n in range(100):
            context = context.run(again, n)
        assert context.run(lambda: dict(vars(x))) == {"outer": 1, "n": 99}
        context.run(leave, outer)
        assert context.run(lambda: dict(vars(x))) == {"n": 99}

    in_new_context(use)


def test_a_finaliser_that_reads_while_the_chain_is_cleaned():
    x = xctx.xlocal(key=keys.thread)
    seen = []

    class Value:
        def __init__(self, n):
            self.n = n

        def __del__(self):
            value = getattr(x, "a", None)
            seen.append(value and value.n)

    shared = x(b=2)

    def again(n):
        getattr(x, "a", None)
        with shared, x(a=Value(n)):
            return contextvars.copy_context()

    def use():
        with shared:
            context = contextvars.copy_context()
            for n in range(200):
                context = context.run(again, n)

    in_new_context(use)
    assert len(seen) == 200


@pytest.mark.parametrize("depth", [20_000])
def test_blocks_nested_very_deep(x, depth):
    def use():
        scopes = [enter(x(a=i)) for i in range(depth)]
        assert x.a == depth - 1
        while scopes:
            leave(scopes.pop())
        assert vars(x) == {}

    in_new_context(use)


# --- chains of any length ---------------------------------------------------------------------------------------------

DEEP = 100_000


@pytest.fixture
def in_small_thread():
    """in_small_thread(func): calls it in a thread that has as little stack as Alpine gives, and gives its result."""

    def run(func):
        outcome = []
        size = threading.stack_size(128 * 1024)
        try:
            thread = threading.Thread(target=lambda: outcome.append(func()))
            thread.start()
        finally:
            threading.stack_size(size)
        thread.join()
        return outcome.pop()

    return run


@pytest.fixture
def chain(key):
    """chain(values): a context in which for each value a block of one xlocal was entered, and none was left."""

    def make(values):
        x = xctx.xlocal(key=key)
        context = contextvars.Context()

        def use():
            for value in values:
                x(a=value).__enter__()

        context.run(use)
        return context

    return make


def test_many_blocks_that_were_never_left_die_together(chain, in_small_thread):
    contexts = [chain(range(DEEP))]
    in_small_thread(contexts.clear)
    assert not contexts


def test_many_blocks_die_in_the_small_thread_that_entered_them(chain, in_small_thread):
    before = live_bindings()
    in_small_thread(lambda: bool(chain(range(DEEP))))
    assert live_bindings() <= before


def test_many_blocks_in_a_cycle_are_collected(in_small_thread, eventually):
    x = xctx.xlocal()
    before = live_bindings()

    def use():
        context = contextvars.copy_context()
        x(a=context).__enter__()  # a context that holds itself, by the chain in it
        for i in range(DEEP):
            x(b=i).__enter__()
        context.run(x(a=contextvars.copy_context()).__enter__)

    in_small_thread(lambda: contextvars.Context().run(use))
    in_small_thread(gc.collect)
    eventually(lambda: live_bindings() <= before)


def test_many_xlocals_bound_by_one_snapshot(in_small_thread):
    xlocals = [xctx.xlocal() for _ in range(20_000)]

    def use():
        for each in xlocals:
            each(a=1).__enter__()
        return xctx.capture(*xlocals)

    snapshot = contextvars.Context().run(use)
    assert in_small_thread(lambda: snapshot.run(lambda: xlocals[0].a + xlocals[-1].a)) == 2


def test_each_value_of_a_long_chain_dies_once_the_innermost_first(chain, in_small_thread, no_collector):
    died = []

    class Value:
        def __init__(self, number):
            self.number = number

        def __del__(self):
            died.append(self.number)

    in_small_thread(lambda: bool(chain(map(Value, range(1000)))))
    assert died == [*reversed(range(1000))]


def test_a_chain_that_is_held_halfway_dies_as_far_as_there(key, in_small_thread, thing, no_collector):
    x = xctx.xlocal(key=key)
    contexts, refs = [], []

    def use():
        for _ in range(3):
            for i in range(1000):
                x(b=i).__enter__()
            value = thing()
            refs.append(weakref.ref(value))
            x(a=value).__enter__()
            contexts.append(contextvars.copy_context())

    def work():
        # All in one thread: without the GIL, what another one made is first given back to that one.
        contextvars.Context().run(use)
        seen = []
        while contexts:
            seen.append([ref() is not None for ref in refs])
            contexts.pop()
        return seen, [ref() is not None for ref in refs]

    assert in_small_thread(work) == ([[True, True, True], [True, True, False], [True, False, False]], [False] * 3)


def test_a_finaliser_in_a_long_chain_lets_go_of_another(chain, in_small_thread, no_collector):
    died = []

    class Value:
        def __init__(self, depth, other=None):
            self.depth, self.other = depth, other

        def __del__(self):
            self.other = None
            died.append(self.depth)

    def work():
        inner = None
        for depth in range(3):
            inner = chain([Value(depth, inner if i == 5 else None) for i in range(20)])

    in_small_thread(work)
    assert len(died) == 60
    assert {depth: died.count(depth) for depth in range(3)} == {0: 20, 1: 20, 2: 20}


def test_a_finaliser_in_a_long_chain_switches_and_another_chain_dies_meanwhile(chain, greenlet, no_collector):
    """A finaliser that switches stands still in the midst of one chain, and others die as ever."""
    died = []

    class Value:
        def __init__(self, name):
            self.name = name

        def __del__(self):
            died.append(self.name)
            if self.name == "first 5":
                greenlet.getcurrent().parent.switch()

    first = [chain([Value(f"first {i}") for i in range(10)])]
    second = [chain([Value(f"second {i}") for i in range(10)])]
    other = greenlet.greenlet(first.clear)
    other.switch()
    assert died == [f"first {i}" for i in (9, 8, 7, 6, 5)]
    second.clear()
    assert died[5:] == [f"second {i}" for i in reversed(range(10))]
    other.switch()
    assert died[15:] == [f"first {i}" for i in (4, 3, 2, 1, 0)]


@pytest.mark.stress
def test_chains_that_threads_share_and_let_go_of_at_once(in_small_thread, eventually):
    x = xctx.xlocal(key=xctx.keys.context)
    before = live_bindings()
    for _ in range(20):
        contexts = []

        def use(contexts=contexts):
            for i in range(3000):
                x(a=i).__enter__()
                if i % 500 == 0:
                    contexts.append(contextvars.copy_context())

        contextvars.Context().run(use)

        def drop(contexts=contexts):
            while True:
                try:
                    context = contexts.pop()
                except IndexError:
                    return
                context.run(lambda: [x(b=i).__enter__() for i in range(50)])

        threads = [threading.Thread(target=drop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    eventually(lambda: live_bindings() <= before)


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
    x = xctx.xlocal()

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
