"""Blocks that are left in the wrong order, late or not at all; contexts that are copied and outlive them."""

import asyncio
import contextlib
import contextvars
import threading

import pytest
from by_hand import enter, in_new_context, leave

import xctx
from xctx import keys

# --- no trace ---------------------------------------------------------------------------------------------------------


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
            assert x.a == 1
            with x(a=2):
                del generator
                assert x.a == 2
            assert x.a == 1
        assert vars(x) == {}
        with x(a=3):
            generator = generate()
            next(generator)
        assert vars(x) == {}
        with x(a=4):
            pass
        generator.close()
        assert vars(x) == {}

    in_new_context(use)


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


@pytest.mark.parametrize("outside", [False, True])
def test_left_in_a_copied_context_that_is_written_back(x, key_name, outside):
    """As asgiref's `sync_to_async` does: each call runs in a copy, and what is set there is written back."""
    scope = x(a="inner")

    def in_a_copy(func):
        copied = contextvars.copy_context()
        copied.run(func)
        for variable in copied:
            if variable.get(None) is not copied[variable]:
                variable.set(copied[variable])

    def seen():
        return getattr(x, "a", None)

    def use():
        with x(a="outer") if outside else contextlib.nullcontext():
            before = seen()
            in_a_copy(scope.__enter__)
            assert seen() == "inner"
            in_a_copy(lambda: scope.__exit__(None, None, None))
            assert seen() == before
        assert seen() is None

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
