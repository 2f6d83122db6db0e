"""local under the `context` key: copied on write, inherited by child contexts, never written back."""

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

import xctx
from xctx import keys


@pytest.fixture(params=[0, 1, 20], ids=["empty", "one more", "many more"])
def store(request):
    """A store that holds that many names besides."""
    made = xctx.local(key=keys.context)
    for i in range(request.param):
        setattr(made, f"more{i}", i)
    return made


def test_children_inherit_and_never_write_back(store):
    store.a = 1
    before = dict(store.__dict__)
    child = contextvars.copy_context()

    def in_child():
        assert store.__dict__ == before
        store.a = 2
        store.b = 3
        grandchild = contextvars.copy_context()
        del store.b
        return grandchild

    grandchild = child.run(in_child)
    assert store.__dict__ == before
    store.a = 4
    assert child.run(lambda: (store.a, hasattr(store, "b"))) == (2, False)
    assert grandchild.run(lambda: (store.a, store.b)) == (2, 3)
    child.run(store.__release_local__)
    assert child.run(lambda: dict(vars(store))) == {}
    assert store.a == 4
    assert grandchild.run(lambda: store.b) == 3


def test_a_new_context_is_empty(store):
    store.a = 1
    assert contextvars.Context().run(lambda: dict(vars(store))) == {}


def test_tasks_inherit(store):
    store.a = "before"

    async def child(value):
        seen = store.a
        store.a = value
        await asyncio.sleep(0)
        return seen, store.a

    async def main():
        store.a = "main"
        results = await asyncio.gather(child(1), child(2))
        return results, store.a

    assert asyncio.run(main()) == ([("main", 1), ("main", 2)], "main")
    assert store.a == "before"


def test_values_within_are_shared(store):
    store.a = []
    contextvars.copy_context().run(lambda: store.a.append(1))
    assert store.a == [1]


def test_init_is_called_where_nothing_was_inherited():
    calls = []

    class Counted(xctx.local, key=keys.context):
        def __init__(self, word):
            calls.append(word)
            self.word = word

    made = Counted("word")
    assert contextvars.copy_context().run(lambda: made.word) == "word"
    assert len(calls) == 1
    assert contextvars.Context().run(lambda: made.word) == "word"
    assert len(calls) == 2
    made.__release_local__()  # a store that was released stays empty, as in werkzeug
    assert not hasattr(made, "word")


def test_init_in_a_thread_that_has_no_context_yet():
    class Ready(xctx.local, key=keys.context):
        def __init__(self):
            self.ready = True

    made = Ready()
    results = []
    for touch in (lambda: made.ready, lambda: dict(made.__dict__), lambda: hasattr(made, "other")):
        thread = threading.Thread(target=lambda touch=touch: results.append(touch()))
        thread.start()
        thread.join()
    assert results == [True, {"ready": True}, False]


def test_the_view_follows_the_context(store):
    names = store.__dict__
    names["a"] = 1
    assert store.a == 1
    child = contextvars.copy_context()
    child.run(lambda: names.update(a=2))
    assert names["a"] == store.a == 1
    assert child.run(lambda: names["a"]) == 2
    with pytest.raises(KeyError):
        names["missing"]
    with pytest.raises(TypeError, match="string"):
        names[1] = 1
    store.a = 3
    assert names["a"] == 3
    assert set(names) == set(dict(names)) == set(names.keys())


def test_changing_while_iterating(store):
    store.a = store.b = store.c = 1
    for name in store.__dict__:
        delattr(store, name)
    assert store.__dict__ == {}


def test_a_value_dies_with_the_last_context_that_has_it(store, thing, no_collector):
    value = thing()
    told = weakref.ref(value)
    store.a = value
    del value
    child = contextvars.copy_context()
    grandchild = child.run(contextvars.copy_context)
    del store.a
    assert told() is not None
    child.run(delattr, store, "a")
    assert told() is not None
    del grandchild
    assert told() is None


def test_values_die_with_their_store_in_every_context(thing, no_collector):
    store = xctx.local(key=keys.context)
    contexts, told = [], []
    for _ in range(20):
        contexts.append(contextvars.copy_context())
        value = thing()
        told.append(weakref.ref(value))
        contexts[-1].run(setattr, store, "a", value)
    del value
    assert all(each() is not None for each in told)
    del store
    assert [each() for each in told] == [None] * 20


def test_a_store_that_refers_to_itself(thing):
    store = xctx.local(key=keys.context)
    told = weakref.ref(store)
    store.me = store
    contextvars.copy_context().run(setattr, store, "other", [store])
    del store
    gc.collect()
    assert told() is None


def test_a_finaliser_that_switches_while_a_store_dies(greenlet, no_collector):
    """What is left to release is released from elsewhere meanwhile, and by others that need the room."""
    main = greenlet.getcurrent()
    released = []

    class Value:
        def __init__(self, name, hook=None):
            self.name, self.hook = name, hook

        def __del__(self):
            released.append(self.name)
            if self.hook:
                self.hook()

    for _ in range(20):
        del released[:]
        holder = [xctx.local(key=keys.context)]
        other = xctx.local(key=keys.context)
        contexts = []
        for name in range(10):
            contexts.append(contextvars.copy_context())
            contexts[-1].run(setattr, holder[0], "value", Value(name, main.switch if name == 9 else None))
        kill = greenlet.greenlet(holder.clear)
        kill.switch()  # comes back in the middle of the store's death
        assert released == [9]
        # These die here, the next in the list first; another store uses the memory of their records again.
        del contexts[4:]
        assert sorted(released) == [4, 5, 6, 7, 8, 9]
        others = []
        for name in range(20):
            others.append(contextvars.copy_context())
            others[-1].run(setattr, other, "value", name)
        kill.switch()
        assert sorted(released) == list(range(10))
        assert [each.run(getattr, other, "value") for each in others] == list(range(20))


def test_finalisers_that_write_the_store_they_come_from():
    """With the collector at work within each allocation, where it does work there."""
    store = xctx.local(key=keys.context)

    class Writing:
        def __init__(self):
            self.me = self

        def __del__(self):
            store.written = [0] * 50
            del store.written

    before = gc.get_threshold()
    gc.set_threshold(3)
    try:
        for more in range(0, 20, 5):
            setattr(store, f"more{more}", more)
            for i in range(500):
                Writing()
                store.kept = [i]
                assert store.kept == [i]
                assert dict(store.__dict__)["kept"] == [i]
                store.__dict__["kept"] = i
    finally:
        gc.set_threshold(*before)


def test_as_in_werkzeug():
    local = pytest.importorskip("werkzeug.local")
    for make in local.Local, lambda: xctx.local(key=keys.context):
        made = make()
        made.a = 1
        child = contextvars.copy_context()
        child.run(setattr, made, "a", 2)
        assert made.a == 1
        assert child.run(lambda made=made: made.a) == 2
        local.release_local(made)
        assert not hasattr(made, "a")
        assert child.run(lambda made=made: made.a) == 2
        with pytest.raises(AttributeError):
            del made.a


def test_a_manager_of_werkzeug_releases_it_or_refuses_it():
    local = pytest.importorskip("werkzeug.local")
    store = xctx.local(key=keys.context)
    with pytest.raises(TypeError):
        local.LocalManager(store)  # it would take the names in it for stores
    manager = local.LocalManager([store])
    store.user = "of the first request"
    manager.cleanup()
    assert not hasattr(store, "user")


def test_a_context_variable_is_taken_as_werkzeug_takes_it():
    class Local(xctx.local, key=keys.context):
        pass

    variable = contextvars.ContextVar("app")
    store = Local(variable)
    store.user = 1
    assert contextvars.copy_context().run(lambda: store.user) == 1
    assert not hasattr(Local(variable), "user")
    assert variable.get(None) is None
    for wrong in (lambda: Local(1), lambda: Local(variable, variable), lambda: xctx.local(variable)):
        with pytest.raises(TypeError, match=r"^Initialization arguments are not supported: .* takes none but `key`"):
            wrong()


@pytest.mark.parametrize("key", [keys.flow, keys.context], ids=str)
@pytest.mark.parametrize("class_", [xctx.local, type("Derived", (xctx.local,), {"__init__": lambda self: None})])
def test_a_context_that_lives_on_does_not_fill_with_what_is_left_of_dead_stores(key, class_, in_thread):
    def in_context():
        living = [type("Living", (class_,), {}, key=key)() for _ in range(3)]
        for i, each in enumerate(living):
            each.a = i
        sizes = []
        for _ in range(500):
            dying = type("Dying", (class_,), {}, key=key)()
            dying.a = dying.b = 1
            before = contextvars.copy_context()
            del dying
            gc.collect() if not sizes else None
            sizes.append(len(contextvars.copy_context()))
        assert [each.a for each in living] == before.run(lambda: [each.a for each in living]) == [0, 1, 2]
        again = [class_.__new__(type("Again", (class_,), {}, key=key)) for _ in range(3)]
        assert [getattr(each, "a", None) for each in again] == [None] * 3
        return max(sizes)

    already = len(contextvars.copy_context())
    assert in_thread(lambda: contextvars.Context().run(in_context)) < 150
    assert contextvars.copy_context().run(in_context) < already + 150
