"""Units of all kinds in several processes that take several locks at a time. Run as a program:

python tests/lock/lock_circles.py --seconds 10             in any order: each deadlock is found, and all come to an end
python tests/lock/lock_circles.py --seconds 10 --ordered   in one order: there is no deadlock, and none may be found
"""

import argparse
import asyncio
import functools
import os
import random
import tempfile
import threading
import time
from pathlib import Path

import xctx
import xctx.debug

LOCKS = 5
PROCESSES = 3
UNITS = 6  # of one loop, or of one hub
PATIENCE = 120  # seconds: nobody waits for so long, even on a busy machine


class Work:
    """What one unit does until the time is up. Each step is awaited by a task, and made at once by other units."""

    def __init__(self, locks, ordered, until, seed):
        self.locks, self.ordered, self.until = locks, ordered, until
        self.random = random.Random(seed)
        self.rounds = self.told = 0

    def wanted(self):
        chosen = self.random.sample(self.locks, self.random.randint(1, 3))
        return sorted(chosen, key=self.locks.index) if self.ordered else chosen

    def steps(self):
        """Each is a lock, the name of a method and what that takes; or None, None and how long to sleep."""
        while time.monotonic() < self.until:
            held = []
            try:
                for lock in self.wanted():
                    how = self.random.choice("SSXXU")
                    if how == "U":
                        yield lock, "acquire_upgradable", ()
                    else:
                        yield lock, "acquire", (how == "X",)
                    held.append(lock)
                    if how == "U" and self.random.random() < 0.5:
                        yield lock, "upgrade", ()
                    if self.random.random() < 0.3:
                        yield None, None, self.random.random() * 0.002
            except RuntimeError as error:
                if self.ordered or not str(error).startswith("deadlock: "):
                    raise
                self.told += 1
            for lock in reversed(held):
                lock.release()
            self.rounds += 1
            yield None, None, 0

    def run(self, sleep):
        steps, failed = self.steps(), None
        while True:
            try:
                lock, name, given = next(steps) if failed is None else steps.throw(failed)
            except StopIteration:
                return
            failed = None
            try:
                sleep(given) if lock is None else getattr(lock, name)(*given)
            except RuntimeError as error:
                failed = error

    async def run_in_task(self):
        steps, failed = self.steps(), None
        while True:
            try:
                lock, name, given = next(steps) if failed is None else steps.throw(failed)
            except StopIteration:
                return
            failed = None
            try:
                await (asyncio.sleep(given) if lock is None else getattr(lock, f"{name}_async")(*given))
            except RuntimeError as error:
                failed = error


async def run_together(works):
    await asyncio.gather(*[work.run_in_task() for work in works])


def run_in_hub(gevent, works):
    gevent.joinall([gevent.spawn(work.run, gevent.sleep) for work in works], raise_error=True)


def process(work, seeds, gevent):
    """One process: two threads, a loop, and where there is gevent a hub."""
    works = [[work(seeds.random()) for _ in range(number)] for number in (1, 1, UNITS, UNITS)]
    runs = [
        lambda: works[0][0].run(time.sleep),
        lambda: works[1][0].run(time.sleep),
        lambda: asyncio.run(run_together(works[2])),
        lambda: gevent and run_in_hub(gevent, works[3]),
    ]
    failed = []

    def guarded(run):
        try:
            run()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(run,), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a unit waits for ever"
    for error in failed:
        raise error
    every = [each for part in works for each in part]
    print(f"{sum(each.rounds for each in every)} rounds, {sum(each.told for each in every)} deadlocks", flush=True)


def main(seconds, ordered, seed):
    try:
        import gevent
    except ImportError:
        gevent = None
    print(f"seed {seed}", flush=True)
    xctx.debug.track()  # deadlocks are looked for at once
    with tempfile.TemporaryDirectory() as directory:
        locks = [xctx.SharedLock.at(Path(directory) / str(number)) for number in range(LOCKS)]
        until = time.monotonic() + seconds
        pids = []
        for number in range(PROCESSES):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    process(functools.partial(Work, locks, ordered, until), random.Random(f"{seed} {number}"), gevent)
                    status = 0
                except BaseException as error:
                    print(repr(error), flush=True)
                finally:
                    os._exit(status)
            pids.append(pid)
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert ends == [0] * PROCESSES, f"processes ended with {ends}"
        assert [(lock.holders(), lock.waiters) for lock in locks] == [([], 0)] * LOCKS


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--ordered", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    main(arguments.seconds, arguments.ordered, arguments.seed)
