"""Measuring: contenders of one case take turns, so that whatever else the machine does hits them alike.

Figures of different runs or machines are not comparable; the ratios of one run are. So the best of many short turns is
taken, and ratios are what is reported, with the nanoseconds for orientation.
"""

import gc
import sys
import threading
import time
import timeit
from dataclasses import dataclass, field

TURN_SECONDS = 0.01
TURNS = 15


@dataclass
class Contender:
    """One way of doing what a case is about.

    Attributes:
        name: who does it, as a reader knows it.
        statement: what is timed.
        namespace: the names that the statement uses.
        around: a context manager to time it in, or None.
    """

    name: str
    statement: str
    namespace: dict
    around: object = None


@dataclass
class Case:
    """One operation, done by xctx (the first contender) and its peers.

    Attributes:
        name: the operation.
        contenders: xctx first.
        targets: what is aimed at: peer's name -> the ratio, xctx to peer, that is not to be passed.
    """

    group: str
    name: str
    contenders: list
    targets: dict = field(default_factory=dict)


def best_times(case, turns=TURNS):
    """Nanoseconds an operation, by contender."""
    timers = []
    for contender in case.contenders:
        timer = timeit.Timer(contender.statement, globals=dict(contender.namespace))
        with contender.around or NOTHING:
            number = 1
            while (seconds := timer.timeit(number)) < TURN_SECONDS / 4:
                number *= 4
            number = max(1, round(number * TURN_SECONDS / max(seconds, 1e-9)))
        timers.append((contender, timer, number))
    best = {contender.name: float("inf") for contender in case.contenders}
    for _ in range(turns):
        for contender, timer, number in timers:
            with contender.around or NOTHING:
                best[contender.name] = min(best[contender.name], timer.timeit(number) / number * 1e9)
    return best


class Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return False


NOTHING = Nothing()


def thread_times(make_body, threads, number=200_000, turns=7):
    """Nanoseconds an operation, where `threads` threads do the same at once: the slowest thread of the best turn.

    Args:
        make_body: called in each thread; gives a function that does the operation as often as it is told.
    """
    return min(slowest_thread(make_body, threads, number) for _ in range(turns))


def slowest_thread(make_body, threads, number):
    took = []
    start = threading.Barrier(threads)

    def work():
        body = make_body()
        body(number // 10)  # warm
        start.wait()
        begin = time.perf_counter()
        body(number)
        took.append((time.perf_counter() - begin) / number * 1e9)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(took)


def no_gil():
    return not getattr(sys, "_is_gil_enabled", lambda: True)()


def interpreter():
    """The interpreter's name, as tables and charts show it."""
    return f"CPython {sys.version.split()[0]}{', free-threaded' if no_gil() else ''}"


def settle():
    """Leaves no garbage of one case to the next."""
    gc.collect()
