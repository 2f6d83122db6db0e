"""Shared locks between processes: what several reach together, mostly reading, beside the other locks of the field."""

import importlib.util
import multiprocessing
import os
import random
import tempfile
import weakref

import xctx
from benchmarks.bench_lock import has_locks
from benchmarks.harness import Case, Contender

PROCESSES = 4
WRITES = 0.05


def cases():
    """The cases that this room is measured by; none where xctx has no locks."""
    if not has_locks():
        return []
    kinds = {"xctx": of_xctx, "multiprocessing.Lock": of_multiprocessing}
    if importlib.util.find_spec("multiprocessing_utils"):
        kinds["multiprocessing_utils"] = of_multiprocessing_utils
    if importlib.util.find_spec("fasteners"):
        kinds["fasteners"] = of_fasteners
    mixed = [Contender(name, pairs(make(), WRITES), processes=PROCESSES) for name, make in kinds.items()]
    two = [Contender(name, pairs(make(), 0), processes=2) for name, make in kinds.items()]
    alone = Contender("xctx, one process", pairs(of_xctx(), 0), processes=1, reference=True)
    return [
        Case(
            "lock, processes",
            f"{PROCESSES}, {1 - WRITES:.0%} shared",
            mixed,
            {each.name: 1 for each in mixed[1:]},
            throughput=True,
        ),
        # Together at least 1.8 times what one reaches alone.
        Case("lock, processes", "2, all shared", [two[0], alone, *two[1:]], {"xctx, one process": 2 / 1.8}),
    ]


def pairs(make_ways, writes):
    """A statement for contenders: pairs of acquire and release, so many of them exclusive."""

    def make():
        shared, exclusive = make_ways()
        rand = random.Random(os.getpid())
        ways = [exclusive if rand.random() < writes else shared for _ in range(1000)]

        def body(number):
            for at in range(number):
                ways[at % 1000]()

        return body

    return make


# Each gives a function that is called in each process and gives (a shared pair, an exclusive pair).


def of_xctx():
    lock = xctx.SharedLock()

    def ways():
        def shared():
            lock.acquire()
            lock.release()

        def exclusive():
            lock.acquire(True)
            lock.release()

        return shared, exclusive

    return ways


def of_multiprocessing():
    lock = multiprocessing.get_context("fork").Lock()

    def ways():
        def both():
            lock.acquire()
            lock.release()

        return both, both

    return ways


def of_multiprocessing_utils():
    import multiprocessing_utils

    lock = multiprocessing_utils.SharedLock()

    def ways():
        def shared():
            lock.acquire()
            lock.release()

        def exclusive():
            lock.acquire(exclusive=True)
            lock.release()

        return shared, exclusive

    return ways


def of_fasteners():
    import fasteners

    folder = tempfile.TemporaryDirectory()

    def ways():
        lock = fasteners.InterProcessReaderWriterLock(os.path.join(folder.name, "lock"))
        return locked(lock.read_lock), locked(lock.write_lock)

    weakref.finalize(ways, folder.cleanup)
    return ways


def locked(lock):
    def pair():
        with lock():
            pass

    return pair
