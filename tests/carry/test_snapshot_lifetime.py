"""What snapshots keep alive, and what they leave in contexts."""

import contextvars
import gc
import weakref

import pytest

import xctx
from xctx._carry.snapshot import copy_context


def test_a_snapshot_keeps_what_was_visible_and_nothing_else(x, thing, no_collector):
    hidden, seen, elsewhere = thing(), thing(), thing()
    refs = [weakref.ref(each) for each in (hidden, seen, elsewhere)]
    other = xctx.xlocal()
    with x(a=hidden), other(b=elsewhere), x(a=seen):
        snapshot = xctx.capture(x)
        other_context = contextvars.copy_context()
    del hidden, seen, elsewhere, other_context
    assert [ref() is None for ref in refs] == [True, False, True]
    del snapshot
    assert refs[1]() is None


def test_values_die_with_the_block_where_the_snapshot_is_gone(x, thing, no_collector, in_thread, eventually):
    value = thing()
    ref = weakref.ref(value)
    with x(a=value):
        snapshots = [xctx.capture()]
    del value

    def work():
        with snapshots.pop():
            return x.a is ref()

    assert in_thread(work)
    # Without the GIL the thread that made a value frees it, some time later.
    eventually(lambda: ref() is None)


def test_running_leaves_nothing_in_the_context(x, thing, no_collector):
    value = thing()
    ref = weakref.ref(value)

    def work():
        snapshot = xctx.capture()
        snapshot.run(lambda: None)
        with snapshot:
            pass
        xctx.carry(lambda: None)()

    with x(a=value):
        work()
    del value
    assert ref() is None


def test_an_xlocal_dies_though_a_snapshot_of_it_was_taken(no_collector):
    x = xctx.xlocal()
    with x(a=1):
        snapshot = xctx.capture()
    snapshot.run(vars, x)
    ref = weakref.ref(x)
    del x, snapshot
    assert ref() is None


@pytest.mark.parametrize("key_name", ["context", "greenlet"], indirect=True)
def test_contexts_copied_inside_for_ever_do_not_grow(x, thing, no_collector):
    """A timer that arms itself again inside a block, each time in a copy of the context of the last time."""
    refs = []

    def work(number):
        value = thing()
        refs.append(weakref.ref(value))
        with x(a=value):
            snapshot = xctx.capture(x)
        with x(b=number), snapshot:
            with x(c=number):
                copied = contextvars.copy_context()
        return copied, vars(x)

    context, expected = contextvars.Context(), {}
    for number in range(300):
        copied, seen = context.run(work, number)
        assert seen == expected
        context, expected = copied, {"a": refs[-1](), "c": number}
    del copied, seen, expected
    assert sum(ref() is not None for ref in refs) < 50
    assert context.run(lambda: vars(x)) == {"a": refs[-1](), "c": 299}


def test_a_chain_of_blocks_of_any_length_is_taken_down(x):
    with x(a=1):
        snapshot = xctx.capture(x)

    def deep(context):
        for _ in range(3000):
            context.run(snapshot.__enter__)
            context = context.copy()
        return context

    context = deep(contextvars.Context())
    assert context.run(vars, x) == {"a": 1}
    for _ in range(3000):
        snapshot.__exit__(None, None, None)
    del context


def test_a_snapshot_in_a_cycle_is_collected(x):
    holder = []
    with x(a=holder):
        holder.append(xctx.capture())
    ref = weakref.ref(holder[0])
    del holder
    gc.collect()
    assert ref() is None


@pytest.mark.parametrize("take", [xctx.capture, lambda: xctx.isolated(lambda: None)(), copy_context])
def test_a_finaliser_binds_while_the_context_is_looked_through_or_copied(take):
    """3.11 collects garbage in the middle of it, and the finaliser replaces the mapping in the context."""
    several = [xctx.xlocal() for _ in range(9)]  # more than those that are asked one by one
    store = xctx.local(key=xctx.keys.context)

    class Resource:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            store.closed = object()

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(2000):
            Resource()
            take()
    finally:
        gc.set_threshold(*before)
    assert len(several) == 9
