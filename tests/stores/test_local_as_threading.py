"""What CPython's suite for threading.local shows, of xctx.local and all that it stands in for, in real threads."""

import _thread
import gc
import threading
import weakref

import pytest
from helpers.effort import sized
from helpers.waiting import eventually
from makers import Weak, run_threads

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
    del thread  # from 3.14 on it has the context that it ran in
    gc.collect()

    def alive():
        return sum(each() is not None for each in told)

    assert len(told) == count
    if maker.startswith("xctx"):
        assert alive() == 0
    else:
        # threading's Python version may still have the last one; greenlet ends what a thread had by a pending call.
        eventually(lambda: alive() <= 1)


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
        for _ in range(sized(2, 10)):
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
