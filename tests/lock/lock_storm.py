"""A storm of kills: processes that use three locks in every way are killed, stopped and replaced at random.

    python tests/lock/lock_storm.py --kills 10000 --seed 17

Each lock guards some cells of shared memory, where a writer leaves a mark while it writes. A unit that gets a lock and
gets no report of a death must find no mark, and the same number in all cells; otherwise a write was torn, two wrote at
once, or a death was not reported. Now and then the kills pause until each live unit has used a lock once more: one that
does not is stuck. In the end all leave, and the locks must be free, with no trace of the dead.

The seed decides what each unit does, and which is killed after how long; what that hits is up to the machine.
"""

import argparse
import asyncio
import contextlib
import ctypes
import faulthandler
import mmap
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings

import xctx
from xctx._lock import listing, names

try:
    import gevent
except ImportError:
    gevent = None

LONG = 60  # seconds: nothing that goes right takes so long, on a busy machine either
WORKERS = 6
UNITS = 3  # in each worker
BETWEEN_REVIEWS = 100  # kills
TURNS_OF_A_CHILD = 20

# Exit statuses. What tells who is alive may be gone after a program has closed all its descriptors: an OSError says so.
FAULT, CANNOT_TELL = 1, 3

# The cells of the shared memory. First those of the storm, then some for each lock, then the turns of each unit.
LEAVE = 0
MARK, FIRST, LAST = 0, 1, 9
OF_LOCK = 16
LOCKS = ("anonymous", "named", "path")
LOCKS_AT = 16
TURNS_AT = LOCKS_AT + OF_LOCK * len(LOCKS)
CELLS = TURNS_AT + WORKERS * UNITS


class Fault(AssertionError):
    """What must never be."""


class Guarded:
    """A lock, and the cells that it guards."""

    def __init__(self, lock, cells, place):
        self.lock, self.cells, self.place = lock, cells, place

    def check(self):
        found = list(self.cells[MARK:LAST])
        if found[MARK]:
            raise Fault(f"somebody writes, or has died writing and nobody was told: {found}, {self.lock!r}")
        if len(set(found[FIRST:])) > 1:
            raise Fault(f"torn: {found}, {self.lock!r}")
        return found[FIRST]

    def write(self, pause):
        number = self.check() + 1
        self.cells[MARK] = me = os.getpid()
        try:
            for at in range(FIRST, LAST):
                self.cells[at] = number
                if at == LAST // 2:
                    pause()
        finally:  # a task that is cancelled, and a greenlet that is killed, does not leave it half-written
            self.end_write(number, me)

    async def write_in_task(self):
        number = self.check() + 1
        self.cells[MARK] = me = os.getpid()
        try:
            self.cells[FIRST] = number
            await asyncio.sleep(0)
        finally:
            self.end_write(number, me)

    def end_write(self, number, me):
        for at in range(FIRST, LAST):
            self.cells[at] = number
        if self.cells[MARK] != me:
            raise Fault(f"{self.cells[MARK]} has written beside {me}")
        self.cells[MARK] = 0

    def mend(self):
        """By a unit that holds the lock exclusively."""
        if self.lock.owner_died:
            number = max(self.cells[FIRST:LAST])
            for at in range(FIRST, LAST):
                self.cells[at] = number
            self.cells[MARK] = 0
            self.lock.mark_consistent()


# --- what units do --------------------------------------------------------------------------------------------------


def use(guarded, rand, pause):
    """One use of a lock by a thread or greenlet."""
    lock, way = guarded.lock, rand.randrange(12)
    try:
        if way < 3:
            with lock.exclusive(timeout=-1 if way else rand.random() * 0.002):
                guarded.write(pause)
        elif way == 3:
            with lock.upgradable():
                guarded.check()
                pause()
                if lock.upgrade(timeout=rand.choice([0, 0.001, -1])):
                    guarded.write(pause)
                    lock.downgrade(upgradable=rand.random() < 0.5)
                    guarded.check()
        elif way == 4:
            if lock.acquire(exclusive=rand.random() < 0.5, timeout=rand.choice([0, 0.0005])):
                try:
                    guarded.write(pause) if lock.mode == "exclusive" else guarded.check()
                finally:
                    lock.release()
        elif way == 5 and isinstance(lock, xctx.SharedRLock):
            with lock.upgradable(), lock, lock.exclusive():
                guarded.write(pause)
        else:
            with lock:
                guarded.check()
                pause()
                guarded.check()
    except TimeoutError:
        pass
    except xctx.OwnerDiedWarning:
        with lock.exclusive(mend=True):
            guarded.mend()


async def use_in_task(guarded, rand):
    lock, way = guarded.lock, rand.randrange(8)
    try:
        if way < 3:
            async with lock.exclusive(timeout=-1 if way else rand.random() * 0.002):
                await guarded.write_in_task()
        elif way == 3:
            async with lock.upgradable():
                guarded.check()
                if await lock.upgrade_async(timeout=rand.choice([0, 0.001, -1])):
                    await guarded.write_in_task()
        elif way == 4:
            if await asyncio.wait_for(lock.acquire_async(exclusive=True), 0.5):
                try:
                    await guarded.write_in_task()
                finally:
                    lock.release()
        else:
            async with lock:
                guarded.check()
                await asyncio.sleep(0)
                guarded.check()
    except TimeoutError:
        pass
    except xctx.OwnerDiedWarning:
        async with lock.exclusive(mend=True):
            guarded.mend()


class Worker:
    """A process of the storm, from inside."""

    def __init__(self, storm, slot, seed, kind):
        self.storm, self.kind = storm, kind
        self.rand = random.Random(seed)
        self.turns = [TURNS_AT + slot * UNITS + number for number in range(UNITS)]
        self.closed = False

    def run(self):
        """Never returns."""
        status = FAULT
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        try:
            getattr(self, "run_" + self.kind)()
            status = 0
        except BaseException as exc:
            status = self.status_of(exc)
        finally:
            os._exit(status)

    def status_of(self, exc):
        if self.closed and isinstance(exc, OSError):
            return CANNOT_TELL
        traceback.print_exc()
        sys.stderr.flush()
        return FAULT

    @property
    def leaves(self):
        return self.storm.cells[LEAVE]

    def choose(self, rand):
        return rand.choice(self.storm.guarded)

    def go_on(self, number):
        self.storm.cells[self.turns[number]] += 1

    def run_threads(self):
        threads = [threading.Thread(target=self.thread, args=(number,)) for number in range(UNITS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run_closing = run_threads

    def thread(self, number):
        rand = random.Random(self.rand.random() + number)
        try:
            while not self.leaves:
                self.turn_of_thread(rand)
                self.go_on(number)
        except BaseException as exc:
            os._exit(self.status_of(exc))

    def turn_of_thread(self, rand):
        way = rand.random()
        if way < 0.01:
            self.have_child(rand)
        elif way < 0.02:
            # It ends while it holds the lock.
            thread = threading.Thread(target=self.hold_and_end, args=(self.choose(rand),))
            thread.start()
            thread.join()
        elif way < 0.1:
            # One lock in another, always in the same order: no deadlock.
            outer, inner = sorted(rand.sample(self.storm.guarded, 2), key=lambda guarded: guarded.place)
            use(outer, rand, lambda: use(inner, rand, no_pause))
        elif way < 0.11 and self.kind == "closing":
            self.closed = True
            os.closerange(3, 1000)
        else:
            use(self.choose(rand), rand, lambda: time.sleep(0))

    def hold_and_end(self, guarded):
        try:
            guarded.lock.acquire(exclusive=True)
            guarded.check()
            guarded.cells[MARK] = 1
        except xctx.OwnerDiedWarning:
            pass
        except BaseException as exc:
            os._exit(self.status_of(exc))

    def have_child(self, rand):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(TURNS_OF_A_CHILD):
                    use(self.choose(rand), rand, no_pause)
            except BaseException as exc:
                os._exit(self.status_of(exc))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != 0 and not (self.closed and status == CANNOT_TELL):
            raise Fault(f"a child of a worker ended with {status}")

    def run_greenlets(self):
        greenlets = [gevent.spawn(self.greenlet, number) for number in range(UNITS)]
        while not self.leaves:
            gevent.sleep(0.001)
            if self.rand.random() < 0.1:
                number = self.rand.randrange(UNITS)
                greenlets[number].kill()
                greenlets[number] = gevent.spawn(self.greenlet, number)
        gevent.joinall(greenlets)

    def greenlet(self, number):
        rand = random.Random(self.rand.random() + number)
        try:
            while not self.leaves:
                use(self.choose(rand), rand, lambda: gevent.sleep(0))
                self.go_on(number)
                gevent.sleep(0)
        except Exception as exc:
            os._exit(self.status_of(exc))

    def run_tasks(self):
        asyncio.run(self.tasks())

    async def tasks(self):
        tasks = [asyncio.create_task(self.task(number)) for number in range(UNITS)]
        while not self.leaves:
            await asyncio.sleep(0.001)
            if self.rand.random() < 0.1:
                number = self.rand.randrange(UNITS)
                tasks[number].cancel()
                await asyncio.wait([tasks[number]])
                tasks[number] = asyncio.create_task(self.task(number))
        await asyncio.gather(*tasks)

    async def task(self, number):
        rand = random.Random(self.rand.random() + number)
        try:
            while not self.leaves:
                await use_in_task(self.choose(rand), rand)
                self.go_on(number)
                await asyncio.sleep(0)
        except Exception as exc:
            os._exit(self.status_of(exc))


def no_pause():
    pass


# --- the storm ------------------------------------------------------------------------------------------------------


class Storm:
    """The shared memory and the locks, as the storm and its workers have them.

    Args:
        place: a directory: the files of the memory and of two locks are there.
        anonymous: the lock without a name; None in a program of its own, which it cannot reach.
    """

    def __init__(self, place, anonymous):
        self.place = place
        with open(os.path.join(place, "cells"), "a+b") as file:
            file.truncate(CELLS * 8)
            self.cells = memoryview(mmap.mmap(file.fileno(), CELLS * 8)).cast("Q")
        names.PARENTS = (place,)
        locks = {
            "anonymous": anonymous,
            "named": xctx.SharedRLock("storm", on_death="raise"),
            "path": xctx.SharedLock.at(os.path.join(place, "lock"), on_death="raise"),
        }
        self.guarded = []
        for at, lock in zip(range(LOCKS_AT, TURNS_AT, OF_LOCK), locks.values(), strict=True):
            if lock is not None:
                self.guarded.append(Guarded(lock, self.cells[at : at + OF_LOCK], at))


class Process:
    """A worker, from outside."""

    def __init__(self, storm, slot, seed, kind):
        self.slot = slot
        self.turns = range(TURNS_AT + slot * UNITS, TURNS_AT + (slot + 1) * UNITS)
        self.kind = kind
        self.goes_on_at = None  # it is stopped until then
        for at in self.turns:
            storm.cells[at] = 0
        if kind == "program":
            arguments = [sys.executable, __file__, "--worker", storm.place, str(slot), str(seed)]
            self.pid = os.posix_spawn(sys.executable, arguments, os.environ, setpgroup=0)
            return
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            Worker(storm, slot, seed, kind).run()
        with contextlib.suppress(PermissionError, ProcessLookupError):  # whichever side is the first
            os.setpgid(self.pid, self.pid)


class Weather:
    """Who is killed, stopped and replaced."""

    def __init__(self, storm, seed):
        self.storm = storm
        self.rand = random.Random(seed)
        self.processes = {}
        self.killed = 0
        self.groups = set()  # of workers that were killed, whose children may live
        self.kinds = ["threads"] * 4 + ["tasks"] * 3 + ["closing"] * 2 + (["greenlets"] * 3 if gevent else [])
        # Orphans become this process's children, not those of the machine's first.
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

    def begin(self, slot):
        kind = "program" if self.rand.random() < 0.02 else self.rand.choice(self.kinds)
        process = Process(self.storm, slot, self.rand.randrange(1 << 30), kind)
        self.processes[process.pid] = process
        # Threads that help queues use up all process numbers in a minute, and one whose group is empty is given again.
        self.groups.discard(process.pid)

    def blow(self, kills):
        for slot in range(WORKERS):
            self.begin(slot)
        stops = 0
        while self.killed < kills:
            time.sleep(self.rand.random() ** 2 * 0.012)
            self.reap()
            self.let_go_on(time.monotonic())
            process = self.rand.choice(list(self.processes.values()))
            if self.rand.random() < 0.2:
                # A writer that does not follow up within 50 ms is passed over.
                process.goes_on_at = time.monotonic() + self.rand.choice([0.005, 0.02, 0.1])
                os.kill(process.pid, signal.SIGSTOP)
                stops += 1
                continue
            self.kill(process)
            if self.killed % BETWEEN_REVIEWS == 0:
                self.review()
        self.review()
        self.end()
        return stops

    def kill(self, process):
        if self.rand.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)  # with its children, at once
        else:
            os.kill(process.pid, signal.SIGKILL)
        self.groups.add(process.pid)
        self.killed += 1
        status = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        self.ended(process, status, -signal.SIGKILL)

    def ended(self, process, status, wanted):
        del self.processes[process.pid]
        if status == CANNOT_TELL and process.kind == "closing":
            self.groups.add(process.pid)
        elif status != wanted:
            raise Fault(f"a worker ({process.kind}) ended with {status}: see above")
        if not self.storm.cells[LEAVE]:
            self.begin(process.slot)

    def reap(self):
        """Hears of those that have ended by themselves."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            status = os.waitstatus_to_exitcode(status)
            if pid in self.processes:
                self.ended(self.processes[pid], status, 0 if self.storm.cells[LEAVE] else None)
            elif status not in (0, CANNOT_TELL, -signal.SIGKILL):
                raise Fault(f"a child of a killed worker ended with {status}: see above")

    def let_go_on(self, now):
        for process in self.processes.values():
            if process.goes_on_at is not None and process.goes_on_at <= now:
                process.goes_on_at = None
                os.kill(process.pid, signal.SIGCONT)

    def review(self):
        """Nobody is killed until all who live have gone on, and the orphans have come to their end."""
        self.let_go_on(float("inf"))
        before = {}
        until = time.monotonic() + LONG
        while True:
            self.reap()
            self.groups = {group for group in self.groups if lives(group)}
            waits = set()
            for process in self.processes.values():
                for at in process.turns:
                    turn = self.storm.cells[at]
                    if turn == before.setdefault((process.pid, at), turn):
                        waits.add(process.pid)
            if not waits and not self.groups:
                return
            if time.monotonic() > until:
                self.tell_of_units(before)
                self.tell_of_stuck(waits | self.groups)
            time.sleep(0.001)

    def tell_of_units(self, before):
        """How many turns each unit has taken since the review began, and takes now."""
        seen = {}
        for _ in range(3):
            for process in self.processes.values():
                turns = [self.storm.cells[at] for at in process.turns]
                seen.setdefault((process.pid, process.kind), []).append(turns)
            time.sleep(1)
        for (pid, kind), turns in seen.items():
            begun = [turn for (of, _), turn in before.items() if of == pid]
            print(f"{pid} ({kind}) had taken {begun} turns, and has taken {turns}", file=sys.stderr)

    def tell_of_stuck(self, stuck):
        for pid in stuck:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGUSR1)  # it and its children show where they stand
        time.sleep(0.5)
        for guarded in self.storm.guarded:
            print(repr(guarded.lock), list(guarded.cells), file=sys.stderr)
            if guarded.lock.path is not None:
                print(listing.text_of(listing.looked_at(guarded.lock.path), True), file=sys.stderr)
        raise Fault(f"stuck: {stuck}")

    def end(self):
        self.storm.cells[LEAVE] = True
        until = time.monotonic() + LONG
        while self.processes:
            self.reap()
            if time.monotonic() > until:
                self.tell_of_stuck(set(self.processes))
            time.sleep(0.001)
        for guarded in self.storm.guarded:
            with guarded.lock.exclusive(LONG, mend=True):
                guarded.mend()
                guarded.check()
            left = guarded.lock.holders(), guarded.lock.waiters, guarded.lock.owner_died
            if left != ([], 0, False):
                raise Fault(f"of those who have gone there is left: {left}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for pid in [*self.processes, *filter(lives, self.groups)]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def lives(group):
    """Whether children of a killed worker, which are this process's now, live in the worker's group."""
    try:
        os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def main():
    if sys.argv[1:2] == ["--worker"]:
        place, slot, seed = sys.argv[2:]
        Worker(Storm(place, None), int(slot), int(seed), "threads").run()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    print("seed", seed, flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        storm = Storm(place, xctx.SharedLock(on_death="raise"))
        with Weather(storm, seed) as weather:
            stops = weather.blow(options.kills)
        writes = sum(guarded.cells[FIRST] for guarded in storm.guarded)
        print(
            f"{weather.killed} kills and {stops} stops in {time.monotonic() - began:.0f} s: {writes} writes, none torn"
        )


if __name__ == "__main__":
    main()
