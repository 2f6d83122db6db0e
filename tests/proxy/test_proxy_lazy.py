"""LocalWrapper.lazy: the factory runs once, whichever thread asks, and what it makes is used as by any wrapper."""

import asyncio
import gc
import os
import pickle
import threading
import weakref

import pytest
from helpers.units import in_fork, in_thread
from helpers.waiting import eventually
from proxy_leaves import Point

import xctx
from xctx import LocalProxy, LocalWrapper, is_proxy, unwrap


@pytest.fixture
def calls():
    return []


@pytest.fixture
def lazy(calls):
    """A lazy wrapper of a Point that notes its calls."""

    def make():
        calls.append(threading.get_ident())
        return Point(1, 2)

    return LocalWrapper.lazy(make)


def test_nothing_is_made_before_an_operation_needs_it(lazy, calls):
    assert is_proxy(lazy) and issubclass(type(lazy), LocalWrapper) and callable(lazy)
    assert (calls, type(lazy).__name__) == ([], "LocalWrapper[lazy]")
    assert lazy.x == 1
    assert isinstance(lazy, Point)
    assert lazy.wrapped is unwrap(lazy)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda p: p.x,
        lambda p: p.wrapped,
        lambda p: p == 1,
        str,
        bool,
        dir,
        vars,
        unwrap,
        lambda p: isinstance(p, int),
        lambda p: setattr(p, "x", 4),
        lambda p: LocalWrapper(p).x,
        lambda p: LocalProxy(p).x,
        lambda p: pickle.dumps(p),
    ],
)
def test_any_operation_calls_the_factory_once(lazy, calls, use):
    for _ in range(2):
        try:
            use(lazy)
        except AttributeError:  # Point compares with points only
            pass
    assert len(calls) == 1


def test_its_repr_does_not_call_the_factory(calls):
    def make():
        calls.append(1)
        return [1]

    lazy = LocalWrapper.lazy(make)
    for shown in repr(lazy), f"{lazy!r}":
        assert shown == f"<xctx.LocalWrapper of what {make} makes>"
    assert calls == []
    assert (str(lazy), repr(lazy), calls) == ("[1]", "[1]", [1])


def test_what_it_makes_is_let_go_with_the_wrapper_and_the_factory_at_once(no_collector):
    class Factory:
        def __call__(self):
            return Point(1)

    factory = Factory()
    lazy = LocalWrapper.lazy(factory)
    gone = weakref.ref(factory)
    del factory
    assert gone() is not None
    made = weakref.ref(lazy.wrapped)
    assert gone() is None
    assert made() is not None
    del lazy
    assert made() is None


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, KeyboardInterrupt, SystemExit, RecursionError])
def test_a_factory_that_raises_is_called_again(calls, error):
    def make():
        calls.append(1)
        if len(calls) < 4:
            raise error("not yet")
        return 5

    lazy = LocalWrapper.lazy(make)
    for use in (bool, str, dir):  # an unbound LocalProxy would answer
        with pytest.raises(error, match="not yet"):
            use(lazy)
    assert lazy + 1 == 6
    assert len(calls) == 4


@pytest.mark.parametrize("around", [LocalWrapper, LocalProxy, lambda p: LocalProxy(p, unbound_message="nothing")])
def test_its_errors_pass_through_a_proxy_of_it(around):
    def make():
        raise RuntimeError("of the factory")

    with pytest.raises(RuntimeError, match="of the factory"):
        bool(around(LocalWrapper.lazy(make)))


def test_a_factory_that_uses_its_own_wrapper(calls):
    def make():
        calls.append(1)
        return lazy + 1

    lazy = LocalWrapper.lazy(make)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="uses the wrapper itself"):
            bool(lazy)
    assert len(calls) == 2


def test_a_lazy_wrapper_of_itself_and_of_others():
    lazy = LocalWrapper.lazy(lambda: lazy)
    with pytest.raises(RecursionError):
        bool(lazy)
    inner = LocalWrapper.lazy(lambda: [1])
    outer = LocalWrapper.lazy(lambda: inner)
    assert (outer, outer.wrapped is inner, unwrap(outer) is unwrap(inner)) == ([1], True, True)
    variable = xctx.xlocal()
    proxy = LocalWrapper.lazy(lambda: LocalProxy(variable, "a"))
    for value in 1, 2:
        with variable(a=value):
            assert proxy == value


def test_bad_arguments():
    with pytest.raises(TypeError, match="3 is not callable: wanted a factory"):
        LocalWrapper.lazy(3)

    class Mine(LocalWrapper):
        pass

    with pytest.raises(TypeError, match="Mine is a class derived from it"):
        Mine.lazy(list)
    with pytest.raises(AttributeError):
        LocalWrapper.lazy(list).wrapped = 1


def test_operators_in_place_and_other_wrappers_of_its_class():
    a = b = LocalWrapper.lazy(lambda: 1)
    a += 1
    assert (a, b, type(a).__name__) == (2, 1, "LocalWrapper[int]")
    c = d = LocalWrapper.lazy(lambda: [1])
    c += [2]
    assert c is d
    assert c == [1, 2]
    assert type(b)("text").upper() == "TEXT"
    assert LocalWrapper(c).append is not None
    assert type(LocalWrapper(c)).__name__ == "LocalWrapper[list]"


# --- one factory, many units ------------------------------------------------------------------------------------------


def test_threads_that_ask_at_once_wait_for_the_first(calls):
    begun, go = threading.Event(), threading.Event()

    def make():
        calls.append(1)
        begun.set()
        assert go.wait(60)
        return [len(calls)]

    lazy = LocalWrapper.lazy(make)
    seen = []

    def ask(i):
        if i:
            assert begun.wait(60)
        if i == 4:
            go.set()
        seen.append(list(lazy))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (calls, seen) == ([1], [[1]] * 5)


def test_a_thread_takes_over_from_one_whose_factory_raised():
    begun, go = threading.Event(), threading.Event()
    turns = []

    def make():
        turns.append(threading.get_ident())
        if len(turns) == 1:
            begun.set()
            assert go.wait(60)
            raise ZeroDivisionError
        return 7

    lazy = LocalWrapper.lazy(make)
    failed = []

    def first():
        with pytest.raises(ZeroDivisionError):
            bool(lazy)
        failed.append(1)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(60)
    other = []
    waiting = threading.Thread(target=lambda: other.append(lazy + 1))
    waiting.start()
    go.set()
    thread.join()
    waiting.join()
    assert (failed, other) == ([1], [8])


def test_greenlets_that_ask_while_the_factory_waits(gevent, calls):
    def make():
        calls.append(1)
        gevent.sleep(0)
        gevent.sleep(0)
        return [1]

    lazy = LocalWrapper.lazy(make)
    ticks = []

    def tick():
        while not ticks or len(ticks) < 3:
            ticks.append(1)
            gevent.sleep(0)

    greenlets = [gevent.spawn(lambda: list(lazy)) for _ in range(10)]
    gevent.joinall([gevent.spawn(tick), *greenlets], raise_error=True)
    assert [each.value for each in greenlets] == [[1]] * 10
    assert (len(calls), len(ticks)) == (1, 3)


def test_a_greenlet_takes_over_from_one_that_was_killed(gevent, calls):
    from gevent.event import Event

    begun, never = Event(), Event()

    def make():
        calls.append(1)
        if len(calls) == 1:
            begun.set()
            never.wait()
        return 5

    lazy = LocalWrapper.lazy(make)
    first = gevent.spawn(lambda: lazy + 1)
    begun.wait()
    others = [gevent.spawn(lambda: lazy + 1) for _ in range(3)]
    gevent.sleep(0)
    others[0].kill()  # while it waits
    first.kill()
    gevent.joinall(others[1:], raise_error=True)
    assert [each.value for each in others[1:]] == [6, 6]
    assert len(calls) == 2


PLAIN = """
import greenlet, xctx
def ask():
    try:
        bool(lazy)
    except RuntimeError as error:
        print(error)
    return 5
lazy = xctx.LocalWrapper.lazy(greenlet.greenlet(ask).switch)
print(lazy)
"""


def test_a_plain_greenlet_that_the_factory_switches_to(greenlet, python):
    """With no hub to switch to it would wait for ever."""
    assert python(PLAIN) == "the factory of a lazy LocalWrapper uses the wrapper itself\n5\n"


def test_tasks_of_a_loop_share_it(calls, lazy):
    async def ask():
        await asyncio.sleep(0)
        return lazy.x

    async def main():
        return await asyncio.gather(*[ask() for _ in range(5)])

    assert asyncio.run(main()) == [1] * 5
    assert len(calls) == 1


# --- forks ------------------------------------------------------------------------------------------------------------

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


@forks
def test_a_child_forked_while_another_thread_runs_the_factory(calls):
    begun, go = threading.Event(), threading.Event()

    def make():
        calls.append(os.getpid())
        if len(calls) == 1:
            begun.set()
            assert go.wait(60)
        return os.getpid()

    lazy = LocalWrapper.lazy(make)
    thread = threading.Thread(target=lambda: bool(lazy))
    thread.start()
    assert begun.wait(60)
    assert in_fork(lambda: lazy == os.getpid()) is True
    go.set()
    thread.join()
    assert lazy == os.getpid()


@forks
def test_a_child_forked_by_the_factory():
    lazy = LocalWrapper.lazy(lambda: in_fork(lambda: in_thread(lambda: 5)))
    assert lazy == 5


# --- death ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True])
def test_a_circle_through_what_it_makes_is_collected(asked):
    """Through a tuple, which has no way to let go of what is in it."""
    value = Point(1)
    lazy = LocalWrapper.lazy(lambda: (lazy, value))
    gone = weakref.ref(value)
    if asked:
        assert lazy[1].x == 1
        assert callable(lazy.count)  # and the wrapper remembers its method
    del lazy, value
    gc.collect()
    assert gone() is None


def test_one_that_was_cleared_can_still_be_used():
    """The finaliser of what dies with it asks for it when the collector has cleared it."""
    log = []

    class Late:
        def __init__(self, *used):
            self.used = used

        def __del__(self):
            for each in self.used:
                try:
                    log.append(repr(each))
                except Exception as error:
                    log.append(type(error))

    def tie():
        lazy = LocalWrapper.lazy(lambda: (lazy,))
        assert len(lazy) == 1
        late = Late(lazy, lazy.count, iter(lazy), LocalWrapper(lazy))
        return weakref.ref(lazy, lambda dead: log.append("dead")), late

    kept = tie()
    del kept
    gc.collect()
    assert log


def test_many_that_die_in_a_chain():
    lazy = None
    for _ in range(50_000):
        lazy = LocalWrapper.lazy(lambda inner=lazy: inner)
    del lazy
    eventually(lambda: gc.collect() >= 0)
