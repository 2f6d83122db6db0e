"""BatchExecutor beside ft_utils', and beside calling the source itself."""

import collections
import os
import secrets
import sqlite3
import tempfile
import uuid
import weakref

import xctx
from benchmarks.harness import Case, Contender
from benchmarks.rooms import two_threads

try:
    from ft_utils.local import BatchExecutor as Peer
except ImportError:
    Peer = None

SIZE = 100
BATCH = 1000  # of ids, from a sequence
THREADS = 4


def classes():
    return {"xctx": xctx.BatchExecutor} | ({"ft_utils": Peer} if Peer else {})


def cases():
    """The cases that this room is measured by."""
    made = [
        Case(
            "batch",
            f"load, size {size}",
            [Contender(name, "it.load()", {"it": cls(object, size)}) for name, cls in classes().items()],
            targets,
            same=False,
        )
        for size, targets in [(1, {}), (SIZE, {"ft_utils": 1.1}), (10_000, {})]
    ]
    handles = [Contender(name, "it.load()", {"it": cls(object, SIZE).as_local()}) for name, cls in classes().items()]
    made.append(Case("batch", "as_local().load", handles, {"ft_utils": 1 / 8}, same=False))
    return made + from_sources() + by_threads()


def from_sources():
    """What a source gives, by the batch and one at a time: to one thread, and to several that want them all at once."""
    made = []
    for name, source in [("uuid4", uuid.uuid4), ("token_bytes", secrets.token_bytes)]:
        executor = xctx.BatchExecutor(source, SIZE)
        made.append(beside_source(name, executor, "a call each", "source()", {"source": source}))
    for where, in_file, threads in [("in memory", False, 1), (f"in a file, {THREADS} threads", True, THREADS)]:
        take = Sequence(in_file).take
        executor = xctx.BatchExecutor.from_batches(take, BATCH)
        name = f"SQLite sequence {where}"
        made.append(beside_source(name, executor, "a query each", "take(1)[0]", {"take": take}, threads))
    return made


def beside_source(name, executor, peer, statement, names, threads=1):
    contenders = [
        Contender("xctx", "it.load()", {"it": executor}, threads=threads),
        Contender(peer, statement, names, threads=threads),
    ]
    return Case("batch, source", name, contenders, same=False, throughput=True)


def by_threads():
    """Two threads that load from one executor at once, or each through a handle of its own."""
    made = []
    for name, body in [("load", shared), ("as_local().load", handles)]:
        others = [("ft_utils", body(Peer(object, SIZE)), ())] if Peer else []
        case = two_threads("batch", f"{name} by two threads", body(xctx.BatchExecutor(object, SIZE)), peers=others)
        case.targets["ft_utils"] = 1 / 1.5
        made.append(case)
    return made


def shared(executor):
    def make():
        def body(number, executor=executor):  # no cell, for which two threads would queue
            for _ in range(number):
                executor.load()

        return body

    return make


def handles(executor):
    def make():
        return shared(executor.as_local())()

    return make


class Sequence:
    """Ids from a table of a database in memory, or in a file."""

    def __init__(self, in_file):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "ids") if in_file else ":memory:"
        self.idle = collections.deque()
        weakref.finalize(self, close, self.idle, self.folder)
        database = self.connect()
        database.execute("create table sequence (next integer)")
        database.execute("insert into sequence values (0)")
        self.idle.append(database)

    def connect(self):
        database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=60)
        database.execute("pragma synchronous = off")
        return database

    def take(self, count):
        try:
            database = self.idle.popleft()
        except IndexError:  # as many connections as callers at once; of a database in memory, one caller
            database = self.connect()
        (end,) = database.execute("update sequence set next = next + ? returning next", (count,)).fetchone()
        self.idle.append(database)
        return range(end - count, end)


def close(databases, folder):
    for database in databases:
        database.close()
    folder.cleanup()
