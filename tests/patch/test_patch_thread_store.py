"""The store by which asgiref finds the thread that waits for a task: read in C, it is the store that asgiref has."""

import contextvars
import gc
import threading
import types
import weakref

import pytest
from helpers.interpreters import run_script
from helpers.packages import installed
from hypothesis import given
from hypothesis import strategies as st

from xctx._patch.stores import for_executors
from xctx._patch.thread_store import ThreadStore

# What asgiref 3.12 and 3.13 have, less their locks.
ASGIREF = """
import contextvars
import threading

class _Storage:
    __slots__ = ("thread_id", "data")
    def __init__(self, thread_id, data):
        self.thread_id, self.data = thread_id, data

class _CVar:
    def __init__(self):
        object.__setattr__(self, "_data", contextvars.ContextVar("asgiref.local"))
    def _storage(self):
        storage = self._data.get(None)
        if storage is None or storage.thread_id != threading.get_ident():
            return _Storage(threading.get_ident(), {})
        return storage
    def __getattr__(self, key):
        try:
            return self._storage().data[key]
        except KeyError:
            raise AttributeError(f"{self!r} object has no attribute {key!r}")
    def __setattr__(self, key, value):
        data = self._storage().data.copy()
        data[key] = value
        self._data.set(_Storage(threading.get_ident(), data))
    def __delattr__(self, key):
        data = self._storage().data.copy()
        if key in data:
            del data[key]
            self._data.set(_Storage(threading.get_ident(), data))
        else:
            raise AttributeError(f"{self!r} object has no attribute {key!r}")

class Local:
    def __init__(self):
        object.__setattr__(self, "_storage", _CVar())
    def __getattr__(self, key):
        return getattr(self._storage, key)
    def __setattr__(self, key, value):
        setattr(self._storage, key, value)
    def __delattr__(self, key):
        delattr(self._storage, key)
"""
names = {}
exec(ASGIREF, names)


@pytest.fixture
def theirs():
    return names["Local"]()


@pytest.fixture
def ours(theirs):
    made = for_executors(theirs, names)
    assert type(made) is ThreadStore
    return made


def in_thread(function):
    """What a function gives in another thread."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def copied(function):
    """A function that runs another in a copy of the context that is current now."""
    context = contextvars.copy_context()
    return lambda: context.run(function)


@pytest.mark.parametrize("value", [1, None])
def test_both_read_and_set_the_same(theirs, ours, value):
    ours.current = value
    assert theirs.current is value
    theirs.other = 2
    assert ours.other == 2 and ours.current is value
    del ours.current
    with pytest.raises(AttributeError, match="current"):
        theirs.current
    del theirs.other
    with pytest.raises(AttributeError, match="other"):
        ours.other
    assert getattr(ours, "current", "nothing") == "nothing"


KINDS = st.sampled_from(["get", "set", "delete"])
PLACES = st.sampled_from(["here", "thread", "copy", "both"])
STEPS = st.lists(st.tuples(KINDS, st.sampled_from("ab"), PLACES), max_size=12)


def outcomes(store, steps):
    found = []
    for number, (what, name, where) in enumerate(steps):

        def step(what=what, name=name, number=number):
            try:
                if what == "get":
                    return getattr(store, name)
                return setattr(store, name, number) if what == "set" else delattr(store, name)
            except AttributeError:
                return "AttributeError"

        if where in ("copy", "both"):
            step = copied(step)
        found.append(in_thread(step) if where in ("thread", "both") else step())
    return found


@given(STEPS)
def test_whatever_is_done_where_has_the_same_outcome(steps):
    theirs, other = names["Local"](), names["Local"]()
    ours = for_executors(other, names)
    assert contextvars.Context().run(outcomes, ours, steps) == contextvars.Context().run(outcomes, theirs, steps)


def test_the_thread_is_the_one_that_threading_tells(monkeypatch, ours):
    ours.current = 1
    monkeypatch.setattr(threading, "get_ident", lambda: "a greenlet")  # as gevent does
    assert not hasattr(ours, "current")
    ours.current = 2
    assert ours.current == 2
    monkeypatch.undo()
    assert not hasattr(ours, "current")


def test_what_was_set_before_does_not_change(ours):
    ours.current = 1
    context = contextvars.copy_context()
    ours.current = 2
    del ours.current
    assert context.run(getattr, ours, "current") == 1


def test_what_every_object_has_is_there(ours):
    assert ours.__class__ is ThreadStore and "ThreadStore" in repr(ours)
    with pytest.raises(AttributeError, match="'nothing'"):
        del ours.nothing


def test_nothing_is_kept_of_a_value(ours):
    class Value:
        pass

    value = Value()
    gone = weakref.ref(value)
    context = contextvars.Context()
    context.run(setattr, ours, "current", value)
    assert context.run(getattr, ours, "current") is value
    context.run(setattr, ours, "current", None)
    del value
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("way", ["()", "(1)", "(variable=1)"])
def test_it_is_not_made_of_nothing(way):
    with pytest.raises(TypeError):
        eval(f"ThreadStore{way}")


@pytest.mark.parametrize(
    "other",
    [
        None,
        1,
        types.SimpleNamespace(),
        types.SimpleNamespace(_storage=1),
        types.SimpleNamespace(_storage=types.SimpleNamespace(_data=1)),
    ],
)
def test_a_store_that_looks_otherwise_stays(other):
    assert for_executors(other, names) is other


@pytest.mark.parametrize("storage", [None, int, types.SimpleNamespace(__slots__=("thread_id",))])
def test_a_storage_that_looks_otherwise(theirs, storage):
    assert for_executors(theirs, {"_Storage": storage}) is theirs


# --- under the patch -------------------------------------------------------------------------------------------------

SCRIPT = """
import asyncio
from asgiref.sync import AsyncToSync, async_to_sync, sync_to_async
import threading
from xctx import patch

def told():
    return [each.why for each in patch.report() if each.name == "asgiref.sync.AsyncToSync.executors"]

def kind():
    return type(AsyncToSync.executors).__name__

async def where():
    return await sync_to_async(threading.current_thread)() is threading.main_thread()
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_it_is_put_in_place_told_and_taken_back(order):
    if not installed("asgiref"):
        pytest.skip("asgiref is not installed here")
    run_script(
        ("import asgiref.sync\n" if order == "after" else "")
        + "from xctx import patch\nhandle = patch.locals()\n"
        + SCRIPT
        + "assert kind() == 'ThreadStore' and told() == ['the same store, read in C'], told()\n"
        "assert async_to_sync(where)()\n"
        "handle.undo()\n"
        "assert kind() == '_DefaultLocal' and type(AsyncToSync.executors).__module__ == 'asgiref.local'\n"
        "assert told() == [] and async_to_sync(where)()\n"
        "with patch.locals():\n    assert kind() == 'ThreadStore' and async_to_sync(where)()\n"
        "with patch.proxies():\n    assert kind() == '_DefaultLocal'\n"
        "AsyncToSync.executors = mine = object()\n"
        "with patch.locals():\n    assert AsyncToSync.executors is mine\n"
        "assert AsyncToSync.executors is mine\n"
    )


@pytest.mark.parametrize("moment", ["put", "taken back"])
def test_a_call_that_is_in_progress_meanwhile(moment):
    if not installed("asgiref"):
        pytest.skip("asgiref is not installed here")
    run_script(
        "from xctx import patch\nimport asgiref.sync\n" + SCRIPT + "patched = []\n"
        "async def main():\n"
        f"    {'patched.append(patch.locals())' if moment == 'put' else 'patched.pop().undo()'}\n"
        "    return await where()\n"
        + ("" if moment == "put" else "patched.append(patch.locals())\n")
        + "assert async_to_sync(main)()\n"
        "assert getattr(AsyncToSync.executors, 'current', None) is None\n"
        "assert async_to_sync(where)()\n"
    )
