"""One lock that thousands of processes with tens of thousands of threads hold at one moment. Run as a program:

    python tests/lock/lock_scale.py --processes 2000 --threads 10

It prints what it measured. Every tenth process is killed while it holds the lock. A process takes about 2 MB.
"""

import argparse
import gc
import os
import signal
import threading
import time

import xctx

SECONDS = 300  # for anything that takes long where the machine is busy
AT_ONCE = 20  # processes that come at the same time


def ns_of_a_read(lock):
    """The least of several measurements."""
    found = []
    for _ in range(7):
        began = time.perf_counter_ns()
        for _ in range(10000):
            with lock:
                pass
        found.append((time.perf_counter_ns() - began) // 10000)
    return min(found)


def hold(lock, threads, ready, go):
    """In a child: so many threads read, until the parent closes its end of `go`."""
    threading.stack_size(64 * 1024)
    inside = threading.Barrier(threads + 1)
    end = threading.Event()

    def read():
        with lock:
            inside.wait(SECONDS)
            end.wait()

    readers = [threading.Thread(target=read) for _ in range(threads)]
    for reader in readers:
        reader.start()
    inside.wait(SECONDS)
    os.write(ready, b".")
    os.read(go, 1)
    end.set()
    for reader in readers:
        reader.join()


def start(lock, threads, ready, go, close):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(close)
            hold(lock, threads, ready, go)
            status = 0
        finally:
            os._exit(status)
    return pid


def end(pids, status):
    for pid in pids:
        found = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert found == status, f"a process ended with {found}"


def main(processes, threads):
    lock = xctx.SharedLock()
    alone = ns_of_a_read(lock)
    gc.freeze()  # so that children share more memory with this process
    ready, tell_ready = os.pipe()
    go, tell_go = os.pipe()
    pids = []
    try:
        while len(pids) < processes:
            coming = min(AT_ONCE, processes - len(pids))
            pids += [start(lock, threads, tell_ready, go, tell_go) for _ in range(coming)]
            for _ in range(coming):
                os.read(ready, 1)
        assert lock.readers == processes * threads
        assert not lock.acquire(exclusive=True, blocking=False)
        print(f"{processes} processes with {threads} threads each: {lock.readers} hold the lock")
        print(f"reading takes {alone} ns alone, and {ns_of_a_read(lock)} ns beside them")
        killed, pids = pids[::10], [pid for at, pid in enumerate(pids) if at % 10]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        end(killed, -signal.SIGKILL)
        assert lock.readers == len(pids) * threads
        print(f"{len(killed)} processes were killed: {lock.readers} hold the lock")
        assert not lock.acquire(exclusive=True, timeout=0.5)  # it waits for those that live
        os.close(tell_go)
        assert lock.acquire(exclusive=True, timeout=SECONDS)
        assert lock.readers == 0
        lock.release()
        end(pids, 0)
        pids = []
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    assert not lock.owner_died
    assert not lock.locked()
    print(f"all have gone: reading takes {ns_of_a_read(lock)} ns")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.processes, arguments.threads)
