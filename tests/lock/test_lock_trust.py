"""What an operator relies on, whatever happens to descriptors, files, processes and threads."""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from lock_child import LONG, SOON, Child, eventually

import xctx
from xctx._lock import names as lock_names

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks are for Linux")
NAMED = pytest.mark.parametrize("named", [False, True], ids=["anonymous", "named"])
MODES = pytest.mark.parametrize("mode", ["shared", "upgradable", "exclusive"])


@pytest.fixture
def make(named, tmp_path, monkeypatch):
    monkeypatch.setattr(lock_names, "directory", lambda: str(tmp_path / "locks"))
    return lambda: xctx.SharedLock("a" if named else None)


def take(lock, mode, seconds=LONG):
    if mode == "upgradable":
        return lock.acquire_upgradable(timeout=seconds)
    return lock.acquire(mode == "exclusive", timeout=seconds)


def close_all(child):
    for fd in range(3, 200):
        if fd not in (child.get, child.put):
            with contextlib.suppress(OSError):
                os.close(fd)


def in_thread(function):
    done = []
    thread = threading.Thread(target=lambda: done.append(function()))
    thread.start()
    thread.join(LONG)
    assert done, "the other thread hangs, or raised"
    return done[0]


# Closed descriptors


@NAMED
@MODES
@pytest.mark.parametrize("when", ["before it holds", "while it holds"])
def test_one_that_closed_its_descriptors_excludes_others_and_is_excluded(make, mode, when):
    lock = make()

    def work(child):
        with lock:
            pass
        if when == "while it holds":
            assert take(lock, mode)
        close_all(child)
        if when == "before it holds":
            assert take(lock, mode)
        child.say("held")
        child.hear()
        lock.release()
        child.say("released")
        child.hear()

    with Child(work) as child:
        assert child.hear() == "held"
        assert not lock.acquire(exclusive=True, timeout=0.3)
        assert [holder[:2] for holder in lock.holders()] == [(mode, child.pid)]
        child.say()
        assert child.hear() == "released"
        assert take(lock, "exclusive", SOON)
        lock.release()
        child.say()
        assert child.wait() == 0
    assert not lock.owner_died


@MODES
def test_one_that_closed_its_descriptors_and_is_killed_gives_back(mode):
    lock = xctx.SharedLock()

    def work(child):
        with lock:
            pass
        close_all(child)
        assert take(lock, mode)
        child.say("held")
        child.hear()

    with Child(work) as child:
        assert child.hear() == "held"
        child.kill()
        child.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert take(lock, "exclusive", SOON)
        lock.release()
        assert lock.owner_died == (mode == "exclusive")


def test_one_that_closed_its_descriptors_and_has_to_wait_is_told_why_it_cannot():
    """It would never find out that the holder was killed."""
    lock = xctx.SharedLock()

    def work(child):
        with lock:
            pass
        close_all(child)
        child.say("closed")
        child.hear()
        with pytest.raises(OSError, match="closed the descriptor"):
            lock.acquire()
        assert lock.mode is None
        child.say("told")

    with Child(work) as child:
        assert child.hear() == "closed"
        with lock.exclusive():
            child.say()
            assert child.hear() == "told"
            assert child.wait() == 0
        assert lock.waiters == 0


@NAMED
def test_descriptors_of_others_are_neither_locked_nor_closed(make, tmp_path):
    lock = make()

    def work(child):
        close_all(child)
        for number in range(100):
            os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT)
        with contextlib.suppress(OSError):
            lock.acquire()
        del child.lock
        gc.collect()
        for fd in range(10, 90):
            os.fstat(fd)

    with lock:
        with Child(lambda child: (setattr(child, "lock", lock), work(child))) as child:
            assert child.wait() == 0


@NAMED
def test_a_lock_has_one_descriptor(make):
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    lock = make()
    for mode in ("shared", "upgradable", "exclusive"):
        assert take(lock, mode)
        assert count() == before + 1
        lock.release()
    assert in_thread(lambda: (take(lock, "shared"), lock.release(), count())[2]) == before + 1
    with Child(lambda child: (take(lock, "shared"), child.say(str(count())))) as child:
        assert int(child.hear()) <= before + 5  # its own pipes
    del lock
    assert count() == before


@NAMED
def test_a_process_that_has_no_descriptor_left(make, tmp_path):
    lock = make()

    def work(child):
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with contextlib.suppress(OSError):
            while True:
                os.dup(0)
        with pytest.raises(OSError, match="Too many open files"):
            lock.acquire()
        for open_another in (
            xctx.SharedLock,
            lambda: xctx.SharedLock("another"),
            lambda: xctx.SharedLock.at(tmp_path / "another"),
        ):
            with pytest.raises(OSError, match="Too many open files: this process has a descriptor for each") as error:
                open_another()
            assert error.value.errno == errno.EMFILE

    with Child(work) as child:
        assert child.wait() == 0
    with lock.exclusive():
        pass


# Files


def test_holders_of_a_lock_whose_file_was_removed_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_names, "directory", lambda: str(tmp_path / "locks"))
    lock = xctx.SharedLock("a")
    waiting = []

    def wait():
        try:
            lock.acquire(timeout=LONG)
        except FileNotFoundError as error:
            waiting.append(error)

    lock.acquire(exclusive=True)
    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: lock.waiters)
    os.unlink(lock.path)
    other = xctx.SharedLock("a")
    assert other.acquire(exclusive=True, blocking=False)
    time.sleep(0.02)  # it looks once in ten milliseconds
    with pytest.raises(FileNotFoundError, match="was removed"):
        lock.release()
    thread.join(LONG)
    assert waiting
    for use in (lock.acquire, lambda: lock.acquire(True, False), lock.acquire_upgradable, lock.exclusive().__enter__):
        with pytest.raises(FileNotFoundError, match="was removed"):
            use()
        assert lock.mode is None
    other.release()
    with other:
        pass
    del lock
    assert Path(other.path).exists()


OVERLAY = """
mount -t tmpfs none /mnt && cd /mnt && mkdir lower upper work merged &&
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
"""
LOSER = """
import os, sys
import xctx
from lock_child import Child, eventually
how = sys.argv[1]
lock = xctx.SharedLock.at("/mnt/merged/lock", on_death="ignore")

def lose(child):
    child.put = os.dup2(child.put, 200)
    if how in ("exclusive", "shared", "upgradable"):
        {"exclusive": lambda: lock.acquire(True), "shared": lock.acquire, "upgradable": lock.acquire_upgradable}[how]()
    else:
        lock.acquire()
        lock.release()
    child.say("ready")
    child.hear()
    if how == "waits":
        # What others take it for, it finds out when it looks again.
        from threading import Timer
        Timer(0.2, os.closerange, (3, 200)).start()
    else:
        os.closerange(3, 200)
        child.say("closed")
        os.read(0, 1)
    uses = {
        "exclusive": [lock.mark_consistent, lock.release, lock.acquire],
        "shared": [lock.release, lock.acquire],
        "upgradable": [lock.upgrade, lock.downgrade, lock.release],
        "waits": [lambda: lock.acquire(True)],
        "idle": [lock.acquire, lambda: lock.acquire(True), lock.acquire_upgradable, lock.exclusive().__enter__],
    }[how]
    for use in uses:
        try:
            use()
            child.say("no error")
        except (RuntimeError, OSError) as error:
            child.say(str(error))
    child.say("end")
    os.read(0, 1)

go, put = os.pipe()
os.dup2(go, 0)
with Child(lose) as child:
    assert child.hear() == "ready"
    if how == "waits":
        lock.acquire()
        child.say()
    else:
        child.say()
        assert child.hear() == "closed"
        # It counts as dead, and its row is this process's from now on.
        assert lock.acquire(exclusive=how != "idle", timeout=10)
        os.write(put, b"1")
    while (said := child.hear()) not in ("end", ""):
        print(said)
    assert [holder[1] for holder in lock.holders()] == [os.getpid()], lock.holders()
    assert not lock.acquire_upgradable(timeout=0) if lock.mode is None else True
    lock.release()
    assert lock.acquire(exclusive=True, timeout=10)
    lock.release()
    assert lock.holders() == [] and lock.waiters == 0
"""


def test_readers_of_a_lock_whose_file_was_removed_are_told(tmp_path, monkeypatch):
    """Where nobody writes or waits, who would find out for them."""
    monkeypatch.setattr(lock_names, "directory", lambda: str(tmp_path / "locks"))
    lock = xctx.SharedLock("a")
    for _ in range(40):
        with lock:
            pass
    os.unlink(lock.path)
    time.sleep(0.02)  # it looks once in ten milliseconds
    with pytest.raises(FileNotFoundError, match="was removed"):
        for _ in range(16):
            with lock:
                pass
    assert lock.mode is None


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="takes root and unshare")
@pytest.mark.parametrize("how", ["exclusive", "shared", "upgradable", "waits", "idle"])
def test_one_that_counts_as_dead_is_told_and_does_the_others_no_harm(how):
    """On a file system on which a process counts as dead once it has closed its descriptors."""
    if subprocess.run(["unshare", "-m", "sh", "-c", OVERLAY], capture_output=True).returncode:
        pytest.skip("this root may not mount")
    done = subprocess.run(
        [*("unshare", "-m", "sh", "-c", OVERLAY + 'exec "$0" -W ignore -c "$1" "$2"', sys.executable), LOSER, how],
        capture_output=True,
        text=True,
        timeout=2 * LONG,
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__) + os.pathsep + os.path.dirname(xctx.__path__[0])},
    )
    assert (done.stderr, done.returncode) == ("", 0)
    told = done.stdout.splitlines()
    assert told
    assert all(line.startswith("this process closed the lock's descriptor") for line in told)


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="takes root and unshare")
@pytest.mark.parametrize("at", ["open", "thread"])
def test_a_full_file_system_is_an_error_and_not_the_end(at):
    prepare = "mount -t tmpfs -o size=16k tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", prepare], capture_output=True).returncode:
        pytest.skip("this root may not mount")
    program = {
        "open": """
open("/dev/shm/full", "wb").write(bytes(16384))
try:
    xctx.SharedLock("full")
except OSError as error:
    print(error.strerror)
""",
        "thread": """
lock = xctx.SharedLock("full")
open("/dev/shm/full", "wb").write(bytes(8192))
count, stay, done = 0, threading.Event(), threading.Semaphore(0)
found = set()
def work():
    try:
        with lock:
            pass
    except OSError as error:
        found.add(error.strerror)
    done.release()
    stay.wait()
for process in range(4):
    if os.fork() == 0:
        for _ in range(20):
            threading.Thread(target=work).start()
            done.acquire()
        print(*found, flush=True)
        os._exit(0)
    os.wait()
""",
    }[at]
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c", prepare + ' && exec "$0" -W ignore -c "$1"', sys.executable),
            "import os, threading, xctx\n" + program,
        ],
        capture_output=True,
        text=True,
        timeout=6 * LONG,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split("\n")) <= {"No space left on device", ""}
    assert "No space" in done.stdout or at == "thread"


def test_a_lock_at_a_path(tmp_path):
    path = tmp_path / "shared.lock"
    with pytest.raises(FileNotFoundError):
        xctx.SharedLock.at(path, create=False)
    lock = xctx.SharedRLock.at(path, mode=0o660)
    assert path.stat().st_mode & 0o777 == 0o660
    assert (lock.path, lock.name) == (str(path), None)
    again = xctx.SharedRLock.at(str(path), create=False)
    with lock.exclusive(), again.exclusive():
        assert lock.count == 2
        with Child(lambda child: child.say(str(xctx.SharedLock.at(path).acquire(blocking=False)))) as child:
            assert child.hear() == "False"
    del lock, again
    assert path.exists()
    path.write_text("x" * 10000)
    with pytest.raises(ValueError, match="something else"):
        xctx.SharedLock.at(path)
    (tmp_path / "short").write_text("x")
    with pytest.raises(ValueError, match="something else"):
        xctx.SharedLock.at(tmp_path / "short")
    with pytest.raises(IsADirectoryError):
        xctx.SharedLock.at(tmp_path)


def test_a_file_system_of_the_network_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_names, "file_system", lambda path: "nfs4")
    with pytest.raises(OSError, match="network"):
        xctx.SharedLock.at(tmp_path / "lock")


def test_rights_that_a_process_gives_up_are_not_needed_later(tmp_path, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root gives up rights")
    monkeypatch.setattr(lock_names, "directory", lambda: str(tmp_path / "locks"))
    lock = xctx.SharedLock("a")

    def work(child):
        os.setgid(12345)
        os.setuid(12345)
        with Child(lambda inner: (take(lock, "exclusive"), inner.say("held"), inner.hear())) as inner:
            assert inner.hear() == "held"
            assert not lock.acquire(timeout=0.1)
            inner.kill()
            inner.wait()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert take(lock, "shared", SOON)

    with Child(work) as child:
        assert child.wait() == 0
    assert lock.owner_died


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
@pytest.mark.parametrize("kind", ["anonymous", "named", "path", "closed path"])
def test_a_child_that_is_forked_after_its_parent_gave_up_rights(tmp_path, monkeypatch, kind):
    """It opens the file anew; where the file is closed to it, it is told so. Its parent goes on as before."""
    monkeypatch.setattr(lock_names, "directory", lambda: str(tmp_path / "locks"))
    if kind.endswith("path"):
        lock = xctx.SharedLock.at(tmp_path / "lock", mode=0o600 if kind == "closed path" else 0o666)
    else:
        lock = xctx.SharedLock("a" if kind == "named" else None)

    def use(child):
        with lock.exclusive():
            child.say("has it")

    def use_in_vain(child):
        for _ in range(2):
            with pytest.raises(PermissionError, match=r"may not open the file of the lock '.*lock'"):
                lock.acquire()
        child.say("is told")

    def work(child):
        with lock:
            pass
        os.setgid(12345)
        os.setuid(12345)
        threads_of_its_own = [in_thread(lambda: lock.acquire(exclusive=True)) for _ in range(3)]
        assert threads_of_its_own == [True] * 3  # each ends, and so gives back what it has
        with Child(use_in_vain if kind == "closed path" else use) as inner:
            child.say(inner.hear())
            assert inner.wait() == 0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Child(work) as child:
            assert child.hear() == ("is told" if kind == "closed path" else "has it")
            assert child.wait() == 0


# Many


def test_a_table_that_grows_while_it_is_used():
    lock = xctx.SharedLock()

    def work(child):
        stay, done = threading.Event(), threading.Semaphore(0)

        def use():
            lock.acquire()
            done.release()
            stay.wait()

        threads = [threading.Thread(target=use, daemon=True) for _ in range(40)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert done.acquire(timeout=LONG)
        child.say("held")
        child.hear()

    children = [Child(work) for _ in range(20)]
    with contextlib.ExitStack() as stack:
        for child in children:
            stack.enter_context(child)
            assert child.hear() == "held"
        assert lock.readers == 800
        assert len(lock.holders()) == 20 * 32
        assert not lock.acquire(exclusive=True, timeout=0.01)
        for child in children:
            child.kill()
    assert take(lock, "exclusive", LONG)
    lock.release()
    assert lock.holders() == []


# Waiters that do not follow up


@pytest.mark.parametrize("upgrades", [False, True])
@pytest.mark.parametrize("wants", ["shared", "upgradable"])
def test_a_stopped_process_that_only_waits_is_passed_over_and_finds_out(upgrades, wants):
    lock = xctx.SharedLock()

    def work(child):
        if upgrades:
            assert lock.acquire_upgradable()
            child.say("waits")
            assert lock.upgrade(timeout=LONG)
        else:
            child.say("waits")
            assert take(lock, "exclusive")
        assert [holder[0] for holder in lock.holders()] == ["exclusive"]
        child.say("has it")
        child.hear()

    reader = xctx.SharedLock.acquire
    reader(lock)
    with Child(work) as child:
        assert child.hear() == "waits"
        eventually(lambda: in_thread(lambda: not lock.acquire(blocking=False)))
        child.kill(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        lock.release()
        if upgrades and wants == "upgradable":
            assert not take(lock, wants, 0.3)  # it holds it upgradable, stopped or not
            assert take(lock, "shared", SOON)
        else:
            assert take(lock, wants, SOON)
        child.kill(signal.SIGCONT)
        assert child.says_nothing(0.2)
        lock.release()
        assert child.hear() == "has it"
        assert not lock.acquire(blocking=False)
        child.say()
        assert child.wait() == 0


# Signal handlers and finalisers


def without_hub():
    """In a child: forgets the hub that an earlier test left in this thread, in which it would wait otherwise."""
    local = sys.modules.get("gevent._hub_local")
    if local is not None:
        local.set_hub(None)


@pytest.mark.parametrize("kind", [xctx.SharedLock, xctx.SharedRLock])
@pytest.mark.parametrize("outer", ["shared", "exclusive", "upgrade"])
@pytest.mark.parametrize("inner", ["shared", "exclusive"])
def test_a_signal_handler_takes_the_lock_that_its_thread_waits_for(kind, outer, inner):
    lock = kind()

    def work(child):
        without_hub()
        events = []

        def handler(number, frame):
            child.say("handles")
            try:
                with lock.exclusive() if inner == "exclusive" else lock:
                    events.append(lock.mode)
            except ValueError as error:
                events.append(str(error)[:4])

        signal.signal(signal.SIGUSR1, handler)
        if outer == "upgrade":
            lock.acquire_upgradable()
        child.say("waits")
        assert lock.upgrade() if outer == "upgrade" else take(lock, outer)
        events.append(lock.mode)
        lock.release()
        assert (lock.mode, lock.count) == (None, 0)
        child.say(" ".join(events))

    expected = f"{inner} {'exclusive' if outer == 'upgrade' else outer}"
    if outer == "upgrade":
        expected = "Lock exclusive" if kind is xctx.SharedLock else "upgradable exclusive"
        if kind is xctx.SharedRLock and inner == "exclusive":
            expected = "exclusive exclusive"
    assert take(lock, "shared" if outer == "upgrade" else "exclusive")
    with Child(work) as child:
        assert child.hear() == "waits"
        eventually(lambda: lock.waiters)
        child.kill(signal.SIGUSR1)
        assert child.hear() == "handles"
        assert child.says_nothing()
        lock.release()
        assert child.hear() == expected
        assert child.wait() == 0
    assert (lock.holders(), lock.waiters) == ([], 0)


@pytest.mark.parametrize("wanted", ["shared", "exclusive"])
@pytest.mark.parametrize("kind", [xctx.SharedLock, xctx.SharedRLock], ids=lambda kind: kind.__name__)
def test_a_handler_that_runs_while_its_thread_holds_the_lock_waits_for_nothing(kind, wanted):
    """As code of the same unit: there is nobody who could let it go on."""
    lock, seen = kind(), []

    def handler(number, frame):
        try:
            with getattr(lock, wanted)():
                seen.append(lock.count)
        except ValueError as exc:
            seen.append(str(exc))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with lock.exclusive():
            signal.raise_signal(signal.SIGUSR1)
            assert lock.count == 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ([2] if kind is xctx.SharedRLock else ["Lock not re-entrant: this unit holds it exclusive"])
    assert not lock.locked()


def test_a_handler_that_keeps_the_lock():
    """The wait beneath finds that its unit holds the lock by now."""
    lock = xctx.SharedLock()

    def work(child):
        without_hub()
        signal.signal(signal.SIGUSR1, lambda *_: (child.say("handles"), lock.acquire(exclusive=True)))
        child.say("waits")
        with pytest.raises(ValueError, match="re-entrant"):
            lock.acquire(exclusive=True)
        assert (lock.mode, lock.count) == ("exclusive", 1)
        lock.release()

    assert lock.acquire(exclusive=True)  # before the child looks
    with Child(work) as child:
        assert child.hear() == "waits"
        eventually(lambda: lock.waiters)
        child.kill(signal.SIGUSR1)
        assert child.hear() == "handles"
        lock.release()
        assert child.wait() == 0
    assert lock.holders() == []


def test_a_handler_in_a_greenlet_that_waits_in_the_queue():
    gevent = pytest.importorskip("gevent")
    lock = xctx.SharedLock()

    def work(child):
        taken = []

        def handler(number, frame):
            taken.append(lock.acquire(exclusive=True, timeout=0.01))

        signal.signal(signal.SIGUSR1, handler)
        waiters = [gevent.spawn(lock.acquire, True) for _ in range(3)]
        eventually(lambda: lock.waiters == 3, pause=gevent.sleep)
        child.say("waits")
        for waiter in waiters:
            waiter.join(LONG)
        assert taken == [False]

    with lock.exclusive():
        child = Child(work)
        assert child.hear() == "waits"
        child.kill(signal.SIGUSR1)
        assert child.says_nothing(0.3)
    with child:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert child.wait() == 0


# Waits that cannot end


def test_a_plain_block_in_a_task_that_waits_for_another_task_of_its_loop():
    lock = xctx.SharedLock()

    async def hold(exclusive):
        with lock.exclusive() if exclusive else lock:
            await asyncio.sleep(0.01)
        return "done"

    async def main():
        for first, second in ((True, True), (True, False), (False, True)):
            found = await asyncio.gather(hold(first), hold(second), return_exceptions=True)
            assert found[0] == "done"
            assert "async with" in str(found[1])
            assert isinstance(found[1], RuntimeError)
            assert lock.holders() == []
        async with lock.exclusive():
            assert not await asyncio.create_task(asyncio.to_thread(lock.acquire, timeout=0.01))
        return True

    assert in_thread(lambda: asyncio.run(asyncio.wait_for(main(), LONG)))  # where no hub is


def test_a_plain_block_in_a_task_beside_a_hub():
    """The thread has a hub, in which the wait would stop the loop for ever; but another thread is waited for."""
    gevent = pytest.importorskip("gevent")
    lock = xctx.SharedLock()

    async def hold(exclusive):
        with lock.exclusive() if exclusive else lock:
            await asyncio.sleep(0.01)
        return "done"

    async def upgrade():
        with lock.upgradable():
            await asyncio.sleep(0)
            lock.upgrade()

    async def main():
        for first, second in ((True, True), (True, False), (False, True)):
            found = await asyncio.gather(hold(first), hold(second), return_exceptions=True)
            assert found[0] == "done"
            assert "async with" in str(found[1])
        found = await asyncio.gather(upgrade(), hold(False), return_exceptions=True)
        assert "async with" in str(found[0])
        assert found[1] == "done"
        assert lock.holders() == []

        held = threading.Event()

        def hold_in_thread():
            with lock.exclusive():
                held.set()
                time.sleep(0.01)

        thread = threading.Thread(target=hold_in_thread)
        thread.start()
        held.wait(LONG)
        assert await hold(True) == "done"
        thread.join(LONG)
        return True

    def run():
        gevent.get_hub()
        try:
            return asyncio.run(asyncio.wait_for(main(), LONG))
        finally:
            gevent.get_hub().destroy()

    assert in_thread(run)


def test_greenlets_without_a_hub():
    greenlet = pytest.importorskip("greenlet")
    lock = xctx.SharedLock()

    def hold():
        with lock.exclusive():
            greenlet.getcurrent().parent.switch()

    def work():
        holder = greenlet.greenlet(hold)
        holder.switch()
        with pytest.raises(RuntimeError, match="another greenlet of this thread"):
            lock.acquire()
        assert not lock.acquire(timeout=0.01)
        holder.switch()
        with lock:
            return True

    assert in_thread(work)


def test_a_plain_block_in_a_task_of_trio():
    trio = pytest.importorskip("trio")
    lock = xctx.SharedLock()
    told = []

    async def hold():
        try:
            with lock.exclusive():
                await trio.sleep(0.01)
        except RuntimeError as error:
            told.append(str(error))

    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(hold)

    in_thread(lambda: (trio.run(main), True))  # where no hub is
    assert len(told) == 1
    assert "trio" in told[0]
    assert lock.holders() == []


# Who holds it


@pytest.mark.parametrize("how", ["wait_for", "gather", "shield", "create_task"])
def test_the_task_that_asked_holds_the_lock_whichever_task_waits(how):
    lock = xctx.SharedLock()

    async def another():
        return await lock.acquire_async(timeout=0)

    async def main():
        asked = lock.acquire_async(exclusive=True)
        if how == "wait_for":
            assert await asyncio.wait_for(asked, LONG)
        elif how == "gather":
            assert await asyncio.gather(asked) == [True]
        elif how == "shield":
            assert await asyncio.shield(asked)
        else:
            assert await asyncio.create_task(asked)
        assert lock.mode == "exclusive"
        assert not await asyncio.create_task(another())
        with pytest.raises(ValueError, match="re-entrant"):
            await asyncio.create_task(lock.acquire_async())
        assert not await asyncio.create_task(lock.acquire_async(timeout=0))
        with pytest.raises(ValueError, match="re-entrant"):
            await lock.acquire_async(timeout=0)
        lock.release()
        async with asyncio.timeout(LONG):
            async with lock.exclusive(timeout=1):
                assert lock.mode == "exclusive"
                with pytest.raises(TimeoutError):
                    await asyncio.create_task(block())

    async def block():
        async with lock.shared(timeout=0.01):
            pass

    asyncio.run(main())
    assert (lock.holders(), lock.owner_died) == ([], False)


def test_a_unit_that_awaits_for_another_thread_or_an_ended_task_gets_an_error():
    lock = xctx.SharedLock()

    async def main():
        asked = in_thread(lambda: lock.acquire_async(exclusive=True))
        with pytest.raises(RuntimeError, match="another thread"):
            await asked

        async def ask():
            return lock.acquire_async(exclusive=True)

        task = asyncio.create_task(ask())
        asked = await task
        del task
        gc.collect()
        with pytest.raises(RuntimeError, match="has ended"):
            await asked

    asyncio.run(main())
    assert (lock.holders(), lock.owner_died) == ([], False)
