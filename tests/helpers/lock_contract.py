"""What every lock keeps, xctx.SharedLock and that over PostgreSQL alike: both rooms run these tests.

A room has a fixture ``new_lock(kind="SharedLock", **options)``, which makes a lock that nobody else has.
"""

import functools
import threading
import time
import warnings

import pytest

import xctx
from helpers.waiting import LONG, eventually


@pytest.fixture(params=["SharedLock", "SharedRLock"])
def make(request, new_lock):
    """Makes a lock of either kind."""
    return functools.partial(new_lock, request.param)


def in_thread(function, *args, **kwargs):
    """What a call gives in another thread: its result, or what it raises."""
    done = []

    def work():
        try:
            done.append(function(*args, **kwargs))
        except Exception as exc:
            done.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LONG)
    assert done, "the other thread hangs"
    return done[0]


def free_to(lock, mode):
    """Whether another thread could hold the lock so."""

    def work():
        got = lock.acquire_upgradable(False) if mode == "upgradable" else lock.acquire(mode == "exclusive", False)
        if got:
            lock.release()
        return got

    return in_thread(work)


def take(lock, mode):
    return {
        "shared": lambda: lock.acquire(timeout=LONG),
        "exclusive": lambda: lock.acquire(exclusive=True, timeout=LONG),
        "upgradable": lambda: lock.acquire_upgradable(timeout=LONG),
    }[mode]()


@pytest.mark.parametrize(
    ("held", "beside"),
    [("shared", {"shared", "upgradable"}), ("upgradable", {"shared"}), ("exclusive", set())],
)
def test_which_modes_are_held_beside_each_other(make, held, beside):
    lock = make()
    assert take(lock, held)
    assert {mode for mode in ("shared", "upgradable", "exclusive") if free_to(lock, mode)} == beside
    assert (lock.locked(), lock.mode, lock.count) == (True, held, 1)
    assert lock.readers == (held == "shared")
    assert (lock.owner is None) == (held == "shared")
    lock.release()
    assert (lock.locked(), lock.mode, lock.count, lock.readers, lock.owner) == (False, None, 0, 0, None)
    assert free_to(lock, "exclusive")


def test_blocks(make):
    lock = make()
    with lock as got:
        assert got is lock
        assert lock.mode == "shared"
    with lock.shared() as got:
        assert got is lock
        assert lock.mode == "shared"
    with lock.exclusive() as got:
        assert got is lock
        assert lock.mode == "exclusive"
    with lock.upgradable() as got:
        assert got is lock
        assert lock.mode == "upgradable"
        assert lock.upgrade()
        assert lock.mode == "exclusive"
    assert not lock.locked()
    with pytest.raises(ZeroDivisionError):
        with lock.exclusive():
            1 / 0
    assert not lock.locked()


def test_misuse_of_a_shared_lock(new_lock):
    lock = new_lock()
    for mode in ("shared", "exclusive", "upgradable"):
        assert take(lock, mode)
        for again in ("shared", "exclusive", "upgradable"):
            with pytest.raises(ValueError, match=r"re-entrant|upgrade"):
                take(lock, again)
        assert (lock.mode, lock.count) == (mode, 1)
        lock.release()
        with pytest.raises(ValueError, match="too many times"):
            lock.release()


def test_a_plain_upgrade_raises_at_once(make):
    lock = make()
    with lock:
        with pytest.raises(ValueError, match="upgrade"):
            lock.acquire(exclusive=True)
        with pytest.raises(ValueError, match="upgraded"):
            lock.upgrade()
        with pytest.raises(ValueError, match="upgrade"):
            lock.acquire_upgradable()
        assert lock.mode == "shared"
    with pytest.raises(ValueError, match="upgraded"):
        lock.upgrade()
    with pytest.raises(ValueError, match="downgrade"):
        lock.downgrade()


def test_a_release_in_another_unit_is_refused(make):
    lock = make()
    with lock.exclusive():
        assert isinstance(in_thread(lock.release), ValueError)
        assert lock.mode == "exclusive"


def test_a_reentrant_lock_counts(new_lock):
    lock = new_lock("SharedRLock")
    with lock:
        with lock:
            assert (lock.mode, lock.count, lock.readers) == ("shared", 2, 1)
        assert lock.count == 1
    with lock.exclusive():
        with lock:
            with lock.upgradable():
                with lock.exclusive():
                    assert (lock.mode, lock.count) == ("exclusive", 4)
        assert lock.mode == "exclusive"
    with lock.upgradable():
        with lock:
            with lock.exclusive():
                with lock.exclusive():
                    assert (lock.mode, lock.count) == ("exclusive", 4)
                assert lock.mode == "exclusive"
            assert (lock.mode, lock.count) == ("upgradable", 2)
            assert free_to(lock, "shared")
    assert not lock.locked()


def test_downgrading(make):
    lock = make()
    assert take(lock, "exclusive")
    lock.downgrade(upgradable=True)
    assert lock.mode == "upgradable"
    assert free_to(lock, "shared")
    assert not free_to(lock, "upgradable")
    lock.downgrade()
    assert (lock.mode, lock.readers) == ("shared", 1)
    assert free_to(lock, "upgradable")
    lock.release()
    assert not lock.locked()


def test_nobody_writes_while_a_writer_becomes_a_reader(make):
    lock = make()
    wrote = []

    def write():
        with lock.exclusive():
            wrote.append(1)

    with lock.exclusive():
        writer = threading.Thread(target=write)
        writer.start()
        eventually(lambda: lock.waiters)
        lock.downgrade()
        eventually(lambda: not free_to(lock, "shared"))  # it has the writer slot by now, and waits for this reader
        assert not wrote
    writer.join(LONG)
    assert wrote


def test_upgrading_waits_for_readers_and_keeps_new_ones_out(make):
    lock = make()
    reading, leave = threading.Event(), threading.Event()

    def read():
        with lock:
            reading.set()
            leave.wait(LONG)

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(LONG)
    with lock.upgradable():
        assert not lock.upgrade(timeout=0.02)
        assert not lock.upgrade(blocking=False)
        assert lock.mode == "upgradable"
        assert free_to(lock, "shared")
        leave.set()
        assert lock.upgrade(timeout=LONG)
        assert not free_to(lock, "shared")
    reader.join(LONG)
    assert not lock.locked()


def test_giving_up(make):
    lock = make()
    with lock.exclusive():
        for arguments in ((False, True, 0.01), (True, True, 0.01), (False, False), (True, False), (True, True, 0)):
            assert in_thread(lock.acquire, *arguments) is False
        assert in_thread(lock.acquire_upgradable, True, 0.01) is False
    assert lock.holders() == []
    assert free_to(lock, "exclusive")


@pytest.mark.parametrize(
    "arguments", [(False, False, 1), (True, True, -2), (False, True, float("nan")), (True, True, "a")], ids=str
)
def test_timeouts_that_make_no_sense(new_lock, arguments):
    lock = new_lock()
    with pytest.raises((ValueError, TypeError)):
        lock.acquire(*arguments)
    assert not lock.locked()
    # Nor is anything left of them where the lock was another's.
    held, leave = threading.Event(), threading.Event()

    def hold():
        with lock.exclusive():
            held.set()
            leave.wait(LONG)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(LONG)
    with pytest.raises((ValueError, TypeError)):
        lock.acquire(*arguments)
    leave.set()
    thread.join(LONG)
    assert free_to(lock, "exclusive")
    assert (lock.readers, lock.mode) == (0, None)


def test_a_writer_that_gives_up_wakes_the_readers_it_kept_waiting(new_lock):
    lock = new_lock()
    tried, read = [], threading.Event()

    def write():
        tried.append(lock.acquire(exclusive=True, timeout=0.3))

    def come_later():
        with lock:
            read.set()

    with lock:
        writer = threading.Thread(target=write)
        writer.start()
        # The writer has announced itself when nobody else gets in.
        eventually(lambda: tried or not free_to(lock, "shared"))
        reader = threading.Thread(target=come_later)
        reader.start()
        writer.join(LONG)
        assert tried == [False]
        assert read.wait(LONG)
    reader.join(LONG)
    assert not lock.locked()


def test_reading_again_does_not_wait_for_a_writer_that_waits(new_lock):
    lock = new_lock("SharedRLock")
    with lock:
        writer = threading.Thread(target=lambda: (lock.acquire(exclusive=True, timeout=LONG), lock.release()))
        writer.start()
        eventually(lambda: not free_to(lock, "shared"))
        with lock:
            assert lock.count == 2
    writer.join(LONG)
    assert not lock.locked()


def test_a_writer_comes_in_among_readers_that_overlap_without_pause(new_lock):
    lock = new_lock()
    stop, turns = threading.Event(), []
    two = threading.Semaphore(0)

    def read():
        while not stop.is_set():
            with lock:
                turns.append(1)
                # Not before the other one reads, if it still does.
                two.release()
                two.acquire(timeout=0.005)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    eventually(lambda: len(turns) > 20)
    for _ in range(5):
        assert lock.acquire(exclusive=True, timeout=LONG)
        lock.release()
    stop.set()
    for reader in readers:
        reader.join(LONG)
    assert not lock.locked()


def test_a_reader_comes_in_among_writers_in_a_row(new_lock):
    lock = new_lock()
    stop, turns = threading.Event(), []

    def write():
        while not stop.is_set():
            with lock.exclusive():
                turns.append(1)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    eventually(lambda: len(turns) > 20)
    for _ in range(5):
        assert lock.acquire(timeout=LONG)
        lock.release()
    stop.set()
    for writer in writers:
        writer.join(LONG)
    assert not lock.locked()


def test_many_threads_keep_each_other_out(new_lock):
    lock = new_lock("SharedRLock")
    inside = {"readers": 0, "writers": 0}
    total, bad = [0], []

    def work(number):
        for turn in range(200):
            if (turn + number) % 4 == 0:
                with lock.exclusive():
                    if turn % 8 == 0:
                        lock.downgrade(upgradable=True)
                        lock.upgrade()
                    inside["writers"] += 1
                    if inside["writers"] != 1:
                        bad.append("two writers")
                    total[0] += 1
                    inside["writers"] -= 1
            else:
                with lock:
                    if inside["writers"]:
                        bad.append("a writer beside a reader")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6 * LONG)
    assert not bad
    assert total == [300]
    assert not lock.locked()


@pytest.mark.parametrize("mode", ["shared", "upgradable", "exclusive"])
def test_a_thread_that_ends_gives_back_what_it_held(new_lock, mode):
    lock = new_lock()
    assert in_thread(take, lock, mode)
    assert not lock.locked()
    assert lock.owner_died == (mode == "exclusive")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with lock:
            pass
        with lock:  # a reader is told once
            pass
        for _ in range(2):  # and a writer each time, until the mark is gone
            with lock.exclusive():
                pass
        assert lock.owner_died == (mode == "exclusive")
        with lock.exclusive(mend=True):
            lock.mark_consistent()
        with lock.exclusive():
            pass
    assert [warning.category for warning in told] == [xctx.OwnerDiedWarning] * (3 if mode == "exclusive" else 0)
    assert all(warning.filename == __file__ for warning in told)
    assert not lock.owner_died


def test_a_unit_for_which_the_warning_is_an_error_does_not_hold_it(new_lock):
    lock = new_lock()
    assert in_thread(take, lock, "exclusive")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in ("shared", "upgradable", "exclusive"):
            with pytest.raises(xctx.OwnerDiedWarning):
                take(lock, mode)
            assert not lock.locked()
            assert lock.owner_died
    with pytest.raises(ZeroDivisionError), pytest.warns(xctx.OwnerDiedWarning):
        with lock.exclusive():
            1 / 0  # no way to mend anything
    assert lock.owner_died
    with pytest.warns(xctx.OwnerDiedWarning):
        lock.acquire(exclusive=True)
    lock.mark_consistent()
    lock.release()
    with lock:
        pass


def test_only_who_writes_can_say_that_all_is_mended(new_lock):
    lock = new_lock("SharedRLock")
    for mode in ("shared", "upgradable"):
        take(lock, mode)
        with pytest.raises(ValueError, match=mode):
            lock.mark_consistent()
        lock.release()
    with pytest.raises(ValueError, match="not at all"):
        lock.mark_consistent()


@pytest.mark.parametrize("how", ["raise", "ignore"])
def test_what_a_lock_does_about_a_death_is_its_makers_choice(new_lock, how):
    lock = new_lock(on_death=how)
    assert in_thread(take, lock, "exclusive")
    assert lock.owner_died
    for mode in ("shared", "upgradable", "exclusive"):
        if how == "raise":
            for _ in range(2):
                with pytest.raises(xctx.OwnerDiedWarning, match="half-written"):
                    take(lock, mode)
                assert lock.mode is None
        else:
            assert take(lock, mode)
            lock.release()
    with lock.exclusive(mend=True):
        assert lock.owner_died
        lock.mark_consistent()
        assert not lock.owner_died
    with lock.exclusive():
        pass
    with pytest.raises(ValueError, match="on_death"):
        new_lock(on_death="cry")


def test_each_death_is_told_also_on_one_line_under_default_filters(new_lock):
    lock = new_lock()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            assert in_thread(take, lock, "exclusive")
            with lock:
                pass
    assert len(told) == 3 + 2  # those who read, and those who wrote since the first death


def test_blocks_that_give_up(make):
    lock = make()
    with lock.exclusive(timeout=LONG):
        for block in (lock.shared, lock.exclusive, lock.upgradable):
            for seconds in (0, 0.01):
                assert isinstance(in_thread(lambda: block(seconds).__enter__()), TimeoutError)  # noqa: B023
    with lock.shared(timeout=LONG) as got:
        assert got is lock
        assert lock.mode == "shared"
    with lock.upgradable(timeout=None):
        assert lock.mode == "upgradable"
    with pytest.raises(ValueError, match="timeout"):
        lock.exclusive(timeout=-3)
    assert not lock.locked()


def test_the_message_about_upgrading_begins_as_that_of_multiprocessing_utils(make):
    lock = make()
    with lock:
        for use in (lambda: lock.acquire(exclusive=True), lock.acquire_upgradable, lock.exclusive().__enter__):
            with pytest.raises(ValueError, match=r"^Cannot upgrade a shared lock to an exclusive lock"):
                use()


def test_a_filter_of_warnings_may_release_the_lock(new_lock):
    lock = new_lock()
    assert in_thread(take, lock, "exclusive")

    def show(*args, **kwargs):
        lock.release()
        raise ZeroDivisionError

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        for mode in ("shared", "upgradable", "exclusive"):
            with pytest.raises(ZeroDivisionError):
                take(lock, mode)
            assert lock.holders() == []


@pytest.mark.parametrize("key", ["process", "thread", "greenlet", "task"])
def test_keys_say_who_holds_it(new_lock, key):
    lock = new_lock("SharedRLock", key=getattr(xctx.keys, key))
    assert lock.key is getattr(xctx.keys, key)
    with lock.exclusive():
        assert free_to(lock, "exclusive") == (key == "process")
    assert not lock.locked()


class in_between:
    """Reads in another lock object of the same thread's, for a moment."""

    def __init__(self, lock):
        self.lock = lock

    def __enter__(self):
        assert self.lock.acquire(exclusive=True)

    def __exit__(self, *exc):
        time.sleep(0.01)
        self.lock.release()


def test_one_unit_in_several_threads(new_lock):
    lock = new_lock("SharedRLock", key=lambda: "all of us")
    with in_between(lock):
        results = []

        def work():
            for _ in range(50):
                assert lock.acquire(exclusive=True, timeout=LONG)
                lock.release()
            results.append(1)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(LONG)
    assert results == [1, 1, 1]
    assert not lock.locked()


def test_a_unit_of_several_threads_counts_right(new_lock):
    """One releases what it held while another acquires it again: either it still holds it, or it waits for its own."""
    lock = new_lock("SharedRLock", key=lambda: "all of us")
    faults = []

    def work(seed):
        try:
            for turn in range(400):
                assert lock.acquire(exclusive=True, timeout=LONG)
                assert lock.mode == "exclusive"
                if turn % 3 == seed % 3:
                    with lock:
                        pass
                lock.release()
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * LONG)
        assert not thread.is_alive()
    assert not faults
    assert (lock.count, lock.holders()) == (0, [])


@pytest.mark.parametrize("key_name", ["flow", "context"])
def test_what_lies_in_a_context_is_no_holder(new_lock, key_name):
    with pytest.raises(ValueError, match=f"under the key '{key_name}'"):
        new_lock(key=getattr(xctx.keys, key_name))
    with pytest.raises(TypeError):
        new_lock(key=3)
