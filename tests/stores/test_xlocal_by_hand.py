"""Blocks of shared scopes: with statements, ExitStacks and hooks, and which entry each exit is about."""

import contextlib
import contextvars
import sys
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


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="there the order of the two does not tell who looked them up")
def test_a_method_taken_alone_has_no_counterpart(x, shared):
    cls = type(shared)
    enter = cls.__enter__.__get__(shared, cls)
    with shared:
        assert x.a == "shared"
    assert vars(x) == {}
    del enter


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
