"""SharedLock and SharedRLock in one process: the contract of all locks, and what only these have."""

import os
import pickle
import threading
import weakref

import pytest
from helpers.lock_contract import *  # noqa: F403
from helpers.lock_contract import in_thread, take
from lock_child import LONG, Child, eventually

import xctx


@pytest.fixture
def new_lock():
    return lambda kind="SharedLock", **options: getattr(xctx, kind)(**options)


def test_threads_of_one_process_leave_places_for_others():
    """Each holds the lock, and there are more of them than places in the table."""
    lock = xctx.SharedLock()
    held, leave = threading.Semaphore(0), threading.Event()

    def hold():
        with lock:
            held.release()
            leave.wait(6 * LONG)

    threads = [threading.Thread(target=hold) for _ in range(600)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert held.acquire(timeout=LONG)
    assert lock.readers == 600
    assert len(lock.holders()) < 100
    with lock.upgradable():
        assert not lock.upgrade(timeout=0.01)
        leave.set()
        assert lock.upgrade(timeout=LONG)
    for thread in threads:
        thread.join(LONG)
    assert not lock.locked()


def test_threads_that_come_and_go_leave_no_lines():
    lock = xctx.SharedLock()
    for _ in range(600):  # more than there are lines
        assert in_thread(take, lock, "shared")
    assert lock.readers == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_unit_of_several_threads_upgrades_once():
    lock = xctx.SharedLock(key=xctx.keys.process)
    reader = Child(read_until_told(lock))
    assert reader.hear() == "reads"
    assert lock.acquire_upgradable()
    begun, results = threading.Event(), []

    def upgrade():
        begun.set()
        results.append(lock.upgrade(timeout=LONG))

    thread = threading.Thread(target=upgrade)
    thread.start()
    assert begun.wait(LONG)

    # An upgrade that has begun lets no more readers in.
    def shut():
        with Child(try_to_read(lock)) as child:
            return child.wait() == 1

    eventually(shut)
    for use in (lock.upgrade, lock.downgrade, lock.release):
        with pytest.raises(ValueError, match="upgrading"):
            use()
    with reader:
        reader.say()
        assert reader.wait() == 0
    thread.join(LONG)
    assert (results, lock.mode) == ([True], "exclusive")
    lock.release()
    assert lock.holders() == []


def read_until_told(lock):
    def work(child):
        with lock:
            child.say("reads")
            child.hear()

    return work


def try_to_read(lock):
    def work(child):
        os._exit(0 if lock.acquire(blocking=False) else 1)

    return work


def test_subclasses():
    class Mine(xctx.SharedRLock):
        def __init__(self, label):
            super().__init__()
            self.label = label

    with Mine("a") as mine:
        assert mine.label == "a"
        assert mine.mode == "shared"

    class Forgot(xctx.SharedLock):
        def __init__(self):
            pass

    for use in (Forgot().acquire, Forgot().release, Forgot().locked, Forgot().__enter__):
        with pytest.raises(RuntimeError, match="initialised"):
            use()
    assert "Forgot" in repr(Forgot())
    lock = xctx.SharedLock()
    with pytest.raises(RuntimeError, match="once"):
        lock.__init__()
    with lock:
        pass


def test_a_lock_without_a_name_is_pickled_for_children_only():
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(xctx.SharedLock())


def test_a_lock_dies_with_its_last_reference():
    lock = xctx.SharedLock()
    with lock.exclusive():
        pass
    gone = weakref.ref(lock)
    del lock
    assert gone() is None
    lock = xctx.SharedLock()
    lock.acquire(exclusive=True)
    del lock


def test_how_it_shows():
    lock = xctx.SharedLock()
    assert repr(lock) == "<xctx.SharedLock: free>"
    with lock.exclusive():
        assert repr(lock).startswith("<xctx.SharedLock: exclusive by ")
