"""A ledger of every value made and every value handed out, for any class with the interface of BatchExecutor.

As a program it runs one scenario against one class, in an interpreter of its own, and ends with 1 where the law
"each value exactly once" is broken:

    python batch_checker.py ft_utils.local sleeps 4 16 20000
"""

import importlib
import os
import sys
import threading
import time
import traceback
from collections import Counter


class Made(Exception):
    """What a source of this module raises on purpose."""


class Ledger:
    """A source of numbers that keeps its books. `act(number)` may sleep, switch, raise, or come back to `load`.

    `made` is what it returned, `raised` how often it did not. `overlaps` counts the calls that began in one thread
    while another one was inside.
    """

    def __init__(self, act=None, every=1):
        self.act = act
        self.every = every
        self.next = 0
        self.made = []
        self.raised = 0
        self.overlaps = 0
        self.inside = []
        self.lock = threading.Lock()

    def __call__(self):
        me = threading.get_ident()
        with self.lock:
            number = self.next
            self.next += 1
            self.overlaps += any(other != me for other in self.inside)
            self.inside.append(me)
        try:
            if self.act is not None and number % self.every == 0:
                self.act(number)
        except BaseException:
            self.raised += 1
            raise
        finally:
            with self.lock:
                self.inside.remove(me)
        with self.lock:
            self.made.append(number)
        return number


def law(made, got, left):
    """What is wrong with a run, as text; nothing where every value was handed out exactly once, or is left."""
    counts = Counter(got)
    counts.update(left)
    twice = [value for value, count in counts.items() if count > 1]
    lost = set(made) - set(counts)
    invented = set(counts) - set(made)
    wrong = []
    if twice:
        wrong.append(f"{len(twice)} handed out more than once, such as {twice[:5]}")
    if lost:
        wrong.append(f"{len(lost)} lost, such as {sorted(lost)[:5]}")
    if invented:
        wrong.append(f"{len(invented)} never made, such as {sorted(invented)[:5]}")
    return "; ".join(wrong)


def in_threads(count, work):
    """Runs `work(index)` in that many threads at once and hands on the first failure."""
    barrier = threading.Barrier(count)
    failures = []

    def run(index):
        try:
            barrier.wait()
            work(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)  # how long it may take while eight other programs use the same two cores
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident)
            raise AssertionError("a thread still waits:\n" + "".join(traceback.format_stack(frame)))
    if failures:
        raise failures[0]


def loads(executor, count, got):
    """That many loads; what they give goes to `got`, and what the source raised is counted in the result."""
    mine, raised = [], 0
    load = executor.load
    for _ in range(count):
        try:
            mine.append(load())
        except Made:
            raised += 1
    got.extend(mine)
    return raised


class Scenario:
    """One kind of source, and what a run of it has to account for."""

    def __init__(self, cls, size, every=None):
        every = max(1, size // 50) if every is None else every
        self.size = size
        self.inner = []  # loaded from inside the source
        self.threads = []
        self.source = Ledger(self.act, every)
        self.executor = cls(self.source, size)

    def act(self, number):
        raise NotImplementedError

    def run(self, threads, each):
        got = []
        in_threads(threads, lambda index: loads(self.executor, each, got))
        for thread in self.threads:
            thread.join(60)
        if hasattr(self.executor, "close"):
            left = self.executor.close()
        else:  # at most one full buffer may be left, and it has the values that were made last
            left = sorted(set(self.source.made[-self.size :]) - set(got) - set(self.inner))
        return law(self.source.made, got + self.inner, left)


class Sleeps(Scenario):
    def act(self, number):
        time.sleep(0.0001)


class Yields(Scenario):
    """Releases the GIL and comes back at once."""

    def act(self, number):
        os.stat(".")
        time.sleep(0)


class Reenters(Scenario):
    def __init__(self, cls, size):
        super().__init__(cls, size, every=1)

    def act(self, number):
        if number % 5 == 3:
            self.inner.append(self.executor.load())


class Raises(Scenario):
    def __init__(self, cls, size):
        super().__init__(cls, size, every=3)

    def act(self, number):
        if number % 2:
            time.sleep(0.00001)
        raise Made(number)


class Spawns(Scenario):
    """Starts threads that load too, and waits for one that only computes."""

    def __init__(self, cls, size):
        super().__init__(cls, size, every=max(5, size // 50))

    def act(self, number):
        worker = threading.Thread(target=time.sleep, args=(0,))
        worker.start()
        worker.join()
        if len(self.threads) < 8:
            thread = threading.Thread(target=lambda: self.inner.append(self.executor.load()))
            self.threads.append(thread)
            thread.start()


SCENARIOS = {kind.__name__.lower(): kind for kind in (Sleeps, Yields, Reenters, Raises, Spawns)}


def main(module, scenario, threads, size, total):
    cls = importlib.import_module(module).BatchExecutor
    threads, size, total = int(threads), int(size), int(total)
    wrong = SCENARIOS[scenario](cls, size).run(threads, total // threads)
    print(wrong or "each value exactly once")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
