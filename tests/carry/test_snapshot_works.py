"""Snapshots that take locals along: units of work as such, other locals by the values that they had."""

import asyncio
import pickle
import threading
import weakref
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import work_module
from work_module import also, kept, of_flow

import xctx
from xctx import keys

pytestmark = pytest.mark.usefixtures("nothing_stays_bound")


@pytest.fixture(params=["flow", "context"])
def store(request):
    return xctx.local(key=getattr(keys, request.param))


def test_a_named_local_shows_what_it_had(store, in_fresh_thread):
    store.a = 1
    snapshot = xctx.capture(store)
    store.a = 2
    assert in_fresh_thread(lambda: hasattr(store, "a") or snapshot.run(lambda: dict(store.__dict__))) == {"a": 1}
    assert snapshot.run(lambda: store.a) == 1
    assert store.a == 2


def test_what_is_set_meanwhile_ends_with_the_block(store):
    store.a = 1
    snapshot = xctx.capture(store)
    with snapshot:
        store.a = store.b = 3
        with snapshot:
            assert dict(store.__dict__) == {"a": 1}
        assert dict(store.__dict__) == {"a": 3, "b": 3}
    assert dict(store.__dict__) == {"a": 1}


def test_one_that_had_nothing_shows_nothing(store):
    snapshot = xctx.capture(store)
    store.a = 1
    with snapshot:
        assert not dict(store.__dict__)
        store.a = 2
    assert store.a == 1


def test_it_holds_the_values_as_long_as_it_lives(store, thing, no_collector):
    store.a = value = thing()
    ref = weakref.ref(value)
    snapshot = xctx.capture(store)
    del store.a, value
    assert ref() is not None
    del snapshot
    assert ref() is None


def test_a_named_local_of_the_unit_of_work_brings_that_along(in_thread):
    x = xctx.xlocal()
    with x(a=1), xctx.work() as unit:
        kept.a = 1
        snapshot = xctx.capture(kept)

        def there():
            kept.b = "set there"
            return kept.a, xctx.work.current() is unit, hasattr(x, "a")

        assert in_thread(lambda: snapshot.run(there)) == (1, True, False)
        assert kept.b == "set there"
    assert snapshot.run(xctx.work.current) is None


def test_what_a_function_in_a_pool_sets_its_caller_sees():
    async def endpoint():
        with xctx.work():
            await asyncio.to_thread(setattr, kept, "user", "ada")
            return kept.user

    assert asyncio.run(endpoint()) == "ada"


def test_locals_with_other_keys_cannot_go():
    with pytest.raises(TypeError, match="capture takes locals with the keys flow, work and context, it was given"):
        xctx.capture(xctx.local())


def test_bindings_of_the_unit_of_work_come_along_with_it(in_thread):
    for _ in range(12):  # more xlocals than are listed
        stores = [xctx.xlocal(key=keys.work) for _ in range(12)]
    with xctx.work():
        with stores[0](a=1), stores[-1](a=2):
            snapshot = xctx.capture()
    assert in_thread(lambda: snapshot.run(lambda: (stores[0].a, stores[-1].a))) == (1, 2)


# --- to other processes ----------------------------------------------------------------------------------------------


def test_unpickled_it_is_a_unit_of_work_of_its_own(thing, no_collector):
    with xctx.work() as unit:
        kept.a, kept.lock, also.b, of_flow.a = [1], threading.Lock(), 2, 3
        sent = pickle.dumps(xctx.capture(kept, of_flow))
        whole = pickle.dumps(xctx.capture())
        of_flow.a = 4
        for each in (sent, whole):
            snapshot = pickle.loads(each)
            with snapshot:
                there = xctx.work.current()
                assert there is not unit and there.alive
                assert vars(kept) == {"a": [1]}
                assert vars(also) == {"b": 2}
                assert of_flow.a == (3 if each is sent else 4)
                kept.value = value = thing()
                ref = weakref.ref(value)
                del value
            assert kept.a is not None and xctx.work.current() is unit
            assert ref() is not None  # as long as the snapshot lives, it may be applied again
            del snapshot
            assert ref() is None and not there.alive
        del of_flow.a


def test_pickled_twice():
    with xctx.work():
        kept.a = 1
        again = pickle.dumps(pickle.loads(pickle.dumps(xctx.capture())))
    assert pickle.loads(again).run(lambda: dict(vars(kept))) == {"a": 1}
    assert not vars(kept)


def test_one_that_has_ended_goes_as_none():
    with xctx.work():
        snapshot = xctx.capture()
    assert pickle.loads(pickle.dumps(snapshot)).run(xctx.work.current) is None


def test_in_a_forked_child_likewise(in_fork):
    unnamed = xctx.local(key=keys.work)
    x = xctx.xlocal()
    with xctx.work() as unit, x(a=1):
        kept.a, kept.lock, unnamed.b = [1], threading.Lock(), 2
        snapshot = xctx.capture()

        def child():
            unnamed.c = "outside of any"
            with snapshot:
                first, seen = xctx.work.current(), (repr(vars(kept)), dict(vars(unnamed)), x.a)
                kept.a.append(2)
            return seen, snapshot.run(lambda: (xctx.work.current() is first is not unit, kept.a)), xctx.work.current()

        assert in_fork(child) == (("{'a': [1]}", {"b": 2}, 1), (True, [1, 2]), None)
        assert sorted(vars(kept)) == ["a", "lock"] and kept.a == [1]
    assert in_fork(lambda: snapshot.run(xctx.work.current)) is None


def test_a_local_that_died_in_the_forked_child(in_fork):
    dies = xctx.local(key=keys.work)
    with xctx.work():
        dies.a = kept.a = 1
        snapshot = xctx.capture()

        def child():
            nonlocal dies
            del dies
            return snapshot.run(lambda: dict(vars(kept)))

        assert in_fork(child) == {"a": 1}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_a_process_of_its_own(method):
    context = get_context(method)
    with xctx.work():
        kept.a = 1
        ours, theirs = context.Pipe()
        process = context.Process(target=xctx.carry(work_module.tell), args=(theirs,))
        process.start()
        assert ours.poll(60)
        assert ours.recv() == ({"a": 1, "there": True}, None, True)
        process.join()
        assert vars(kept) == {"a": 1}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_a_pool_of_processes(method):
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        with xctx.work():
            kept.a = 1
            of_flow.a = 2
            carried = xctx.capture(kept, of_flow)(work_module.look)
            assert pool.submit(carried).result() == ({"a": 1, "there": True}, 2, True)
            assert vars(kept) == {"a": 1}
            del of_flow.a
        assert pool.submit(work_module.outside).result()
