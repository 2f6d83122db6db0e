"""What gevent's suite for its local shows, of xctx.local and all that it stands in for."""

import copy
import gc
import threading
import weakref

import pytest
from makers import MAKERS, Weak, run_threads

from xctx import keys

# --- what gevent's suite shows ----------------------------------------------------------------------------------------


def test_slots_and_class_with_properties(local, maker):
    class Slotted(local):
        __slots__ = ("number",)
        label = property(lambda self: self._label, lambda self, value: setattr(self, "_label", value * 2))

    made = Slotted()
    made.number = 42
    made.label = "ab"
    assert made.label == "abab"
    seen = []

    def work(i):
        seen.append((made.number, hasattr(made, "label")))

    run_threads(1, work)
    assert seen == [(42, False)]


def test_data_descriptors_win_and_others_lose(local, maker):
    if maker == "gevent":
        pytest.skip("looks in __dict__ first for what was put in there directly")

    class Data:
        def __get__(self, owner, cls):
            return "data"

        def __set__(self, owner, value):
            raise AttributeError("no")

    class NonData:
        def __get__(self, owner, cls):
            return "non-data"

    class Described(local):
        data = Data()
        non_data = NonData()

    made = Described()
    made.__dict__["data"] = made.__dict__["non_data"] = "own"
    assert (made.data, made.non_data) == ("data", "own")
    with pytest.raises(AttributeError, match="no"):
        made.data = 1


def test_attribute_hooks(local):
    class Hooked(local):
        def __getattr__(self, name):
            return [name]

        def __setattr__(self, name, value):
            super().__setattr__(name, (value,))

        def __delattr__(self, name):
            super().__delattr__(name[1:])

    made = Hooked()
    made.a = 1
    assert (made.a, made.b) == ((1,), ["b"])
    del made.xa
    assert made.a == ["a"]


def test_weak_references_to_stores(local):
    class Derived(local):  # for those that can only then be referred to weakly
        pass

    made = Derived()
    made.a = 1
    told = []
    reference = weakref.ref(made, told.append)
    assert reference() is made
    del made
    gc.collect()
    assert told == [reference]


def test_values_die_with_their_store(local):
    made = local()
    told = []
    ready, go = threading.Barrier(4), threading.Event()

    def work():
        made.value = Weak()
        told.append(weakref.ref(made.value))
        ready.wait()
        go.wait()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    assert all(each() is not None for each in told)
    del made
    del work
    go_on = weakref.WeakSet(threads)
    go.set()
    for thread in threads:
        thread.join()
    del thread, threads
    gc.collect()
    assert not list(go_on) and [each() for each in told] == [None] * 3


def test_dir_and_vars(local):
    made = local()
    made.seen = 1
    assert "seen" in dir(made)
    assert dict(vars(made)) == {"seen": 1}


def test_copies(local, maker):
    if maker in ("threading", "_threading_local"):
        pytest.skip("cannot be copied, or only to no use")

    class Filled(local):
        def __init__(self, word):
            self.word = word
            self.values = []

    made = Filled("first")
    made.word = "second"
    made.extra = Weak()
    other = copy.copy(made)
    assert type(other) is Filled
    assert (other.word, other.extra) == ("second", made.extra)
    assert other.values is made.values
    other.word = "third"
    assert made.word == "second"
    seen = []
    run_threads(1, lambda i: seen.append(other.word))
    assert seen == ["first"]


def test_multiple_inheritance(local):
    class Left(local):
        def __init__(self, *args):
            self.left = args
            super().__init__()

    class Right:
        def __init__(self):
            self.right = True

    class Both(Left, Right):
        pass

    made = Both(1)
    seen = []
    run_threads(2, lambda i: seen.append((made.left, getattr(made, "right", None))))
    assert seen == [((1,), made.__dict__.get("right"))] * 2


def test_names_made_up_at_run_time(local):
    made = local()
    for i in range(100):
        setattr(made, "".join(["n", str(i)]), i)
    assert [getattr(made, f"n{i}") for i in range(100)] == list(range(100))
    for i in range(100):
        delattr(made, "".join(["n", str(i)]))
    assert not made.__dict__


# --- greenlets --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["gevent", "xctx", "xctx task"])
def greenlet_local(request, gevent):
    """The classes that tell greenlets apart."""
    return MAKERS[request.param]()


def test_greenlets_have_their_own(greenlet_local, gevent):
    class Numbered(greenlet_local):
        def __init__(self, start):
            self.number = start

    made = Numbered(7)
    plain = greenlet_local()

    def work(i):
        assert made.number == 7 and not hasattr(plain, "a")
        made.number = plain.a = i
        gevent.sleep(0)
        assert made.number == plain.a == i
        del plain.a
        gevent.sleep(0)
        return made.number, hasattr(plain, "a")

    jobs = [gevent.spawn(work, i) for i in range(20)]
    gevent.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == [(i, False) for i in range(20)]
    assert made.number == 7


def test_a_finished_greenlet_that_is_still_referred_to(greenlet_local, gevent):
    made = greenlet_local()
    told = []

    def work():
        made.value = Weak()
        told.append(weakref.ref(made.value))

    jobs = [gevent.spawn(work) for _ in range(5)]
    gevent.joinall(jobs, raise_error=True)
    gevent.sleep(0)  # the hub tells of the end
    gc.collect()
    assert [each() for each in told] == [None] * 5
    assert len(jobs) == 5


def test_what_a_greenlet_has(gevent):
    """Of gevent's all_local_dicts_for_greenlet, and of stores_of."""
    from gevent.local import all_local_dicts_for_greenlet, local

    import xctx.debug

    theirs, ours = local(), xctx.local()

    def work():
        theirs.a = ours.a = 1
        gevent.sleep(0)
        gevent.sleep(0)

    job = gevent.spawn(work)
    gevent.sleep(0)
    assert [names for _, names in all_local_dicts_for_greenlet(job)] == [{"a": 1}]
    assert xctx.debug.stores_of(keys.greenlet.of(job)) == [(ours, {"a": 1})]
    job.join()
    gevent.sleep(0)
    assert keys.greenlet.of(job) is None
