"""Locks over a PostgreSQL server: pairs of acquire and release in a second, beside what one writes by hand.

Run:  make bench-postgres  (ARGS="--seconds 5")

It starts a server, and Redis where its server and client are installed. Contenders take turns, so that a machine that
is slow for a while slows all of them. Results are printed and not kept: they depend on the machine more than on the
code.
"""

import argparse
import contextlib
import hashlib
import multiprocessing
import shutil
import subprocess
import tempfile
import threading
import time

import postgres_server
import psycopg

import xctx.postgres

KEY = int.from_bytes(hashlib.sha256(b"bench").digest()[:8], "big", signed=True)
ROUNDS = 3


# --- contenders: make(place) gives a function that makes, in each thread, a function which acquires and releases ------


def of_xctx(place):
    lock = xctx.postgres.SharedLock("bench", place)

    def pair(exclusive):
        if exclusive:
            with lock.exclusive():
                pass
        else:
            with lock:
                pass

    return lambda: pair


def by_hand(place):
    """A connection for each thread, and a statement for each acquire and each release."""

    def of_thread():
        connection = psycopg.connect(place, autocommit=True)

        def pair(exclusive):
            suffix = "" if exclusive else "_shared"
            connection.execute(f"SELECT pg_advisory_lock{suffix}(%s)", [KEY])
            connection.execute(f"SELECT pg_advisory_unlock{suffix}(%s)", [KEY])

        pair.close = connection.close
        return pair

    return of_thread


def of_redis(place):
    """redis-py's Lock, which has no readers: everybody excludes everybody."""
    import redis

    client = redis.Redis(unix_socket_path=place)

    def pair(exclusive):
        with client.lock("bench", timeout=10, sleep=0.001):
            pass

    return lambda: pair


# --- loads ------------------------------------------------------------------------------------------------------------


def work(make_pair, writes, until, counts):
    pair = make_pair()
    done = 0
    while time.monotonic() < until:
        pair(done % 20 < writes)
        done += 1
    counts.append(done)
    if hasattr(pair, "close"):
        pair.close()


def in_threads(contender, place, threads, writes, seconds):
    make_pair = contender(place)
    counts = []
    until = time.monotonic() + seconds
    running = [threading.Thread(target=work, args=(make_pair, writes, until, counts)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / seconds


def _in_process(queue, *arguments):
    queue.put(in_threads(*arguments))


def in_processes(contender, place, processes, threads, writes, seconds):
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    running = [
        context.Process(target=_in_process, args=(queue, contender, place, threads, writes, seconds))
        for _ in range(processes)
    ]
    for process in running:
        process.start()
    found = [queue.get() for _ in running]
    for process in running:
        process.join()
    return sum(found)


LOADS = {
    "one thread writes": lambda *them: in_threads(*them[:2], 1, 20, them[2]),
    "8 threads write": lambda *them: in_threads(*them[:2], 8, 20, them[2]),
    "8 threads, 95 % readers": lambda *them: in_threads(*them[:2], 8, 1, them[2]),
    "4 processes of 2 threads write": lambda *them: in_processes(*them[:2], 4, 2, 20, them[2]),
    "4 processes of 2 threads, 95 % readers": lambda *them: in_processes(*them[:2], 4, 2, 1, them[2]),
}


@contextlib.contextmanager
def redis_server():
    """The path of a socket of Redis, or None."""
    try:
        import redis  # noqa: F401
    except ImportError:
        yield None
        return
    if not shutil.which("redis-server"):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        try:
            time.sleep(1)
            yield path
        finally:
            process.terminate()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2, help="that each contender has for each load, in each round")
    options = parser.parse_args()
    with postgres_server.server() as server, redis_server() as redis_path:
        contenders = {"xctx.postgres": (of_xctx, server.conninfo), "by hand": (by_hand, server.conninfo)}
        if redis_path:
            contenders["redis-py"] = (of_redis, redis_path)
        print(f"{'pairs a second':40}" + "".join(f"{name:>16}" for name in contenders))
        for title, load in LOADS.items():
            best = dict.fromkeys(contenders, 0.0)
            for _ in range(ROUNDS):
                for name, (contender, place) in contenders.items():
                    best[name] = max(best[name], load(contender, place, options.seconds))
            print(f"{title:40}" + "".join(f"{value:16,.0f}" for value in best.values()), flush=True)


if __name__ == "__main__":
    main()
