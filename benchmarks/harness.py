"""Measuring one case: its contenders take turns, so that whatever else the machine does falls on them alike.

Figures of different runs or machines are not comparable; the ratios of one turn are. So a turn is the unit of all that
is kept: it has a figure for each contender, or it is thrown away as a whole.
"""

import contextlib
import gc
import mmap
import os
import struct
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field
from itertools import repeat

UNROLL = 10  # statements in a row, so that the loop around them weighs little
TURN_SECONDS = 0.01
AT_ONCE_SECONDS = 0.03  # of a turn of several threads or processes: what starting them together costs weighs little
OVERLAP = 0.85  # the part of such a turn in which all of them must have run
TRIES = 6  # how often this is tried


@dataclass
class Contender:
    """One way of doing what a case is about.

    Attributes:
        name: who does it, as a reader knows it.
        statement: what is timed; or a function that is called where the turn runs (in each thread of it) and gives a
            function `body(number)`, which does the operation so often.
        namespace: the names that the statement uses; or a function giving them, called where the turn runs.
        around: a context manager to time it in, entered for each turn, or None.
        threads: how many threads do it at once.
        processes: how many processes do it at once instead, forked when what no function makes has been made.
        reference: it is no peer but a measuring rod: a floor, or xctx itself under other circumstances.
    """

    name: str
    statement: object
    namespace: object = field(default_factory=dict)
    around: object = None
    threads: int = 1
    processes: int = 1
    reference: bool = False

    @property
    def at_once(self):
        return max(self.threads, self.processes)

    @property
    def inner_loops(self):
        return UNROLL if isinstance(self.statement, str) else 1


@dataclass
class Case:
    """One operation, done by xctx (the first contender) and its peers.

    Attributes:
        group: what the operation belongs to; reports show the cases of a group together.
        name: the operation.
        contenders: xctx first.
        targets: what is aimed at: peer's name -> the ratio, xctx to peer, that is not to be passed.
        same: each contender's operation gives the same result, which tests check.
        throughput: what threads or processes reach together counts, even if they take turns; so several threads are
            measured with the GIL too. Otherwise a turn counts only where all ran at once.
    """

    group: str
    name: str
    contenders: list
    targets: dict = field(default_factory=dict)
    same: bool = True
    throughput: bool = False

    @property
    def title(self):
        return f"{self.group}: {self.name}"

    def runs_here(self):
        """Whether this interpreter and platform can do what it asks for."""
        if any(each.processes > 1 for each in self.contenders) and not hasattr(os, "fork"):
            return False
        return no_gil() or self.throughput or all(each.threads == 1 for each in self.contenders)


class Reenterable:
    """A context manager that is made anew each time it is entered."""

    def __init__(self, make):
        self.make = make

    def __enter__(self):
        self.entered = self.make()
        return self.entered.__enter__()

    def __exit__(self, *exc):
        return self.entered.__exit__(*exc)


# --- one contender ---------------------------------------------------------------------------------------------------


def names_of(contender):
    return dict(contender.namespace() if callable(contender.namespace) else contender.namespace)


def runner_of(contender):
    """A function: told how many loops, it does them here and gives when it began and ended, in seconds."""
    if not isinstance(contender.statement, str):
        body = contender.statement()

        def run(number):
            begin = time.perf_counter()
            body(number)
            return begin, time.perf_counter()

        return run
    names = names_of(contender)
    lines = "\n".join([textwrap.dedent(contender.statement)] * UNROLL)
    # Names are arguments: a look-up in the globals would be measured otherwise.
    code = (
        f"def run(clock_, loops_, {', '.join(names)}):\n begin_ = clock_()\n for _ in loops_:\n"
        f"{textwrap.indent(lines, '  ')}\n return begin_, clock_()"
    )
    space = {}
    exec(compile(code, f"<{contender.name}>", "exec"), space)
    run = space["run"]
    return lambda number: run(time.perf_counter, repeat(None, number), **names)


def outcome(contender):
    """What the operation gives, done once: the value of an expression, or None."""
    if not isinstance(contender.statement, str):
        contender.statement()(1)
        return None
    names = names_of(contender)
    with contender.around or contextlib.nullcontext():
        try:
            code = compile(contender.statement, f"<{contender.name}>", "eval")
        except SyntaxError:
            exec(contender.statement, names)
            return None
        return eval(code, names)


def seconds_of(contender, run, loops, throughput=False):
    """Seconds that so many loops take, each thread or process doing them all; None where they did not run at once."""
    if contender.processes > 1:
        spans = in_processes(contender, loops)
    elif contender.threads > 1:
        spans = in_threads(contender, loops)
    else:
        with contender.around or contextlib.nullcontext():
            begin, end = run(loops)
        return max(end - begin, 1e-9)
    begins, ends = zip(*spans, strict=True)
    took = max(ends) - min(begins)
    return took if throughput or min(ends) - max(begins) >= OVERLAP * took else None


def in_threads(contender, loops):
    """When each of the threads began and ended."""
    spans, errors = [], []
    start = threading.Barrier(contender.threads)

    def work():
        try:
            run = runner_of(contender)
            with contender.around or contextlib.nullcontext():
                run(max(1, loops // 10))  # warm
                start.wait()
                spans.append(run(loops))
        except BaseException as error:
            start.abort()
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(contender.threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return spans


def in_processes(contender, loops, lead=0.02):
    """When each of the forked processes began and ended."""
    count = contender.processes
    board = mmap.mmap(-1, 8 * (1 + 2 * count + count))  # when to start; begin and end, then ready, of each process
    children = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                run = runner_of(contender)
                with contender.around or contextlib.nullcontext():
                    run(max(1, loops // 10))
                    struct.pack_into("d", board, 8 * (1 + 2 * count + number), 1.0)
                    while (start := struct.unpack_from("d", board)[0]) == 0.0:
                        time.sleep(0.001)
                    while time.perf_counter() < start:
                        pass
                    struct.pack_into("dd", board, 8 * (1 + 2 * number), *run(loops))
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    waiting, failed = set(children), False
    started = False
    while waiting:
        ready = struct.unpack_from(f"{count}d", board, 8 * (1 + 2 * count))
        if not started and (all(ready) or failed):
            struct.pack_into("d", board, 0, time.perf_counter() + lead)
            started = True
        for pid in list(waiting):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                waiting.discard(pid)
                failed |= status != 0
        time.sleep(0.001)
    if failed:
        raise RuntimeError(f"a process of {contender.name!r} failed")
    flat = struct.unpack_from(f"{2 * count}d", board, 8)
    return list(zip(flat[::2], flat[1::2], strict=True))


# --- one case --------------------------------------------------------------------------------------------------------


def calibrated(contender, run, seconds):
    """How many loops take about so long, found by one thread alone."""
    alone = run if contender.at_once == 1 else runner_of(contender)
    loops = 1
    with contender.around or contextlib.nullcontext():
        while True:
            begin, end = alone(loops)
            if end - begin >= seconds / 4:
                return max(1, round(loops * seconds / (end - begin)))
            loops *= 4


def measured(case, turns, seconds=TURN_SECONDS, loops=None):
    """Seconds an operation, turn by turn.

    Args:
        turns: how many to keep; one more goes before, to warm up.
        seconds: how long a contender's part of a turn is to take, about; longer with several threads or processes.
        loops: contender's name -> how many loops a turn has, as an earlier call gave it; found out where missing.

    Returns:
        {"loops": {name: int}, "warmup": {name: float}, "turns": [{name: float}], "left": {name: str}}: `left` says why
        a contender was left out. Turns that could not be had (threads did not run at once) are missing.
    """
    gc.collect()
    kept, left = {}, {}
    loops = dict(loops or {})
    for contender in case.contenders:
        try:
            run = runner_of(contender) if contender.at_once == 1 else None
            if contender.name not in loops:
                long = seconds if contender.at_once == 1 else seconds * AT_ONCE_SECONDS / TURN_SECONDS
                loops[contender.name] = calibrated(contender, run, long)
            kept[contender.name] = contender, run
        except Exception as error:
            left[contender.name] = f"{type(error).__name__}: {error}"
    result = {"loops": {}, "warmup": {}, "turns": [], "left": left}
    result["loops"] = {name: loops[name] for name in kept}
    names = list(kept)
    for turn in range(turns + 1):
        # Another one begins each turn, so that none always follows the same.
        at = turn % len(names) if names else 0
        order = {name: kept[name] for name in names[at:] + names[:at]}
        figures = one_turn(order, result["loops"], case.throughput)
        if figures is None:
            continue
        if turn == 0:
            result["warmup"] = figures
        else:
            result["turns"].append(figures)
    return result


def one_turn(contenders, loops, throughput):
    """Seconds an operation, by contender; None where threads or processes of one did not run at once."""
    figures = {}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for name, (contender, run) in contenders.items():
            for _ in range(TRIES):
                took = seconds_of(contender, run, loops[name], throughput)
                if took is not None:
                    break
            else:
                return None
            figures[name] = took / loops[name] / contender.inner_loops
    finally:
        if collecting:
            gc.enable()
    return figures


# --- this interpreter ------------------------------------------------------------------------------------------------


def no_gil():
    return not getattr(sys, "_is_gil_enabled", lambda: True)()


def interpreter():
    """The interpreter's name, as tables and charts show it."""
    return f"CPython {sys.version.split()[0]}{', free-threaded' if no_gil() else ''}"


def tag():
    """The interpreter's name, as files have it."""
    return f"cpython-{sys.version_info[0]}.{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
