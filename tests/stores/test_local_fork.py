"""local across os.fork: the child starts empty under every key, and finalises nothing of the parent's."""

import os
import sys
import threading
import time

import pytest
from helpers.effort import sized

import xctx
from xctx import debug, keys

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here"),
    # 3.12 and later warn if other threads run, as they do here on purpose.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

# But for `context`, which a fork carries along as it does any other context variable.
rungs = pytest.mark.parametrize("key_name", ["process", "thread", "greenlet", "task", "work", "callable"])


class Value:
    """Writes a letter into a pipe each time it is finalised, in whatever process."""

    def __init__(self, pipe, letter=b"v"):
        self.pipe, self.letter = pipe, letter

    def __del__(self):
        os.write(self.pipe, self.letter)


@pytest.fixture
def pipe():
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    yield Pipe(read_end, write_end)
    os.close(read_end)
    os.close(write_end)


class Pipe:
    def __init__(self, read_end, write_end):
        self.read_end, self.write_end = read_end, write_end

    def value(self, letter=b"v"):
        return Value(self.write_end, letter)

    def read(self):
        try:
            return os.read(self.read_end, 10_000)
        except BlockingIOError:
            return b""


@rungs
def test_the_child_starts_empty(key, in_fork):
    store = xctx.local(key=key)
    store.a = "parent's"

    def child():
        seen = hasattr(store, "a"), dict(store.__dict__), len(debug.units_of(store))
        store.a = "child's"
        store.b = 1
        return seen, store.a, dict(store.__dict__), len(debug.units_of(store))

    # Asking for __dict__ makes one, so the child has one unit by then.
    assert in_fork(child) == ((False, {}, 1), "child's", {"a": "child's", "b": 1}, 1)
    assert store.__dict__ == {"a": "parent's"}


def test_a_context_goes_along(in_fork):
    store = xctx.local(key=keys.context)
    store.a = "parent's"

    def child():
        seen = store.a
        store.a = "child's"
        return seen, store.a

    assert in_fork(child) == ("parent's", "child's")
    assert store.a == "parent's"


@rungs
def test_init_is_called_again_in_the_child(key, in_fork):
    class Counted(xctx.local, key=key):
        count = 0

        def __init__(self, word):
            Counted.count += 1
            self.word = word

    made = Counted("word")
    made.word = "changed"
    assert in_fork(lambda: (made.word, Counted.count)) == ("word", 2)
    assert (made.word, Counted.count) == ("changed", 1)


@rungs
@pytest.mark.parametrize("many", [0, 20])
def test_the_parents_values_are_not_finalised_in_the_child(key, in_fork, pipe, many):
    holder = [xctx.local(key=key), xctx.local(key=key)]
    for store in holder:
        for i in range(many):
            setattr(store, f"more{i}", i)
        store.value = pipe.value()
    del store

    def child():
        import gc

        holder[1].value = pipe.value(b"c")  # the child's own: replaced nothing, and goes with its store
        for store in holder:
            assert not store.__dict__ or store is holder[1]
        del store
        gc.collect()
        holder.clear()
        gc.collect()

    in_fork(child)
    assert pipe.read() == b"c"
    assert all(hasattr(store, "value") for store in holder)
    holder.clear()
    assert pipe.read() == b"vv"


@rungs
def test_a_child_that_exits_in_the_usual_way(key, key_name, python):
    """With all that interpreters do when they end; the parent's values are finalised once, in the parent."""
    done = python(
        f"""
import os, signal, sys, threading, xctx
parent = os.getpid()
key = xctx.keys.Key(threading.get_ident) if {key_name!r} == "callable" else getattr(xctx.keys, {key_name!r})
class Value:
    def __del__(self):
        os.write(1, b"parent " if os.getpid() == parent else b"child ")
store = xctx.local(key=key)
store.value = Value()
store.__dict__["other"] = 1
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    del store
else:
    signal.alarm(60)
    assert not hasattr(store, "value")
    store.own = Value()
    # By hand: the parent's values are never released here, nor is what they lead to, such as this module's names.
    del store
"""
    )
    assert done.split() == ["child", "parent"]


@rungs
def test_a_fork_from_a_thread(key, in_fork, in_thread, pipe):
    store = xctx.local(key=key)
    store.value = pipe.value(b"m")

    def work():
        mine = pipe.value(b"t")
        store.value = mine

        def child():
            seen = hasattr(store, "value")
            store.value = 1
            return seen, store.value

        return in_fork(child)

    assert in_thread(work) == (False, 1)
    assert b"c" not in pipe.read()


@pytest.mark.parametrize("key_name", ["process", "thread", "greenlet", "task", "work", "callable"])
def test_a_fork_from_a_greenlet(key, key_name, in_fork, greenlet, pipe):
    store = xctx.local(key=key)
    main = greenlet.getcurrent()
    store.a = "main's"

    def work():
        store.b = pipe.value()
        main.switch()
        store.c = "after"
        return hasattr(store, "a"), hasattr(store, "b"), store.c

    made = greenlet.greenlet(work)
    made.switch()

    def from_within():
        # In the child this very greenlet, and the suspended one, are other units than they were.
        store.mine = 1

        def child():
            made.parent = greenlet.getcurrent()  # where it comes back to
            return hasattr(store, "mine"), made.switch(), hasattr(store, "b")

        return in_fork(child)

    shared = key_name not in ("greenlet", "task", "work")
    seen = greenlet.greenlet(from_within).switch()
    assert seen == (False, (False, False, "after"), False)
    assert pipe.read() == b""
    assert made.switch() == (shared, True, "after")


def test_a_fork_in_a_gevent_program(gevent, in_fork):
    store = xctx.local()

    def work(i):
        store.a = i
        gevent.sleep(0)
        return in_fork(lambda: hasattr(store, "a")), store.a

    jobs = [gevent.spawn(work, i) for i in range(3)]
    gevent.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == [(False, i) for i in range(3)]


@rungs
def test_a_fork_in_the_midst_of_a_first_touch(key, key_name, in_fork):
    entered, go = threading.Event(), threading.Event()
    main = threading.get_ident()

    class Slow(xctx.local, key=key):
        def __init__(self):
            self.begun = True
            if threading.get_ident() != main:
                entered.set()
                go.wait()
            self.ended = True

    made = Slow()
    plain = xctx.local(key=key)
    thread = threading.Thread(target=lambda: made.ended)
    thread.start()
    if key_name != "process":  # else the one unit has been initialised
        entered.wait()

    def child():
        plain.a = 1
        return made.ended, made.begun, plain.a, len(debug.units_of(made))

    try:
        assert in_fork(child) == (True, True, 1, 1)
    finally:
        go.set()
        thread.join()


@rungs
def test_a_fork_in_the_midst_of_the_forking_units_own_first_touch(key, in_fork):
    seen = []

    class Forking(xctx.local, key=key):
        def __init__(self):
            self.begun = True
            if not seen:
                seen.append(1)
                seen.append(in_fork(lambda: (self.begun, dict(self.__dict__))))
            self.ended = True

    made = Forking()
    # In the child it is another unit's first touch, which calls __init__ anew.
    assert seen[1] == (True, {"begun": True, "ended": True})
    assert made.__dict__ == {"begun": True, "ended": True}


@pytest.mark.sampled
@rungs
@pytest.mark.parametrize("what", ["set", "new", "dict"])
def test_forks_while_other_threads_are_at_it(key, in_fork, what):
    store = xctx.local(key=key)
    stop = threading.Event()
    names = [sys.intern(f"n{i}") for i in range(50)]

    # CPython without the GIL leaves in a child the locks that a thread was handed just then: that of a cell which
    # closures share, or that of the table of interned names. So the threads are given all they use.
    def hammer(store, key, stop, what, names):
        i = 0
        while not stop.is_set():
            i += 1
            if i % 100 == 0:
                time.sleep(0.0001)  # the child wants a core, too
            if what == "set":
                store.a = i
                store.__dict__["b"] = i
            elif what == "new":
                new = xctx.local(key=key)
                new.a = new
                new.__dict__.clear()
            else:
                setattr(store, names[i % 40], i)
                store.__dict__.clear()

    def child():
        seen = hasattr(store, "a")
        for i, name in enumerate(names):
            setattr(store, name, i)
            xctx.local(key=key).a = i
        return seen, len(store.__dict__), len(debug.units_of(store))

    threads = [threading.Thread(target=hammer, args=(store, key, stop, what, names)) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(sized(5, 15)):
            assert in_fork(child) == (False, 50, 1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_forks_of_forks(key, key_name, in_fork):
    store = xctx.local(key=key)
    store.depth = 0

    def child(depth):
        seen = getattr(store, "depth", None)
        store.depth = depth
        return [seen, *(in_fork(lambda: child(depth + 1)) if depth < 3 else ())]

    expected = [0, 1, 2] if key_name == "context" else [None] * 3
    assert in_fork(lambda: child(1)) == expected
    assert store.depth == 0


@rungs
def test_units_of_the_parent_are_dead_in_the_child(key, in_fork):
    unit = key.current()

    def child():
        now = key.current()
        return unit.alive, now is unit, now.alive, debug.stores_of(unit)

    assert in_fork(child) == (False, False, True, [])
    assert unit.alive and key.current() is unit


def test_a_thread_of_the_child(in_fork, in_thread, pipe):
    store = xctx.local()
    store.value = pipe.value(b"p")

    def child():
        in_thread(lambda: setattr(store, "value", pipe.value(b"c")))
        return hasattr(store, "value")

    assert in_fork(child) is False
    assert pipe.read() == b"c"


def test_greenlets_of_the_parent_that_die_in_the_child(in_fork, greenlet, pipe):
    store = xctx.local()
    main = greenlet.getcurrent()

    def work():
        store.value = pipe.value(b"p")
        try:
            main.switch()
        finally:
            store.value = pipe.value(b"l")

    holder = [greenlet.greenlet(work) for _ in range(5)]
    for each in holder:
        each.switch()
    del each
    in_fork(holder.clear)
    # Each was killed in the child, where its `finally` made a value of the child's own.
    assert pipe.read() == b"l" * 5
    holder.clear()
    assert sorted(pipe.read()) == sorted(b"lp" * 5)
