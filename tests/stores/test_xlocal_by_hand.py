"""Blocks of shared scopes: with statements, ExitStacks and hooks, and which entry each exit undoes."""

import contextlib
import contextvars
import threading
import time

import pytest

import xctx


def run_in_a_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


@pytest.fixture
def x(key):
    return xctx.xlocal(key=key)


@pytest.fixture(params=["scope", "snapshot"])
def shared(request, x):
    """Something that binds a="shared" for a block, whatever opened it."""
    if request.param == "scope":
        return x(a="shared")
    with x(a="shared"):
        return xctx.capture(x)


@xctx.transparent
def steps(shared):
    with shared:
        yield


def test_a_with_statement_leaves_its_own_entry(x, shared):
    others = [(contextvars.copy_context(), steps(shared)) for _ in range(3)]
    for context, generator in others:
        context.run(next, generator)
    with shared:
        for context, generator in others[:2]:
            context.run(generator.close)
            assert x.a == "shared"
        run_in_a_thread(others[2][1].close)
        assert x.a == "shared"
    assert vars(x) == {}


def test_a_stack_leaves_the_innermost_entry_made_by_hand(x, shared):
    with contextlib.ExitStack() as stack:
        stack.enter_context(shared)
        with x(a="between"):
            inner = contextlib.ExitStack()
            inner.enter_context(shared)
            with x(b=1), shared:
                inner.close()
                assert x.a == "shared"
            assert x.a == "between"
        assert x.a == "shared"
    assert vars(x) == {}


def test_a_hook_leaves_the_last_entry_of_its_own_unit(x, shared, key_name):
    """Left where none of the entries is seen."""
    mine = contextvars.Context()
    mine.run(shared.__enter__)
    there = contextvars.Context()
    run_in_a_thread(there.run, shared.__enter__)
    contextvars.Context().run(shared.__exit__, None, None, None)
    left = mine if key_name not in ("process", "flow", "context") else there  # with those all are of one unit
    assert left.run(lambda: dict(vars(x))) == {}
    contextvars.Context().run(shared.__exit__, None, None, None)
    assert mine.run(lambda: dict(vars(x))) == {}
    with pytest.raises(RuntimeError, match="not entered"):
        shared.__exit__(None, None, None)


def test_methods_that_are_bound_by_hand_are_called_by_hand(x, shared):
    """From 3.15 on an ExitStack binds both like this."""
    cls = type(shared)
    enter, leave = cls.__enter__.__get__(shared, cls), cls.__exit__.__get__(shared, cls)
    with shared:
        assert x.a == "shared"
    assert vars(x) == {}
    for _ in range(2):
        enter()
        enter()
        assert x.a == "shared"
        leave(None, None, None)
        leave(None, None, None)
        assert vars(x) == {}
    with pytest.raises(RuntimeError, match="not entered"):
        leave(None, None, None)
    assert cls.__enter__.__get__(None, cls) is cls.__enter__
    with pytest.raises(TypeError):
        cls.__enter__.__get__(1, int)


def test_a_stack_is_given_what_was_entered_already(x, shared):
    with contextlib.ExitStack() as stack:
        shared.__enter__()
        stack.push(shared)
        stack.enter_context(shared)
        assert x.a == "shared"
    assert vars(x) == {}


def test_stacks_are_given_the_same_one_at_the_same_place(x, shared):
    """An exit that was bound there is not taken for that of the next entry."""
    opened = []
    for _ in range(3):
        opened.append(contextlib.ExitStack())
        opened[-1].enter_context(shared)
    while opened:
        assert x.a == "shared"
        opened.pop().close()
    assert vars(x) == {}


def test_methods_of_another_type_are_refused(x):
    scope, snapshot = x(a=1), xctx.capture(x)
    with pytest.raises(TypeError):
        type(scope).__enter__(snapshot)
    with pytest.raises(TypeError):
        type(snapshot).__exit__(scope, None, None, None)


@pytest.mark.sampled
@pytest.mark.parametrize("order", ["first in first out", "last in first out"])
@pytest.mark.parametrize("how", ["statement", "hand", "hand elsewhere"])
def test_leaving_many_entries_costs_the_same_for_each(shared, how, order):
    def open_one():
        context = contextvars.Context()
        if how == "statement":
            generator = steps(shared)
            context.run(next, generator)
            return lambda: context.run(next, generator, None)
        context.run(shared.__enter__)
        return lambda: (contextvars.Context() if how == "hand elsewhere" else context).run(
            shared.__exit__, None, None, None
        )

    def cost(count):
        opened = [open_one() for _ in range(count)]
        if order == "last in first out":
            opened.reverse()
        before = time.process_time()
        for leave in opened:
            leave()
        return time.process_time() - before

    few, many = (min(cost(count) for _ in range(3)) for count in (1000, 4000))
    assert many < 9 * few + 0.01


def test_a_scope_that_was_not_entered_leaves_no_block_of_another():
    """Also where neither has any names, and where the blocks have those of fields."""

    class Tagged(xctx.xlocal):
        user: str = "nobody"
        tags: list = xctx.field(default_factory=list)

    for x in (xctx.xlocal(), Tagged()):
        for scope in (x(), x(user="ada")):
            with scope:
                with pytest.raises(RuntimeError, match="not entered"):
                    x().__exit__(None, None, None)
            scope.__enter__()
            with pytest.raises(RuntimeError, match="not entered"):
                x().__exit__(None, None, None)
            scope.__exit__(None, None, None)
            assert vars(x) == {}
