"""Chains of any length, on small stacks."""

import contextvars
import gc
import threading
import weakref

import pytest

import xctx
from xctx.debug import live_bindings

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
