"""How a BatchExecutor is made, what it says of itself, and sources that make whole batches."""

import copy
import itertools
import operator
import os
import pickle
import sqlite3
import weakref
from uuid import uuid4

import pytest
from batch_checker import Made

from xctx import BatchExecutor

# --- making one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["5", 2.0, None, b"1"])
def test_a_size_is_an_int(size):
    with pytest.raises(TypeError, match=r"an int is wanted"):
        BatchExecutor(object, size)


@pytest.mark.parametrize("size", [0, -1, -(10**30)])
def test_a_size_is_at_least_one(size):
    with pytest.raises(ValueError, match=rf"size {size} is not usable: 1 or more is wanted"):
        BatchExecutor(object, size)


def test_a_source_is_callable():
    with pytest.raises(TypeError, match=r"source 'no' is not usable: a callable is wanted"):
        BatchExecutor("no", 5)
    with pytest.raises(TypeError, match=r"source 'no' is not usable"):
        BatchExecutor.from_batches("no", 5)


@pytest.mark.parametrize(("prefetch", "error"), [("1", TypeError), (1.0, TypeError), (-1, ValueError)])
def test_prefetch_is_a_natural_number(prefetch, error):
    with pytest.raises(error, match="is wanted"):
        BatchExecutor(object, 5, prefetch=prefetch)


def test_what_it_says_of_itself():
    executor = BatchExecutor(uuid4, 5, prefetch=2)
    assert (executor.source, executor.size, executor.prefetch, executor.closed) == (uuid4, 5, 2, False)
    assert repr(executor) == f"<xctx.BatchExecutor of {uuid4!r}, size 5, holds 0>"
    assert repr(executor.as_local()) == f"<xctx.LocalBatch of {executor!r}>"
    for name in ("source", "size", "prefetch", "closed", "stats"):
        with pytest.raises(AttributeError):
            setattr(executor, name, 1)


def test_it_has_the_interface_of_the_peer():
    """The whole interface of ft_utils' class."""
    executor = BatchExecutor(lambda: "result", 5)
    local = executor.as_local()
    assert local.wrapped is executor
    assert executor.load() == local.load() == "result"
    assert weakref.ref(executor)() is executor


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_is_neither_copied_nor_pickled(act):
    executor = BatchExecutor(object, 5)
    for value in (executor, executor.as_local()):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            act(value)


def test_a_handle_is_of_an_executor():
    kind = type(BatchExecutor(object, 1).as_local())
    assert kind(BatchExecutor(int, 1)).load() == 0
    for wrong in ((), (None,), (object(),)):
        with pytest.raises(TypeError):
            kind(*wrong)
        with pytest.raises(TypeError):
            kind.__new__(kind, *wrong)


def test_an_executor_needs_a_source():
    with pytest.raises(TypeError):
        BatchExecutor.__new__(BatchExecutor)


def test_a_subclass_is_one_too():
    class Ids(BatchExecutor):
        def __init__(self, source, size):
            self.name = "ids"

    ids = Ids(itertools.count().__next__, 3)
    assert [ids.load() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert repr(ids).startswith("<xctx.Ids of ")
    assert Ids.from_batches.__self__ is Ids


# --- views ------------------------------------------------------------------------------------------------------------


def test_iteration_and_length_hint():
    executor = BatchExecutor(itertools.count().__next__, 5)
    assert iter(executor) is executor
    assert operator.length_hint(executor) == 0
    assert next(executor) == 0
    assert operator.length_hint(executor) == operator.length_hint(executor.as_local()) == 4
    assert list(itertools.islice(executor.as_local(), 3)) == [1, 2, 3]


def test_stats():
    executor = BatchExecutor(object, 5)
    assert executor.stats == (0, 0, 0)
    for _ in range(7):
        executor.load()
    assert executor.stats == (7, 2, 0)
    assert executor.stats._fields == ("loads", "fills", "waits")
    assert len(executor.close()) == 3
    assert executor.stats.loads == 7


# --- sources of whole batches -----------------------------------------------------------------------------------------


def test_batches_from_a_database_sequence():
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("create table ids (next integer)")
    database.execute("insert into ids values (100)")

    def source(count):
        (end,) = database.execute("update ids set next = next + ? returning next", (count,)).fetchone()
        return range(end - count, end)

    executor = BatchExecutor.from_batches(source, 10)
    assert [executor.load() for _ in range(25)] == list(range(100, 125))
    assert executor.stats == (25, 3, 0)
    assert executor.close() == list(range(125, 130))
    database.close()


def test_the_source_is_asked_for_a_batch_of_that_size():
    asked = []
    executor = BatchExecutor.from_batches(lambda count: asked.append(count) or [1, 2], 10)
    for _ in range(4):
        executor.load()
    assert asked == [10, 10]


@pytest.mark.parametrize("kind", [list, tuple, iter, dict.fromkeys, set, lambda values: (value for value in values)])
def test_any_iterable_is_a_batch(kind):
    executor = BatchExecutor.from_batches(lambda count: kind(range(count)), 5)
    assert sorted(executor.load() for _ in range(5)) == [0, 1, 2, 3, 4]


def test_random_bytes_are_a_batch_of_ints():
    executor = BatchExecutor.from_batches(os.urandom, 100)
    assert all(0 <= executor.load() < 256 for _ in range(250))


def test_a_batch_may_be_larger_than_asked_for():
    executor = BatchExecutor.from_batches(lambda count: range(3 * count), 2)
    assert [executor.load() for _ in range(6)] == list(range(6))
    assert executor.stats.fills == 1


def test_a_batch_without_any_value():
    batches = iter([[1], [], [2], []])
    executor = BatchExecutor.from_batches(lambda count: next(batches), 5)
    assert executor.load() == 1
    with pytest.raises(LookupError, match="at least one is wanted"):
        executor.load()
    assert list(executor) == [2]


@pytest.mark.parametrize("batch", [None, 5, object()])
def test_a_batch_is_iterable(batch):
    executor = BatchExecutor.from_batches(lambda count: batch, 5)
    with pytest.raises(TypeError, match="an iterable of values is wanted"):
        executor.load()


def test_a_batch_that_raises_on_the_way():
    def source(count):
        yield from range(3)
        raise Made

    executor = BatchExecutor.from_batches(source, 5)
    assert [executor.load() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Made):
        executor.load()
    assert executor.load() == 0


def test_a_load_inside_a_source_of_batches():
    numbers = itertools.count()

    def source(count):
        start = next(numbers)
        if start == 0:
            return [("outer", executor.load()), "outer 2"]
        return [f"{start} first", f"{start} second"]

    executor = BatchExecutor.from_batches(source, 2)
    got = [executor.load() for _ in range(3)]
    assert got == ["1 second", ("outer", "1 first"), "outer 2"]
