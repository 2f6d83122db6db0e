"""Locks: uncontended beside threading.Lock and multiprocessing_utils, and loads from several processes.

The loads from processes are no case of the harness: each is a number of processes that all do the same for a while.
Run:

    python -m benchmarks.bench_lock
"""

import mmap
import multiprocessing
import os
import random
import struct
import sys
import tempfile
import threading
import time

import xctx
from benchmarks.harness import Case, Contender

TURN_SECONDS = 0.4
TURNS = 5


def peers():
    """The shared locks that install on this interpreter, by name."""
    try:
        import multiprocessing_utils
    except ImportError:
        return {}
    return {"multiprocessing_utils": multiprocessing_utils.SharedLock()}


def cases():
    """The cases that this room is measured by."""
    others = peers()
    ours, again, plain = xctx.SharedLock(), xctx.SharedRLock(), threading.Lock()

    def case(name, lock, statement, limits, plain_statement="lock.acquire(); lock.release()"):
        contenders = [
            Contender("xctx", statement, {"lock": lock}),
            Contender("threading.Lock", plain_statement, {"lock": plain}),
            *(Contender(peer, statement, {"lock": other}) for peer, other in others.items()),
        ]
        far = {} if statement.startswith("with") else dict.fromkeys(others, 1 / 100)
        return Case("lock", name, contenders, {"threading.Lock": limits, **far})

    return [
        case("shared", ours, "lock.acquire(); lock.release()", 1.5),
        case("exclusive", ours, "lock.acquire(True); lock.release()", 1.5),
        case("shared, re-entrant", again, "lock.acquire(); lock.release()", 1.5),
        case("with, shared", ours, "with lock: pass", 2, "with lock: pass"),
        case("with, exclusive", ours, "with lock.exclusive(): pass", 2, "with lock: pass"),
    ]


def thread_bodies():
    """What two threads do at once: name -> a function for harness.thread_times."""
    lock = xctx.SharedLock()

    def make():
        def body(number):
            for _ in range(number):
                lock.acquire()
                lock.release()

        return body

    return {"lock: shared": make}


# --- processes -------------------------------------------------------------------------------------------------------


def pairs_of(shared, exclusive, until, choices):
    """How many pairs of acquire and release one process does until then."""
    count = 0
    while time.perf_counter() < until:
        for write in choices:
            (exclusive if write else shared)()
        count += len(choices)
    return count


def mixed(kind, processes, write_part, seconds=TURN_SECONDS, clock=time.perf_counter):
    """Pairs a second, of all processes together.

    Args:
        clock: time.process_time counts seconds of a processor's instead: what other programs take away is left out.
    """
    make = CONTENDERS[kind]
    worker = make()
    board = mmap.mmap(-1, 8 * (processes + 1))
    start = time.perf_counter() + 0.1
    children = []
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            shared, exclusive = worker()
            rand = random.Random(number)
            choices = [rand.random() < write_part for _ in range(100)]
            while time.perf_counter() < start:
                pass
            begin = clock()
            count = pairs_of(shared, exclusive, start + seconds, choices)
            took = clock() - begin
            struct.pack_into("d", board, 8 * number, count / took)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    return sum(struct.unpack_from("d", board, 8 * number)[0] for number in range(processes))


def of_xctx():
    lock = xctx.SharedLock()

    def worker():
        def shared():
            lock.acquire()
            lock.release()

        def exclusive():
            lock.acquire(True)
            lock.release()

        return shared, exclusive

    return worker


def of_multiprocessing():
    lock = multiprocessing.Lock()

    def worker():
        def both():
            lock.acquire()
            lock.release()

        return both, both

    return worker


def of_multiprocessing_utils():
    import multiprocessing_utils

    lock = multiprocessing_utils.SharedLock()

    def worker():
        def shared():
            lock.acquire()
            lock.release()

        def exclusive():
            lock.acquire(exclusive=True)
            lock.release()

        return shared, exclusive

    return worker


def of_fasteners():
    import fasteners

    fd, path = tempfile.mkstemp()
    os.close(fd)

    def worker():
        lock = fasteners.InterProcessReaderWriterLock(path)

        def shared():
            lock.acquire_read_lock()
            lock.release_read_lock()

        def exclusive():
            lock.acquire_write_lock()
            lock.release_write_lock()

        return shared, exclusive

    return worker


CONTENDERS = {
    "xctx": of_xctx,
    "multiprocessing.Lock": of_multiprocessing,
    "multiprocessing_utils": of_multiprocessing_utils,
    "fasteners": of_fasteners,
}


def main():
    """Prints what the processes reach: the best of several turns, in which the contenders alternate."""
    best = dict.fromkeys(CONTENDERS, 0.0)
    missing = set()
    for _ in range(TURNS):
        for kind in CONTENDERS:
            try:
                best[kind] = max(best[kind], mixed(kind, 4, 0.05))
            except ImportError:
                missing.add(kind)
    for kind, rate in best.items():
        if kind not in missing:
            print(f"4 processes, 95 % shared   {kind:24}{rate:14,.0f} pairs/s")
    for name, clock in [("", time.perf_counter), (" of processor time", time.process_time)]:
        alone = two = 0.0
        for _ in range(TURNS):
            alone = max(alone, mixed("xctx", 1, 0, clock=clock))
            two = max(two, mixed("xctx", 2, 0, clock=clock))
        print(f"shared only: 1 process {alone:,.0f}, 2 processes {two:,.0f} pairs/s{name}: {two / alone:.2f} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
