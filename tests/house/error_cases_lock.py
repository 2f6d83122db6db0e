"""What locks raise: see error_cases."""

import asyncio
import contextlib
import os
import signal
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers.waiting import LONG

import xctx
from xctx._lock import names
from xctx._lock.mappings import use_file


def held(call, *, exclusive=False, kind=xctx.SharedLock):
    """Calls with a lock that this unit holds."""

    def cause():
        lock = kind()
        lock.acquire(exclusive)
        try:
            call(lock)
        finally:
            lock.release()

    return cause


@contextlib.contextmanager
def directory():
    """A directory of this test's own for the files of locks."""
    usual = names.directory
    with tempfile.TemporaryDirectory() as parent:
        place = Path(parent) / "locks"
        place.mkdir(mode=0o700)
        names.directory = lambda: str(place)
        try:
            yield place
        finally:
            names.directory = usual


def in_directory(prepare):
    def cause():
        with directory() as place:
            prepare(place)
            with contextlib.ExitStack() as users:
                for path in [] if place.is_symlink() else place.glob("*[a-z]"):
                    use_file(users.enter_context(open(path, "rb+")).fileno(), False)  # or it is cleaned away
                xctx.SharedLock("name")

    return cause


def file(place, name="name", content=b"", mode=0o600):
    path = place / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def linked_directory(place):
    place.rmdir()
    place.symlink_to(tempfile.gettempdir())


def owner_died():
    lock = xctx.SharedLock()
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        lock.acquire(exclusive=True)
        os.write(write_end, b"x")
        os.kill(os.getpid(), signal.SIGKILL)
    os.read(read_end, 1)
    os.waitpid(child, 0)
    os.close(read_end)
    os.close(write_end)
    with warnings.catch_warnings():
        warnings.simplefilter("error", xctx.OwnerDiedWarning)
        lock.acquire()


def while_upgrading(call):
    """Calls while another thread, which is the same unit, waits to upgrade."""

    def cause():
        lock = xctx.SharedLock(key=xctx.keys.process)
        read_end, write_end = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            signal.alarm(60)
            lock.acquire()
            os.write(write_end, b"x")
            signal.pause()
        os.read(read_end, 1)
        lock.acquire_upgradable()
        waiter = threading.Thread(target=lock.upgrade)
        waiter.start()
        try:
            end = time.monotonic() + LONG
            while time.monotonic() < end:  # until the other is at it
                time.sleep(0.01)
                call(lock)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            waiter.join()
            lock.release()
            os.close(read_end)
            os.close(write_end)

    return cause


def initialised_again():
    lock = xctx.SharedLock()
    lock.__init__()


def waits_without_a_loop():
    lock = xctx.SharedLock()
    lock.acquire(exclusive=True)
    raised = []

    def wait():
        try:
            lock.acquire_async(exclusive=True).send(None)
        except RuntimeError as error:
            raised.append(error)

    try:
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    finally:
        lock.release()
    raise raised[0]


def uninitialised():
    xctx.SharedLock.__new__(xctx.SharedLock).acquire()


def removed():
    with tempfile.TemporaryDirectory() as place:
        lock = xctx.SharedLock.at(os.path.join(place, "lock"))
        os.unlink(lock.path)
        lock.acquire()


def network():
    before, names.file_system = names.file_system, lambda path: "nfs"
    try:
        with tempfile.NamedTemporaryFile() as place:
            xctx.SharedLock.at(place.name)
    finally:
        names.file_system = before


def no_place():
    before, names.PARENTS = names.PARENTS, ("/nowhere",)
    try:
        xctx.SharedLock("name")
    finally:
        names.PARENTS = before


def run_in_thread(main):
    """In a thread without a hub, which an earlier test may have left in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(main())).result(LONG)


def two_tasks():
    lock = xctx.SharedLock()

    async def hold():
        with lock.exclusive():
            await asyncio.sleep(0.01)

    async def main():
        await asyncio.gather(hold(), hold())

    run_in_thread(main)


def task_that_blocks_while_it_waits():
    """Two tasks that are one unit: the second waits without awaiting."""
    lock = xctx.SharedLock(key=xctx.keys.thread)
    held, leave = threading.Event(), threading.Event()

    def hold():
        with lock.exclusive():
            held.set()
            leave.wait(LONG)

    async def main():
        waiter = asyncio.create_task(lock.acquire_async())
        await asyncio.sleep(0.01)
        try:
            lock.acquire()
        finally:
            leave.set()
            await waiter
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(LONG)
    try:
        run_in_thread(main)
    finally:
        leave.set()
        thread.join()


def asked_elsewhere():
    lock = xctx.SharedLock()
    asked = []
    thread = threading.Thread(target=lambda: asked.append(lock.acquire_async()))
    thread.start()
    thread.join()
    asyncio.run(asked[0])


def asked_by_one_that_ended():
    lock = xctx.SharedLock()

    async def ask():
        return lock.acquire_async()

    async def main():
        await (await asyncio.create_task(ask()))

    asyncio.run(main())


def in_vain():
    lock = xctx.SharedLock()

    def wait():
        try:
            lock.shared(timeout=0.01).__enter__()
        except TimeoutError as error:
            raised.append(error)

    raised = []
    with lock.exclusive():
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    raise raised[0]


UPGRADING = "several threads are the unit, and one of them waits to upgrade"
NAMED = "``SharedLock(name)``"

LOCKS = [
    (
        ValueError,
        "lock released too many times: this unit does not hold it",
        "``release`` without ``acquire``, or in another unit",
        lambda: xctx.SharedLock().release(),
    ),
    (
        ValueError,
        "Lock not re-entrant: this unit holds it …",
        "a ``SharedLock`` is acquired by a unit that holds it",
        held(lambda lock: lock.acquire()),
    ),
    (
        ValueError,
        "Cannot upgrade a shared lock to an exclusive lock: two who try wait for each other. Acquire it "
        "upgradable, or exclusive",
        "a unit that holds the lock shared acquires it exclusively",
        held(lambda lock: lock.acquire(exclusive=True), kind=xctx.SharedRLock),
    ),
    (
        ValueError,
        "only from upgradable is a lock upgraded; this unit holds it …",
        "``upgrade``",
        held(lambda lock: lock.upgrade()),
    ),
    (
        ValueError,
        "cannot downgrade to …: this unit holds the lock …",
        "``downgrade``",
        held(lambda lock: lock.downgrade()),
    ),
    (
        ValueError,
        "can't specify a timeout for a non-blocking call",
        "``acquire(blocking=False, timeout=1)``",
        lambda: xctx.SharedLock().acquire(blocking=False, timeout=1),
    ),
    (
        ValueError,
        "a timeout is a number of seconds, or -1, not …",
        "``acquire(timeout=-2)``",
        lambda: xctx.SharedLock().acquire(timeout=-2),
    ),
    (
        ValueError,
        "a lock is held by something that runs: under the key … there is no such thing",
        "``SharedLock(key=keys.context)``",
        lambda: xctx.SharedLock(key=xctx.keys.context),
    ),
    (
        ValueError,
        "this unit is upgrading the lock already",
        UPGRADING,
        while_upgrading(lambda lock: lock.upgrade(False)),
    ),
    (
        ValueError,
        "this unit is upgrading the lock at this moment: it cannot be released",
        "likewise",
        while_upgrading(lambda lock: lock.release()),
    ),
    (
        ValueError,
        "this unit is upgrading the lock at this moment: it cannot be downgraded",
        "likewise",
        while_upgrading(lambda lock: lock.downgrade()),
    ),
    (TypeError, "a lock's name is a str, not …", NAMED, lambda: xctx.SharedLock(1)),
    (
        ValueError,
        "… cannot name a lock: up to 200 bytes, no '/', and no '.' at the start, were wanted",
        NAMED,
        lambda: xctx.SharedLock("a/b"),
    ),
    (
        PermissionError,
        "… is no directory of this user's own, so no lock is opened there",
        "the place of the locks is a link, or a file",
        in_directory(linked_directory),
    ),
    (
        PermissionError,
        "… is another user's, or open to others, so no lock is opened there",
        "the directory of the locks is one of these",
        in_directory(lambda place: place.chmod(0o755)),
    ),
    (
        PermissionError,
        "the lock … is a link, which is never followed",
        "the file of that name is a link",
        in_directory(lambda place: (place / "name").symlink_to(file(place, "other"))),
    ),
    (
        PermissionError,
        "the file of the lock … has a second name, a hard link",
        "the file of that name has one",
        in_directory(lambda place: (place / "second").hardlink_to(file(place))),
    ),
    (
        ValueError,
        "the file of the lock … is something else, or the lock of another version of xctx",
        "the file of that name is no lock's, or one of another version",
        in_directory(lambda place: file(place, content=b"something else")),
    ),
    (
        PermissionError,
        "there is no directory for the locks of user …: … cannot be written",
        "this user may write to neither ``/dev/shm`` nor ``/tmp``",
        no_place,
    ),
    (
        FileNotFoundError,
        "the file of this lock, …, was removed while it was used: others who open it get another lock, "
        "so this one is of no "
        "use any more",
        "``acquire``, ``release`` by a writer, and each wait, after another program has removed the file",
        removed,
    ),
    (
        OSError,
        "… is on a file system of the network (…), where processes of several machines would not see "
        "each other's locks",
        "``SharedLock.at(path)``",
        network,
    ),
    (ValueError, "… is no regular file, so no lock", "``SharedLock.at(path)``", lambda: xctx.SharedLock.at(os.devnull)),
    (
        ValueError,
        "on_death is 'warn', 'raise' or 'ignore', not …",
        "``SharedLock(on_death=…)``",
        lambda: xctx.SharedLock(on_death="cry"),
    ),
    (
        ValueError,
        "only a unit that holds the lock exclusively can say that all is mended; this one holds it …",
        "``mark_consistent``",
        held(lambda lock: lock.mark_consistent()),
    ),
    (
        TimeoutError,
        "the lock was not free to hold it … within … s",
        "``with lock.exclusive(timeout=…)``",
        in_vain,
    ),
    (
        RuntimeError,
        "this wait could not end: another task of this event loop has the lock, and would not go on "
        "while this one waits. Wait "
        "with `async with`, or await acquire_async()",
        "a task waits without awaiting",
        two_tasks,
    ),
    (
        RuntimeError,
        "this unit waits for the lock already, in a task or greenlet of this thread that could not go "
        "on while this code waits "
        "as well",
        "likewise, where both tasks are one unit",
        task_that_blocks_while_it_waits,
    ),
    (
        RuntimeError,
        "this was asked for in another thread, whose unit would hold the lock: ask for it in a "
        "coroutine that runs here",
        "what ``acquire_async`` gave in one thread is awaited in another",
        asked_elsewhere,
    ),
    (
        RuntimeError,
        "the task that asked for the lock has ended: nobody is left to hold it",
        "what ``acquire_async`` gave is awaited after the end of the task that called it",
        asked_by_one_that_ended,
    ),
    (RuntimeError, "a lock is initialised once", "``__init__`` is called again", initialised_again),
    (
        RuntimeError,
        "this lock was not initialised: a subclass calls super().__init__()",
        "a subclass leaves it out",
        uninitialised,
    ),
    (
        RuntimeError,
        "a task waits in an asyncio event loop, and none is running here",
        "``acquire_async`` has to wait, where it is not awaited by a task of asyncio's",
        waits_without_a_loop,
    ),
    (
        xctx.OwnerDiedWarning,
        "one who held this lock exclusively died: what it guards may be half-written",
        "a warning; an exception where the program makes one of it, and then the lock is not acquired",
        owner_died,
    ),
]

LEFT_OUT = {
    "no room for the handlers of forks and of the end": "no memory is left while xctx is imported",
    "locks between processes are not known to xctx on this system": "not on systems that the tests run on",
    "…: this process has a descriptor for each of its locks, and may have no more (RLIMIT_NOFILE)": "takes a "
    "process that has none left: test_lock_trust.py",
    "a lock without a name has not arrived: the interpreter that sent it had let go of it by then, or closed its "
    "descriptor": "the cause of a NotShareableError, from Python 3.14 on: test_lock_interpreters.py",
    "the program closed the descriptor of this lock, so it cannot go to another interpreter": "likewise",
    "all … rows of this lock are taken by other processes": "tens of thousands of processes use one lock",
    "this wait could not end: another greenlet of this thread, or task of trio's, has the lock, and would not go on "
    "while this one waits": "takes greenlet or trio: test_lock_trust.py",
    "a greenlet of eventlet cannot wait for a lock: xctx does not know eventlet's hub, so no other greenlet of this "
    "thread would run meanwhile. Use the lock in a function that eventlet.tpool.execute calls, or acquire it with "
    "blocking=False": "takes eventlet: test_lock_eventlet.py",
    "deadlock: …, held by the first": "takes two units, and a second: test_lock_cycles.py",
    "this process closed the lock's descriptor, so others take it for dead: it does not hold the lock, and cannot get "
    "it": "on overlayfs alone: test_lock_trust.py",
    "this process, which was forked since the lock was opened, may not open the file of the lock …": "takes a child "
    "that has changed its user: test_lock_trust.py",
    "the file of the lock … is another user's, or none": "takes another user: test_lock_names.py",
    "… cannot be locked: another program has locked its first byte": "no program does",
    "forked while a task was waiting for the lock: the child does not wait on": "in a child, in the midst of a wait",
    "forked while it was waiting to upgrade: the child does not hold the lock": "in a child, in the midst of a wait",
}
