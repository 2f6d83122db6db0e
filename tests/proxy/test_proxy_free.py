"""Threads: reference counts that do not change, and eight threads that do everything at once without a crash."""

import gc
import os
import random
import sys
import sysconfig
import threading
import weakref
from contextvars import ContextVar

import pytest
from helpers.effort import STRESS_SECONDS

from xctx import LocalProxy, LocalWrapper, unwrap

FREE = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


class Plain:
    kind = 1

    def __init__(self, x=1):
        self.x = x

    def method(self, *args):
        return args


class Counted(list):
    """A list that can be referred to weakly."""


@pytest.mark.skipif(not FREE, reason="with a GIL a count costs nothing, and bound methods hold their object")
def test_count_stands_still():
    """Seen from inside the operation, where CPython would hold one more reference to the target."""
    target = [1, 2, 3]
    w = LocalWrapper(target)
    still = sys.getrefcount(target)

    class Looks(int):
        def __index__(self):
            seen.append(sys.getrefcount(target))
            return 1

        def __radd__(self, other):
            seen.append(sys.getrefcount(target) - 1)  # other is the target itself, an argument of Python code
            return 0

        def __eq__(self, other):
            seen.append(sys.getrefcount(target))
            return False

        __hash__ = int.__hash__

    seen = []
    bound, iterator = w.append, iter(w)
    assert sys.getrefcount(target) == still
    assert bound.__self__ is target and next(iterator) == 1
    assert sys.getrefcount(target) == still
    look = Looks()
    w[look], w.count(look), look in w, w.insert(look, 0), w * look
    assert seen and set(seen) == {still}
    for _ in w:
        assert sys.getrefcount(target) == still
    plain = Plain()
    p = LocalWrapper(plain)
    still = sys.getrefcount(plain)
    method = p.method
    assert sys.getrefcount(plain) == still
    assert method(1) == (1,) and p.x == 1 and p.kind == 1
    assert sys.getrefcount(plain) == still


@pytest.mark.skipif(not FREE, reason="an iterator of its own only without a GIL")
@pytest.mark.parametrize("target", [[1, 2, 3], (1, 2, 3), "abc", b"abc", [], ()], ids=repr)
def test_iterator(target):
    import copy
    import operator
    import pickle

    ours, theirs = iter(LocalWrapper(target)), iter(target)
    assert isinstance(ours, type(theirs)) and iter(ours) is ours
    for _ in range(len(target) + 2):
        assert operator.length_hint(ours) == operator.length_hint(theirs)
        assert list(copy.copy(ours)) == list(copy.copy(theirs))
        assert list(pickle.loads(pickle.dumps(ours))) == list(copy.copy(theirs))
        assert next(ours, None) == next(theirs, None)
    if isinstance(target, list):
        target.append(5)
        assert next(ours, None) is next(theirs, None) is None, "the end is the end"
        grows = [1]
        it = iter(LocalWrapper(grows))
        assert next(it) == 1
        grows.append(2)
        assert next(it) == 2 and it.__next__ and next(it, None) is None
    kept = iter(LocalWrapper(Counted([1])))
    assert next(kept) == 1


def run(workers, seconds):
    """Does what the workers do again and again, each in a thread of its own, for that long."""
    stop = threading.Event()
    errors = []

    def loop(work):
        rng = random.Random(threading.get_ident())
        try:
            while not stop.is_set():
                work(rng)
        except BaseException as error:
            errors.append(error)
            stop.set()
            raise

    threads = [threading.Thread(target=loop, args=(work,)) for work in workers]
    for thread in threads:
        thread.start()
    stop.wait(seconds)  # until a worker fails, or the time is up
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors


@pytest.mark.stress
def test_eight_threads():
    """Read, write, rebind and destroy proxies and targets that all threads share."""
    shared = {"w": LocalWrapper(Plain()), "l": LocalWrapper(Counted([1, 2, 3]))}
    variable = ContextVar("variable")
    cell = [Plain()]
    proxies = [LocalProxy(lambda: cell[0]), LocalProxy(lambda: shared["w"]), LocalProxy(lambda: shared["l"])]

    def read(rng):
        w = shared["w"]
        for _ in range(50):
            w.x, w.kind, w.method(1, 2), w == w, repr(w), hash(w)
        m = w.method
        del w
        assert m(1) == (1,) and m.__self__ is not None

    def items(rng):
        lst = shared["l"]
        for _ in range(20):
            len(lst), lst + [1], [1] + lst, 1 in lst, lst[:1]
            for item in lst:
                pass
            it = iter(lst)
            next(it, None), list(it)

    def write(rng):
        w, lst = shared["w"], shared["l"]
        w.x = object()
        lst.append(1)
        if len(lst) > 50:
            lst.clear()
        lst += [2]
        try:
            lst[0] = w
            lst[0] = 1
            del lst[0]
        except IndexError:
            pass

    def rebind(rng):
        shared["w"] = LocalWrapper(Plain(rng.random()))
        shared["l"] = LocalWrapper(Counted([1, 2, 3]))
        cell[0] = Plain()

    def proxy(rng):
        p, q, r = proxies
        p.x, p.method(), q.x, q.method(1), len(r), r + [1], unwrap(q), bool(p), repr(p)
        variable.set(shared["w"])
        v = LocalProxy(variable)
        v.x, v.method(3)

    def types(rng):
        kind = type("T", (Plain,), {"__len__": lambda self: 3} if rng.random() < 0.5 else {})
        objs = [LocalWrapper(kind()) for _ in range(3)]
        assert hasattr(objs[0], "__len__") == hasattr(kind, "__len__") == hasattr(type(objs[1]), "__len__")
        kind.__call__ = lambda self: 5
        assert LocalWrapper(kind())() == 5
        if rng.random() < 0.02:
            gc.collect()

    def methods(rng):
        m = shared["w"].method
        shared["m"] = m
        shared.get("m")(1), repr(m)
        weakref.ref(m)
        it = shared["it"] = iter(shared["l"])
        next(shared["it"], None), next(it, None)

    def references(rng):
        w = LocalWrapper(Plain())
        r = weakref.ref(w)
        w.own = w
        w.method()
        del w
        r()

    run([read, items, write, rebind, proxy, types, methods, references], STRESS_SECONDS)


@pytest.mark.stress
def test_threads_may_share_a_wrapper():
    """A wrapper is meant for one thread, but sharing one is safe: nothing in it changes."""
    n = LocalWrapper(1000)
    plain = LocalWrapper(Plain())

    def add(rng):
        mine = n
        for _ in range(100):
            mine += 1
        assert mine == 1100 and n == 1000

    def call(rng):
        for _ in range(100):
            assert plain.method(1) == (1,)
            plain.x = 1

    run([add, call] * 4, STRESS_SECONDS / 2)


def test_threads_get_the_same_class():
    """Threads that need the class of a new type at the same time get the same one."""
    for _ in range(30):
        kind = type("T", (), {})
        barrier = threading.Barrier(4)
        got = []

        def make():
            barrier.wait()
            got.append(type(LocalWrapper(kind())))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(got)) == 1


def test_needs_no_gil():
    if FREE and not os.environ.get("PYTHON_GIL"):
        import subprocess

        code = "import sys, xctx._proxy.proxy; print(sys._is_gil_enabled())"
        done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
        assert done.stdout == "False\n", done
