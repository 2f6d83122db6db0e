"""Threads that wait for one another in a circle, and locks whose holders an operator looks up."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest
from helpers.units import in_thread
from lock_child import LONG, Child, eventually

import xctx
import xctx.debug
from xctx._lock import listing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks are for Linux")


@pytest.fixture
def at_once():
    """Deadlocks are looked for at once, rather than after a second."""
    xctx.debug.track()
    yield
    xctx.debug.track(False)


def cross(held, wanted, together, results, exclusive=True):
    """Holds one lock and wants another, when all are so far; gives back what it held when it is told."""
    with held.exclusive():
        together.wait(LONG)
        try:
            wanted.acquire(exclusive)
            wanted.release()
            results.append("got it")
        except RuntimeError as error:
            results.append(str(error))


@pytest.mark.sampled
@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("exclusive", [False, True])
def test_threads_that_wait_for_one_another(number, exclusive):
    locks = [xctx.SharedLock() for _ in range(number)]
    results, together = [], threading.Barrier(number)
    threads = [
        threading.Thread(target=cross, args=(lock, locks[at - 1], together, results, exclusive))
        for at, lock in enumerate(locks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    told = [result for result in results if result != "got it"]
    assert len(told) == 1
    assert told[0].startswith("deadlock: thread ")
    for thread in threads:
        assert f"thread {thread.native_id} of process {os.getpid()}" in told[0]
    assert all(lock.holders() == [] for lock in locks)


def test_processes_that_wait_for_one_another(tmp_path):
    first, second = (xctx.SharedLock.at(tmp_path / name) for name in ("first", "second"))

    def work(child):
        with first.exclusive():
            child.say("holds")
            child.hear()
            try:
                second.acquire(exclusive=True)
                child.say("got it")
                second.release()
            except RuntimeError as error:
                child.say(str(error))

    def close_the_circle():
        with second.exclusive(), Child(work) as child:
            assert child.hear() == "holds"
            child.say()
            eventually(lambda: second.waiters)
            time.sleep(0.01)  # this one comes later, and so it is told
            with pytest.raises(RuntimeError, match="deadlock") as told:
                first.acquire()
            for part in (first.path, second.path, f"process {child.pid}", f"process {os.getpid()}"):
                assert part in str(told.value)
            second.release()
            assert child.hear() == "got it"
            second.acquire()
            assert child.wait() == 0

    in_thread(close_the_circle)  # an earlier test may have left a hub in this one, in which it would wait


def wait_for(lock, results, held):
    """In a thread of its own: holds one lock and waits for another."""
    with held.exclusive():
        results.put("holds")
        try:
            lock.acquire(exclusive=True)
            lock.release()
            results.put("got it")
        except RuntimeError as error:
            results.put(str(error))


def test_with_debug_a_deadlock_is_found_at_once(at_once):
    first, second = xctx.SharedLock(), xctx.SharedLock()
    results = queue.SimpleQueue()
    thread = threading.Thread(target=wait_for, args=(second, results, first))

    def close_the_circle():
        with second.exclusive():
            thread.start()
            assert results.get(timeout=LONG) == "holds"
            eventually(lambda: second.waiters)
            began = time.monotonic()
            with pytest.raises(RuntimeError, match=r"deadlock: .* waits for .*, held by .*, held by the first"):
                first.acquire()
            assert time.monotonic() - began < 0.9  # it would look after a second

    in_thread(close_the_circle)
    assert results.get(timeout=LONG) == "got it"
    thread.join(LONG)


def test_a_deadlock_that_the_last_one_cannot_see(tmp_path, at_once):
    """The process of the last that comes does not have all of the locks: another thread of the circle is told."""
    first, second = (xctx.SharedLock.at(tmp_path / name) for name in ("first", "second"))

    def last(child):
        with first.exclusive():
            child.say("holds")
            child.hear()
            second.acquire(exclusive=True)
            child.say("got it")

    def close_the_circle():
        with Child(last) as child:
            assert child.hear() == "holds"
            third = xctx.SharedLock()
            results = queue.SimpleQueue()
            threads = []
            for wanted, held in ((first, third), (third, second)):
                threads.append(threading.Thread(target=wait_for, args=(wanted, results, held)))
                threads[-1].start()
                assert results.get(timeout=LONG) == "holds"
                eventually(lambda lock=wanted: lock.waiters)
            child.say()
            assert results.get(timeout=LONG).startswith("deadlock: ")
            assert child.hear() == "got it"
            assert child.wait() == 0
            assert results.get(timeout=LONG) == "got it"
            for thread in threads:
                thread.join(LONG)

    in_thread(close_the_circle)  # and so the child's thread has no hub, in which it would wait


def test_one_that_was_let_in_and_is_stopped_is_in_no_deadlock(at_once):
    """A reader that slept, and has not run since it was let in, still looks as if it slept for the lock that it has."""
    lock = xctx.SharedLock()

    def read(child):
        child.hear()
        with lock:
            child.say("reads")

    def write_beside():
        with Child(read) as child:
            with lock.exclusive():
                child.say()
                eventually(lambda: lock.waiters)
                child.kill(signal.SIGSTOP)
                os.waitpid(child.pid, os.WUNTRACED)
            assert lock.readers == 1
            thread = threading.Thread(target=lambda: (time.sleep(0.3), child.kill(signal.SIGCONT)))
            thread.start()
            assert lock.acquire(exclusive=True)  # waits for the reader, which has the lock and does not wait for this
            lock.release()
            assert child.hear() == "reads"
            assert child.wait() == 0
            thread.join()

    in_thread(write_beside)


def test_a_long_wait_is_no_deadlock():
    first, second = xctx.SharedLock(), xctx.SharedLock()
    got = []

    def wait():
        with second.exclusive():
            first.acquire()
            got.append(True)
            first.release()

    with first.exclusive():
        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: first.waiters)
        assert not second.acquire(timeout=2.2)  # it gives up: not for ever
    thread.join(LONG)
    assert got == [True]


# python -m xctx locks


def listed(*arguments, says=""):
    done = subprocess.run(
        [sys.executable, "-m", "xctx", "locks", *arguments], capture_output=True, text=True, timeout=6 * LONG
    )
    assert done.stderr == says
    return done


def test_an_operator_sees_who_holds_and_who_waits(tmp_path):
    name = f"test-listing-{os.getpid()}"
    lock = xctx.SharedLock(name)
    assert f"{name}: free, 0 waiting" in listed().stdout
    with lock.exclusive():
        threads = [threading.Thread(target=lambda: (lock.acquire(), lock.release())) for _ in range(2)]
        for thread in threads:
            thread.start()
        eventually(lambda: lock.waiters == 2)
        said = json.loads(listed(name, "--json").stdout)
        assert (said["name"], said["path"], said["owner_died"], said["processes"]) == (name, lock.path, False, 1)
        (holder,) = said["holders"]
        assert (holder["mode"], holder["pid"], holder["thread"]) == (
            "exclusive",
            os.getpid(),
            threading.get_native_id(),
        )
        assert "python" in holder["program"]
        assert {waiter["thread"] for waiter in said["waiters"]} == {thread.native_id for thread in threads}
        assert all(0 <= waiter["for"] < 6 * LONG for waiter in said["waiters"])
        metrics = listed(name, "--prometheus").stdout.splitlines()
        assert "# TYPE xctx_lock_waiters gauge" in metrics
        assert f'xctx_lock_holders{{lock="{name}"}} 1' in metrics
        assert f'xctx_lock_waiters{{lock="{name}"}} 2' in metrics
        assert f'xctx_lock_owner_died{{lock="{name}"}} 0' in metrics
        text = listed(name, "--who").stdout
        assert f"holds exclusive: process {os.getpid()} thread {threading.get_native_id()}" in text
        assert text.count("waits for") == 2
    for thread in threads:
        thread.join(LONG)
    with Child(lambda child: (lock.acquire(exclusive=True), child.say("held"), child.hear())) as child:
        assert child.hear() == "held"
        child.kill()
        child.wait()
    # Also before anybody uses the lock again.
    said = json.loads(listed(lock.path, "--json").stdout)
    assert (said["dead_holders"], said["owner_died"], said["deaths"]) == (1, True, 1)
    assert f'xctx_lock_owner_died{{lock="{name}"}} 1' in listed(name, "--prometheus").stdout
    assert lock.owner_died
    assert "A WRITER DIED" in listed(name).stdout
    with lock.exclusive(mend=True):
        lock.mark_consistent()
    del lock
    missing = listed(name, says=f"there is no lock {name!r}\n")
    assert (missing.returncode, missing.stdout) == (1, "")


def test_an_operator_watches_until_nobody_reads_any_more():
    name = f"test-watching-{os.getpid()}"
    lock = xctx.SharedLock(name)
    barrier = threading.Barrier(3)

    def read():
        with lock:
            barrier.wait(LONG)
            barrier.wait(LONG)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    barrier.wait(LONG)
    arguments = [sys.executable, "-m", "xctx", "locks", name, "--watch", "0.01"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        for _ in range(2):
            assert watch.stdout.readline().startswith("-- ")
            assert watch.stdout.readline() == f"{name}: shared by {os.getpid()} (2), 0 waiting, 0 waits so far\n"
        watch.stdout.close()
        assert watch.wait(6 * LONG) == 0
        assert watch.stderr.read() == ""
    barrier.wait(LONG)
    for thread in threads:
        thread.join(LONG)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "often"])
def test_a_pause_between_two_looks_is_a_number_of_seconds(seconds, capsys):
    with pytest.raises(SystemExit):
        listing.main(["--watch=" + seconds])
    assert "invalid seconds value" in capsys.readouterr().err
