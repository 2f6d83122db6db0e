"""One set of tests for xctx.local and for what it stands in for: what they all do, in real threads.

CPython's own suite for threading.local and gevent's for its local are where the scenarios come from.
"""

import _thread
import _threading_local
import copy
import gc
import threading
import weakref

import pytest
from helpers.packages import installed

import xctx
from xctx import keys


def threading_local():
    return threading.local


def python_local():
    return _threading_local.local


def gevent_local():
    if not installed("gevent"):
        pytest.skip("gevent is not installed")
    from gevent.local import local

    return local


def of_key(name):
    def make():
        return type("local", (xctx.local,), {"__slots__": ()}, key=getattr(keys, name))

    return make


MAKERS = {
    "threading": threading_local,
    "_threading_local": python_local,
    "gevent": gevent_local,
    "xctx": lambda: xctx.local,
    "xctx thread": of_key("thread"),
    "xctx task": of_key("task"),
    "xctx context": of_key("context"),
}


@pytest.fixture(params=MAKERS)
def maker(request):
    return request.param


@pytest.fixture
def local(maker):
    """The class under test."""
    return MAKERS[maker]()


class Weak:
    """A value that can be referred to weakly."""


def run_threads(count, func):
    """Runs func(i) in so many threads at once; raises what they raised."""
    errors = []
    start = threading.Barrier(count)

    def run(i):
        try:
            start.wait()
            func(i)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# --- what CPython's suite shows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 10, 50])
def test_values_die_with_their_threads(local, count, maker):
    store = local()
    told = []

    def fill(i):
        value = Weak()
        value.store = store  # a way back, as values have one
        store.value = value
        told.append(weakref.ref(value))

    for i in range(count):
        thread = threading.Thread(target=fill, args=(i,))
        thread.start()
        thread.join()
    gc.collect()
    alive = sum(each() is not None for each in told)
    # threading's Python version may still have the last one.
    assert len(told) == count
    assert alive <= (0 if maker.startswith("xctx") else 1)


def test_each_thread_has_its_own(local):
    class Numbered(local):
        """A subclass behaves alike."""

    for store in local(), Numbered():
        met = threading.Barrier(10)

        def work(i, store=store, met=met):
            store.x = i
            met.wait()
            assert store.x == i
            for j in range(20):
                setattr(store, f"y{j}", i + j)
            met.wait()
            assert [getattr(store, f"y{j}") for j in range(20)] == [i + j for j in range(20)]

        run_threads(10, work)
        assert not hasattr(store, "x")


def test_a_derived_class_is_initialised_in_each_thread(local):
    class Counting(local):
        x = 0

        def __init__(self, start):
            self.x = start

        def step(self):
            self.x += 1
            return self.x

    made = Counting(5)
    assert made.step() == 6
    seen = []

    def work(i):
        seen.append([made.step() for _ in range(i)])

    run_threads(5, work)
    assert sorted(seen) == [[6, 7, 8, 9][:n] for n in range(5)]
    assert made.step() == 7


def test_a_cycle_through_a_derived_class_is_collected(local):
    class Cycle(local):
        pass

    made = Cycle()
    made.x = [made]
    told = weakref.ref(made)
    del made
    gc.collect()
    assert told() is None


def test_a_cycle_through_a_thread_that_is_gone(local):
    class Cycle(local):
        pass

    made = Cycle()
    told = weakref.ref(made)

    def work(i):
        made.x = [made]

    run_threads(3, work)
    del made, work
    gc.collect()
    assert told() is None


def test_the_values_of_a_cycle_die_once(local):
    """Deallocation from a cycle in a thread that lives on, the value being the last that knows the store."""
    finalised = []

    class Value:
        def __del__(self):
            finalised.append(threading.get_ident())

    class Cycle(local):
        pass

    made = Cycle()
    made.me = made
    made.value = Value()
    del made
    for _ in range(3):
        gc.collect()
    assert len(finalised) == 1


def test_arguments(local, maker):
    class WithInit(local):
        def __init__(self, *args, **kwargs):
            self.got = args, kwargs

    assert WithInit(1, 2, three=3).got == ((1, 2), {"three": 3})
    with pytest.raises(TypeError):
        local(1)
    with pytest.raises(TypeError):
        local(a=1)
    if maker != "gevent":  # where a subclass has no __init__, takes any

        class Without(local):
            pass

        with pytest.raises(TypeError):
            Without(1)

    class Plain:
        pass

    class Other(local, Plain):
        pass

    Other()


def test_methods_belong_to_one_class(local):
    """Methods are the class's: found once, whatever the unit."""

    class Derived(local):
        def method(self):
            return self

    made = Derived()
    seen = []

    def work(i):
        seen.append((type(made), made.method(), type(made).method))

    run_threads(4, work)
    assert set(seen) == {(Derived, made, Derived.method)}


def test_init_that_raises_in_a_thread(local, maker):
    armed = []

    class Refusing(local):
        def __init__(self):
            self.half = "half"
            if armed:
                raise LookupError("not now")

    made = Refusing()
    armed.append(True)

    def work(i):
        for _ in range(2):
            with pytest.raises(LookupError):
                made.half
        # Nothing was kept that would hide the failure.
        with pytest.raises(LookupError):
            made.__dict__["half"]

    if maker in ("gevent", "_threading_local"):
        pytest.skip("keeps what was half made")
    run_threads(2, work)
    armed.clear()
    run_threads(2, lambda i: made.half)


def test_clearing_in_one_thread_while_others_use(local):
    """The collector clears stores at the same time as threads end that filled them."""

    class Holder(local):
        pass

    def work(i):
        for _ in range(10):
            made = Holder()
            made.me = made
            made.value = [made, Weak()]
            del made
            if i == 0:
                gc.collect()

    run_threads(3, work)
    gc.collect()


def test_the_dict_cannot_be_deleted_or_replaced(local):
    made = local()
    made.a = 1
    with pytest.raises(AttributeError):
        made.__dict__ = {"b": 2}
    with pytest.raises(AttributeError):
        del made.__dict__
    assert made.a == 1
    assert dict(made.__dict__) == {"a": 1}


def test_the_dict_is_the_threads(local):
    made = local()
    made.a = "main"
    seen = {}

    def work(i):
        before = dict(made.__dict__)
        made.__dict__["a"] = i
        seen[i] = before, made.a, dict(made.__dict__)

    run_threads(4, work)
    assert seen == {i: ({}, i, {"a": i}) for i in range(4)}
    assert made.__dict__ == {"a": "main"}


def test_a_value_that_uses_its_store_while_it_dies(local, maker):
    if maker == "_threading_local":
        pytest.skip("finds itself: the dict is still there")
    if maker == "gevent":
        pytest.skip("lets go of a thread's values in its own time")
    seen = []

    class Value:
        def __init__(self, store):
            self.store = store

        def __del__(self):
            seen.append(getattr(self.store, "x", "gone"))
            self.store.again = "written"

    made = local()

    def work(i):
        made.x = Value(made)

    run_threads(1, work)
    gc.collect()
    assert len(seen) == 1 and not isinstance(seen[0], Value)


def test_threads_that_threading_does_not_know(local):
    made = local()
    done = threading.Event()
    seen = []

    def work():
        made.a = 1
        seen.append((made.a, dict(made.__dict__)))
        done.set()

    _thread.start_new_thread(work, ())
    done.wait()
    assert seen == [(1, {"a": 1})]
    assert not hasattr(made, "a")


def test_an_attribute_that_is_replaced_while_it_dies(local):
    """The old value's finaliser meets the new one."""
    made = local()
    seen = []

    class Value:
        def __del__(self):
            seen.append(getattr(made, "a", "gone"))
            made.b = seen

    made.a = Value()
    made.a = "new"
    assert seen == ["new"]
    assert made.b is seen
    made.a = Value()
    del made.a
    assert not hasattr(made, "a")
    assert seen == ["new", "gone"]


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
