"""Ids from a sequence in SQLite, taken a thousand at a time.

A query for each id costs a transaction each. Here one query fetches a thousand ids, whoever needs one takes the next,
and the helper fetches the following thousand before these run out. Run it:

    python examples/batch_ids.py            # a pool of threads, then gevent workers where gevent is installed
    python examples/batch_ids.py --each     # a query for each of a few ids, to compare
"""

import argparse
import sqlite3
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xctx import BatchExecutor

BATCH = 1000
WORKERS = 8


class Sequence:
    """A counter in a database file, with a connection for each thread."""

    def __init__(self, path):
        self.path = path
        self.local = threading.local()
        self.connections = []
        self.queries = 0
        with sqlite3.connect(path) as database:
            database.execute("create table sequence (next integer)")
            database.execute("insert into sequence values (1)")
        database.close()

    def take(self, count):
        """The next `count` ids; nobody else is given them, in this process or in another."""
        database = getattr(self.local, "database", None)
        if database is None:
            database = self.local.database = sqlite3.connect(
                self.path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self.connections.append(database)
        self.queries += 1
        update = "update sequence set next = next + ? returning next"
        (end,) = database.execute(update, (count,)).fetchone()
        return range(end - count, end)

    def close(self):
        for database in self.connections:
            database.close()


def work(next_id, count):
    """What one worker does: so many rows, an id for each."""
    return [next_id() for _ in range(count)]


def by_threads(next_id, count):
    with ThreadPoolExecutor(WORKERS) as pool:
        parts = list(pool.map(work, [next_id] * WORKERS, [count // WORKERS] * WORKERS))
    return [one for part in parts for one in part]


def by_greenlets(next_id, count):
    import gevent
    from gevent.pool import Pool

    def worker(share):
        got = []
        for _ in range(share):
            got.append(next_id())
            if len(got) % 100 == 0:
                gevent.sleep(0)  # as if it waited for something: the others go on
        return got

    parts = Pool(100).map(worker, [count // 100] * 100)
    return [one for part in parts for one in part]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--ids", type=int, help="how many each kind of worker takes (default: 40000, or 200 with --each)"
    )
    parser.add_argument("--each", action="store_true", help="ask the database for each id by itself")
    options = parser.parse_args()
    count = options.ids or (200 if options.each else 40_000)
    kinds = [("threads", by_threads)]
    try:
        import gevent  # noqa: F401
    except ImportError:
        print("gevent is not installed: threads only")
    else:
        kinds.append(("greenlets", by_greenlets))

    with tempfile.TemporaryDirectory() as folder:
        sequence = Sequence(Path(folder) / "ids.db")
        taken = []
        with BatchExecutor.from_batches(sequence.take, BATCH, prefetch=BATCH // 4) as ids:
            next_id = (lambda: sequence.take(1)[0]) if options.each else ids.load
            for name, take in kinds:
                begin = time.perf_counter()
                got = take(next_id, count)
                took = time.perf_counter() - begin
                print(f"{name:10} {len(got):7} ids in {took:6.3f} s, {took / len(got) * 1e6:7.2f} us each")
                taken += got
        left = ids.leftover  # fetched and not handed out: they could go back to the database
        (end,) = sequence.take(1)
        print(f"{sequence.queries} queries; {len(left)} ids left in the buffer")
        assert len(set(taken)) == len(taken), "an id was handed out twice"
        assert sorted([*taken, *left]) == list(range(1, end)), "an id is missing"
        print(f"{len(taken)} ids, each handed out once, none missing")
        sequence.close()


if __name__ == "__main__":
    main()
