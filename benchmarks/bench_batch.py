"""BatchExecutor beside ft_utils', and beside calling the source itself.

Run alone it prints the table of targets: `python -m benchmarks.bench_batch`. Contenders take turns and the best turn of
each counts, because on a busy machine the other figures are the machine's.
"""

import contextlib
import math
import secrets
import sqlite3
import tempfile
import threading
import time
import uuid
from pathlib import Path

import xctx
from benchmarks import harness
from benchmarks.harness import Case, Contender

try:
    from ft_utils.local import BatchExecutor as Peer
except ImportError:
    Peer = None

SIZE = 100
BATCH = 1000  # of ids, from a sequence
THREADS = 4


def contenders(statement, make, peers=()):
    classes = {"xctx": xctx.BatchExecutor} | ({"ft_utils": Peer} if Peer else {})
    return [Contender(name, statement, {"it": make(cls)}) for name, cls in classes.items()] + list(peers)


def cases():
    """The cases that this room is measured by."""
    made = [
        Case("batch", f"load, size {size}", contenders("it.load()", lambda cls, size=size: cls(object, size)), targets)
        for size, targets in [(1, {}), (SIZE, {"ft_utils": 1.1}), (10_000, {})]
    ]
    handles = contenders("it.load()", lambda cls: cls(object, SIZE).as_local())
    made.append(Case("batch", "as_local().load", handles, {"ft_utils": 1 / 8}))
    if Peer is None:
        for case in made:
            case.targets.clear()
    for name, source in [("uuid4", uuid.uuid4), ("token_bytes", secrets.token_bytes)]:
        direct = [Contender("a call each", "source()", {"source": source})]
        made.append(Case("batch, source", name, contenders("it.load()", lambda cls, s=source: cls(s, SIZE), direct)))
    sequence = Sequence(":memory:")
    made.append(
        Case(
            "batch, source",
            f"SQLite sequence, {BATCH} at a time",
            [
                Contender("xctx", "it.load()", {"it": xctx.BatchExecutor.from_batches(sequence.take, BATCH)}),
                Contender("a query each", "take(1)", {"take": sequence.take}),
            ],
        )
    )
    return made


def bodies(cls):
    """Name -> what harness.thread_times runs in each thread."""
    executor = cls(object, SIZE)

    def shared():
        def body(number):
            for _ in range(number):
                executor.load()

        return body

    def local():
        handle = executor.as_local()

        def body(number):
            for _ in range(number):
                handle.load()

        return body

    return {"BatchExecutor.load": shared, "as_local().load": local}


def thread_bodies():
    """What two threads do at once: name -> a function for harness.thread_times."""
    return bodies(xctx.BatchExecutor)


class Sequence:
    """Ids from a table, in a database in memory (shared by all threads) or in a file (a connection for each)."""

    def __init__(self, path):
        self.path = path
        self.local = threading.local()
        self.connections = []
        self.shared = None
        database = self.connect()
        if path == ":memory:":
            self.shared = database
        database.execute("create table sequence (next integer)")
        database.execute("insert into sequence values (0)")

    def connect(self):
        database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=60)
        database.execute("pragma synchronous = off")
        self.connections.append(database)
        self.local.database = database
        return database

    def take(self, count):
        database = self.shared or getattr(self.local, "database", None) or self.connect()
        (end,) = database.execute("update sequence set next = next + ? returning next", (count,)).fetchone()
        return range(end - count, end)

    def close(self):
        for database in self.connections:
            database.close()


def in_threads(call, number, threads=THREADS):
    """Nanoseconds a value when so many threads take that many values each at once."""
    start = threading.Barrier(threads + 1)

    def work():
        start.wait()
        for _ in range(number):
            call()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    return (time.perf_counter() - begin) / (number * threads) * 1e9


def at_once(make_body, threads, number):
    """Nanoseconds an operation and thread; infinite for a turn in which the threads did not run at the same time."""
    spans = []
    start = threading.Barrier(threads)

    def work():
        body = make_body()
        body(20_000)  # warm, and as much as an executor needs to be promoted
        start.wait()
        begin = time.perf_counter()
        body(number)
        spans.append((begin, time.perf_counter()))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    begins, ends = zip(*spans, strict=True)
    took = max(ends) - min(begins)
    return took / number * 1e9 if min(ends) - max(begins) > 0.9 * took else float("inf")


def two_threads(turns=25, number=100_000):
    """The best of many turns, by contender and body: nanoseconds a load and thread, with one thread and with two."""
    classes = {"xctx": xctx.BatchExecutor} | ({"ft_utils": Peer} if Peer else {})
    best = {}
    for _ in range(turns):
        for name, cls in classes.items():
            for body in ("BatchExecutor.load", "as_local().load"):
                for threads in (1, 2):
                    took = at_once(bodies(cls)[body], threads, number)
                    key = name, body, threads
                    best[key] = min(best.get(key, took), took)
    return best


def row(what, reached, target=None, better=min):
    if not math.isfinite(reached):
        print(f"{what:58}   the machine never let the threads run at the same time")
        return
    text = f"{what:58}{reached:8.2f} x"
    if target is not None:
        met = reached <= target if better is min else reached >= target
        text += f"   {'at most' if better is min else 'at least'} {target:<5} {'reached' if met else 'MISSED'}"
    print(text, flush=True)


def main():
    print(harness.interpreter())
    if Peer is None:
        print("ft_utils is not installed here: nothing to compare with but the sources themselves")
    else:
        for case in cases()[:4]:
            times = harness.best_times(case)
            if case.name.startswith("as_local"):
                row(f"{case.name}: faster than ft_utils'", times["ft_utils"] / times["xctx"], 8, max)
            else:
                row(
                    f"{case.name}: time beside ft_utils'",
                    times["xctx"] / times["ft_utils"],
                    case.targets.get("ft_utils"),
                )
    if harness.no_gil():
        best = two_threads()
        for body in ("BatchExecutor.load", "as_local().load"):
            for name in ("xctx", "ft_utils") if Peer else ("xctx",):
                target = 1.15 if name == "xctx" else None
                row(f"{name} {body}: two threads beside one", best[name, body, 2] / best[name, body, 1], target)
            if Peer:
                gain = best["ft_utils", body, 2] / best["xctx", body, 2]
                row(f"{body} by two threads: throughput beside ft_utils'", gain, 1.5, max)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Sequence(Path(folder) / "ids")) as sequence:
        for name, call, executor, number in [
            ("uuid4", uuid.uuid4, xctx.BatchExecutor(uuid.uuid4, SIZE), 20_000),
            ("token_bytes", secrets.token_bytes, xctx.BatchExecutor(secrets.token_bytes, SIZE), 20_000),
            ("SQLite", lambda: sequence.take(1), xctx.BatchExecutor.from_batches(sequence.take, BATCH), 500),
        ]:
            turns = [(in_threads(call, number), in_threads(executor.load, number)) for _ in range(5)]
            alone, batched = map(min, zip(*turns, strict=True))
            row(f"{name} by {THREADS} threads: batched, faster than a call each", alone / batched)


if __name__ == "__main__":
    main()
