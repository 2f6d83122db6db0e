"""Pre-forked workers share a cache file, as under gunicorn: one is killed in the middle of a write, service goes on.

A master forks workers that answer requests from the cache, which they read under the shared side of one lock. One
more process refreshes the cache under the exclusive side, in place and slowly, so that a kill in between tears it. The
master kills the refresher in the middle of a write, then a reader, and starts others in their place, as a master does.
Nobody waits for the dead: whoever gets the lock next is told, mends the cache, and goes on.

Run:  python examples/prefork_cache.py [--seconds 3] [--workers 3]
"""

import argparse
import os
import signal
import struct
import sys
import tempfile
import time
import warnings
from mmap import mmap

import xctx

ENTRIES = 200
ENTRY = struct.Struct("8s8s")  # a key, and the edition that its value is of
COUNTS = struct.Struct("QQQQ")  # of a worker: answers, torn ones seen, deaths told of, mended


class Cache:
    """A file of entries, all of one edition unless a write of them was torn."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def editions(self):
        data = os.pread(self.fd, ENTRIES * ENTRY.size, 0)
        return [int(edition) for _, edition in ENTRY.iter_unpack(data)]

    def refresh(self, edition, pause=0.0):
        for at in range(ENTRIES):
            os.pwrite(self.fd, ENTRY.pack(b"%08d" % at, b"%08d" % edition), at * ENTRY.size)
            if pause and at % 20 == 0:
                time.sleep(pause)


def mend(lock, cache):
    """Writes the cache anew where one died who wrote it. True where this process did."""
    with lock.exclusive(mend=True):
        if not lock.owner_died:  # another was first
            return False
        cache.refresh(max(cache.editions()) + 1)
        lock.mark_consistent()
    return True


def serve(lock, cache, board, slot):
    """A worker: answers requests until it is killed."""
    answers = torn = told = mended = 0
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with lock:
                sound = not lock.owner_died
                editions = set(cache.editions()) if sound else set()
        told += len(caught)
        if sound:
            answers += 1
            torn += len(editions) != 1
        else:
            mended += mend(lock, cache)
        board[slot * COUNTS.size : (slot + 1) * COUNTS.size] = COUNTS.pack(answers, torn, told, mended)
        time.sleep(0.0005)


def refresh(lock, cache, board, slot):
    """The refresher: a new edition every few milliseconds, until it is killed."""
    edition = 0
    while True:
        with lock.exclusive(mend=True):  # it writes all anew, whatever the one before it left
            edition = max(cache.editions(), default=0) + 1
            cache.refresh(edition, pause=0.001)
            lock.mark_consistent()
        time.sleep(0.02)


def start(job, *args):
    pid = os.fork()
    if pid == 0:
        warnings.simplefilter("ignore")
        try:
            job(*args)
        finally:
            os._exit(1)
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(os.path.join(folder, "cache"))
        cache.refresh(0)
        lock = xctx.SharedLock()
        slots = range(options.workers)
        board = mmap(-1, COUNTS.size * (options.workers + 1))
        past = [0, 0, 0, 0]
        workers = [start(serve, lock, cache, board, slot) for slot in slots]
        refresher = start(refresh, lock, cache, board, options.workers)
        killed_writing = killed_reading = 0
        longest = 0.0
        until = time.monotonic() + options.seconds
        try:
            while time.monotonic() < until:
                # Wait until the refresher is at it, so that the kill tears the file.
                owner = lock.owner
                if owner is not None and owner[1] == refresher:
                    kill(refresher)
                    killed_writing += 1
                    begin = time.monotonic()
                    before = counts(board, slots, past)[0]
                    while counts(board, slots, past)[0] == before and time.monotonic() < begin + 5:
                        time.sleep(0.0005)
                    longest = max(longest, time.monotonic() - begin)
                    refresher = start(refresh, lock, cache, board, options.workers)
                    time.sleep(0.1)
                    slot = killed_reading % options.workers
                    kill(workers[slot])
                    killed_reading += 1
                    at = slice(slot * COUNTS.size, (slot + 1) * COUNTS.size)
                    past = [old + new for old, new in zip(past, COUNTS.unpack(board[at]), strict=True)]
                    board[at] = bytes(COUNTS.size)
                    workers[slot] = start(serve, lock, cache, board, slot)
        finally:
            for pid in [*workers, refresher]:
                kill(pid)
        answers, torn, told, mended = counts(board, slots, past)

    print(f"answers: {answers}, of them torn: {torn}")
    print(
        f"killed: {killed_writing} while writing, {killed_reading} others; the longest pause: {longest * 1000:.0f} ms"
    )
    print(f"workers were told of a death {told} times, and mended the cache {mended} times")
    sound = answers and not torn and killed_writing and mended and longest < 1
    print("service went on" if sound else "service did NOT go on")
    return 0 if sound else 1


def counts(board, slots, past):
    now = [COUNTS.unpack_from(board, slot * COUNTS.size) for slot in slots]
    return [old + sum(one[at] for one in now) for at, old in enumerate(past)]


if __name__ == "__main__":
    sys.exit(main())
