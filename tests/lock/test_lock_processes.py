"""Locks among processes: how they get there, what is left of them, and what the death of a holder does."""

import concurrent.futures
import ctypes
import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from lock_child import LONG, SOON, Child, eventually

import xctx
from xctx._lock import names as lock_names

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
MODES = ["shared", "upgradable", "exclusive"]
NAMED = pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])


def take(lock, mode, timeout=LONG):
    if mode == "upgradable":
        return lock.acquire_upgradable(timeout=timeout)
    return lock.acquire(mode == "exclusive", timeout=timeout)


def hold(lock, mode):
    """What a child does that holds the lock until it is killed."""

    def work(child):
        assert take(lock, mode)
        child.say("held")
        child.hear()
        lock.release()
        child.say("released")
        child.hear()

    return work


def want(lock, mode):
    def work(child):
        child.say("waits")
        child.say(str(take(lock, mode)))
        lock.release()

    return work


@pytest.fixture
def told():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def check_free(lock, told, died):
    """Everybody gets the lock at once, is told or not, and the counts are zero."""
    start = time.monotonic()
    for mode in MODES:
        assert take(lock, mode, SOON)
        lock.release()
    assert time.monotonic() - start < 3 * SOON
    deaths = [warning.category for warning in told if warning.category is not DeprecationWarning]  # that of os.fork()
    assert deaths == [xctx.OwnerDiedWarning] * (3 if died else 0)
    assert lock.owner_died == died
    with lock.exclusive(mend=True):
        lock.mark_consistent()
    assert (lock.readers, lock.holders(), lock.owner_died) == (0, [], False)


# Death


def let_die():
    faulthandler.disable()
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def dies(how):
    if how == "exit":
        os._exit(3)
    if how == "fault":
        ctypes.string_at(8)
    if how == "exec":
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("how", ["kill", "exit", "fault", "exec"])
@pytest.mark.parametrize("mode", MODES)
def test_a_holder_that_dies_gives_it_back(mode, how, told):
    lock = xctx.SharedLock()

    def work(child):
        let_die()
        assert take(lock, mode)
        child.say("held")
        child.hear()
        dies(how)

    with Child(work) as child:
        assert child.hear() == "held"
        assert lock.locked()
        child.say()
        if how == "exec":
            eventually(lambda: not lock.locked())
        else:
            # Not waited for: it is a zombie.
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        check_free(lock, told, mode == "exclusive")


@pytest.mark.parametrize("how", ["kill", "exit", "fault"])
@pytest.mark.parametrize("mode", MODES)
def test_one_that_dies_waiting_leaves_no_trace(mode, how, told):
    lock = xctx.SharedLock()

    def work(child):
        let_die()
        child.say("waits")
        threading.Timer(0.05, dies, (how,)).start()
        take(lock, mode)

    with lock.exclusive():
        with Child(work) as child:
            assert child.hear() == "waits"
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    check_free(lock, told, False)


@pytest.mark.parametrize("waiting", MODES)
@pytest.mark.parametrize("mode", MODES)
def test_units_that_wait_already_go_on(mode, waiting):
    lock = xctx.SharedLock()
    with Child(hold(lock, mode)) as holder:
        assert holder.hear() == "held"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Child(want(lock, waiting)) as other:
                assert other.hear() == "waits"
                if not {mode, waiting} <= {"shared"} and {mode, waiting} != {"shared", "upgradable"}:
                    eventually(lambda: lock.waiters)
                holder.kill()
                start = time.monotonic()
                assert other.hear() == "True"
                assert time.monotonic() - start < SOON
                assert other.wait() == 0
    assert lock.holders() == []


def test_a_writer_that_dies_while_it_waits_for_readers_lets_others_in(told):
    lock = xctx.SharedLock()
    with Child(hold(lock, "shared")) as reader:
        assert reader.hear() == "held"
        with Child(want(lock, "exclusive")) as writer:
            assert writer.hear() == "waits"
            with Child(lambda child: eventually(lambda: not try_shared(lock))) as probe:
                assert probe.wait() == 0
            writer.kill()
            writer.wait()
            assert take(lock, "shared", SOON)
            lock.release()
        reader.say()
        assert reader.hear() == "released"
        check_free(lock, told, False)


def try_shared(lock):
    got = lock.acquire(blocking=False)
    if got:
        lock.release()
    return got


def test_a_stopped_process_keeps_its_lock(told):
    lock = xctx.SharedLock()
    with Child(hold(lock, "exclusive")) as holder:
        assert holder.hear() == "held"
        holder.kill(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
        assert not take(lock, "shared", 0.5)
        holder.kill(signal.SIGCONT)
        holder.say()
        assert holder.hear() == "released"
        check_free(lock, told, False)


@pytest.mark.parametrize("mode", MODES)
def test_a_number_used_again_is_not_taken_for_the_dead(mode, told):
    """Lines are known dead by the kernel, never by a process number: one of the dead's number changes nothing."""
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last_pid, os.W_OK):
        pytest.skip("needs to choose process numbers")
    # Another program may take the number first, and keep it: then another holder dies.
    for _ in range(100):
        lock = xctx.SharedLock()
        with Child(hold(lock, mode)) as holder:
            assert holder.hear() == "held"
            holder.kill()
            holder.wait()
            last_pid.write_text(str(holder.pid - 1))
            with Child(lambda child: child.hear()) as again:
                if again.pid == holder.pid:
                    check_free(lock, told, mode == "exclusive")
                    return
    pytest.fail("did not get the number again")


def test_all_who_hold_it_die_at_once(told):
    lock = xctx.SharedLock()
    children = [Child(hold(lock, "shared")) for _ in range(5)]
    for child in children:
        assert child.hear() == "held"
    assert lock.readers == 5
    for child in children:
        child.kill()
    for child in children:
        with child:
            child.wait()
    check_free(lock, told, False)


# Forks


@pytest.mark.parametrize("mode", MODES)
def test_a_child_forked_while_its_parent_holds_the_lock_does_not_hold_it(mode):
    lock = xctx.SharedRLock()

    def work(child):
        assert (lock.mode, lock.count) == (None, 0)
        with pytest.raises(ValueError, match="too many times"):
            lock.release()
        assert lock.acquire(blocking=False) == (mode != "exclusive")
        if mode != "exclusive":
            lock.release()
        assert not lock.acquire(exclusive=True, blocking=False)
        child.say("checked")

    assert take(lock, mode)
    with Child(work) as child:
        assert child.hear() == "checked"
        assert child.wait() == 0
    assert lock.mode == mode
    assert len(lock.holders()) == 1
    lock.release()
    assert not lock.locked()


def test_a_child_leaves_the_block_it_was_forked_in():
    lock = xctx.SharedLock()
    with lock.exclusive():
        pid = os.fork()
    if pid == 0:
        os._exit(0 if lock.mode is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not lock.locked()


@NAMED
def test_a_parent_that_dies_gives_back_what_its_child_never_held(named, tmp_path, monkeypatch):
    """The child has all of its parent's descriptors and mappings: they must not keep the parent's lock alive."""
    monkeypatch.setattr(lock_names, "directory", lambda: str(tmp_path / "locks"))
    lock = xctx.SharedLock("a" if named else None)

    def parent(child):
        assert lock.acquire(exclusive=True)
        if os.fork() == 0:
            child.say("forked")
            child.hear()
            os._exit(0)
        time.sleep(LONG)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Child(parent) as child:
            assert child.hear() == "forked"
            child.kill()
            child.wait()
            assert take(lock, "exclusive", SOON)
            lock.release()


def test_a_fork_in_the_middle_of_a_wait():
    lock = xctx.SharedLock()

    def work(child):
        thread = threading.Thread(target=lambda: (lock.acquire(timeout=LONG), lock.release()))
        thread.start()
        eventually(lambda: lock.waiters)
        with Child(lambda inner: (inner.hear(), take(lock, "exclusive"), inner.say("got"))) as inner:
            child.say("forked")
            child.hear()
            inner.say()
            assert inner.hear() == "got"
            assert inner.wait() == 0
            thread.join(LONG)
            assert not thread.is_alive()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with lock.exclusive():
            child = Child(work)
            assert child.hear() == "forked"
        with child:
            child.say()
            assert child.wait() == 0
    eventually(lambda: not lock.locked())


def test_a_fork_by_a_signal_handler_in_the_middle_of_a_wait():
    lock = xctx.SharedLock()

    def work(child):
        forked = []

        def handler(number, frame):
            forked.append(os.fork())
            if forked != [0]:
                child.say("forked")

        signal.signal(signal.SIGUSR1, handler)
        child.say("waits")
        with lock:
            if forked == [0]:
                os._exit(0)
            child.say("got")
            child.hear()
        assert os.waitstatus_to_exitcode(os.waitpid(forked[0], 0)[1]) == 0

    with lock.exclusive():
        child = Child(work)
        assert child.hear() == "waits"
        eventually(lambda: lock.waiters)
        child.kill(signal.SIGUSR1)
        assert child.hear() == "forked"
    with child:
        assert child.hear() == "got"
        child.say()
        assert child.wait() == 0
    assert not lock.locked()


# Handing on


def write_under(lock, path, count=20):
    for _ in range(count):
        with lock.exclusive():
            number = int(Path(path).read_text())
            Path(path).write_text(str(number + 1))
    return os.getpid()


def initialise(lock):
    global given
    given = lock


def write_under_given(path):
    return write_under(given, path)


METHODS = multiprocessing.get_all_start_methods()


@NAMED
@pytest.mark.parametrize("method", METHODS)
def test_children_however_started(method, named, tmp_path):
    lock = xctx.SharedRLock(f"test-{os.getpid()}" if named else None)
    path = tmp_path / "number"
    path.write_text("0")
    context = multiprocessing.get_context(method)
    children = [context.Process(target=write_under, args=(lock, str(path))) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(6 * LONG)
        assert child.exitcode == 0
    assert path.read_text() == "60"
    assert not lock.locked()


@pytest.mark.parametrize("method", METHODS)
def test_pools_that_are_initialised_with_a_lock(method, tmp_path):
    lock = xctx.SharedLock()
    path = tmp_path / "number"
    path.write_text("0")
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context, initialise, (lock,)) as pool:
        list(pool.map(write_under_given, [str(path)] * 4, timeout=6 * LONG))
    assert path.read_text() == "80"


def test_a_spawned_child_that_is_killed(told):
    lock = xctx.SharedLock()
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=hold_for_long, args=(lock, ready))
    child.start()
    assert ready.wait(6 * LONG)
    assert lock.locked()
    child.kill()
    child.join(LONG)
    check_free(lock, told, True)


def hold_for_long(lock, ready):
    lock.acquire(exclusive=True)
    ready.set()
    time.sleep(60)


# What is left


def test_nothing_is_left_of_locks_without_a_name():
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    before, files = descriptors(), set(os.listdir("/dev/shm"))
    locks = [xctx.SharedLock() for _ in range(20)]
    for lock in locks:
        with lock.exclusive():
            pass
    assert not [name for name in set(os.listdir("/dev/shm")) - files if "xctx-lock" in name]
    del locks, lock
    assert descriptors() == before
