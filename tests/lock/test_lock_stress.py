"""Processes that are killed at random, while a file that the lock guards is looked at for torn writes."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from helpers.effort import STRESS_SECONDS
from lock_child import LONG, SOON, Child

import xctx

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
SECONDS = STRESS_SECONDS
ROOT = Path(__file__).parents[2]
PAGES = 8
PAGE = 512


def check(fd):
    """The number that fills the file, which is the same in all its pages unless a write was torn."""
    pages = {os.pread(fd, PAGE, at * PAGE) for at in range(PAGES)}
    if len(pages) != 1:
        raise AssertionError(f"torn: {[page[:8] for page in pages]}")
    return int(pages.pop()[:8])


def write(fd, number):
    for at in range(PAGES):
        os.pwrite(fd, b"%08d" % number * (PAGE // 8), at * PAGE)


def write_all(fd, lock):
    """One write under the lock; mends first what one who was killed left."""
    if lock.owner_died:
        write(fd, int(os.pread(fd, 8, 0)))
        lock.mark_consistent()
    write(fd, check(fd) + 1)


def work(lock, fd, seed, use):
    rand = random.Random(seed)

    def child_work(child):
        warnings.simplefilter("ignore")
        until = time.monotonic() + SECONDS + LONG
        while time.monotonic() < until:
            use(lock, fd, rand)

    return child_work


def use_once(lock, fd, rand):
    way = rand.randrange(10)
    if way == 0:
        with lock.exclusive():
            write_all(fd, lock)
    elif way == 1:
        with lock.upgradable():
            if not lock.owner_died:
                check(fd)
            if lock.upgrade(timeout=rand.choice([0, 0.001, -1])):
                write_all(fd, lock)
                lock.downgrade(upgradable=rand.random() < 0.5)
                check(fd)
    elif way == 2:
        if lock.acquire(exclusive=rand.random() < 0.5, timeout=rand.random() * 0.002):
            if lock.mode == "exclusive":
                write_all(fd, lock)
            elif not lock.owner_died:
                check(fd)
            lock.release()
    elif way == 3:
        with contextlib.suppress(TimeoutError):
            threads = [threading.Thread(target=read, args=(lock, fd)) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    else:
        read(lock, fd)


def read(lock, fd):
    with lock:
        if not lock.owner_died:
            check(fd)


@pytest.mark.stress
def test_whoever_is_killed_whenever(tmp_path):
    lock = xctx.SharedRLock()
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write(fd, 0)
    rand = random.Random()
    seed = rand.randrange(1 << 30)
    print("seed", seed)
    rand = random.Random(seed)
    children = [Child(work(lock, fd, seed + number, use_once)) for number in range(4)]
    killed = stopped = 0
    until = time.monotonic() + SECONDS
    try:
        # On a busy machine it takes longer to kill enough of them.
        while time.monotonic() < until or (killed <= 5 * SECONDS and time.monotonic() < until + LONG / 2):
            time.sleep(rand.random() * 0.02)
            at = rand.randrange(len(children))
            if rand.random() < 0.2:
                children[at].kill(signal.SIGSTOP)
                time.sleep(rand.random() * 0.01)
                children[at].kill(signal.SIGCONT)
                stopped += 1
                continue
            with children[at] as child:
                child.kill()
                assert child.wait() == -signal.SIGKILL, "a child had ended by itself: see its traceback"
            killed += 1
            children[at] = Child(work(lock, fd, seed + 100 + killed, use_once))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert lock.acquire(exclusive=True, timeout=LONG)
            write_all(fd, lock)
            lock.release()
    finally:
        for child in children:
            with child:
                child.kill()
                status = child.wait()
                assert status == -signal.SIGKILL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert lock.acquire(exclusive=True, timeout=SOON)
        write_all(fd, lock)
        lock.release()
    assert (lock.holders(), lock.readers, lock.owner_died) == ([], 0, False)
    assert killed > 5 * SECONDS
    assert check(fd) > killed
    os.close(fd)


@pytest.mark.stress
def test_threads_at_once_for_long():
    lock = xctx.SharedRLock()
    until = time.monotonic() + SECONDS
    state = [0, 0]
    faults = []

    def run(seed):
        rand = random.Random(seed)
        try:
            while time.monotonic() < until:
                if rand.random() < 0.1:
                    with lock.exclusive():
                        state[0] += 1
                        state[1] += 1
                elif rand.random() < 0.1:
                    if lock.acquire(exclusive=True, timeout=rand.random() * 0.001):
                        state[0] += 1
                        state[1] += 1
                        lock.downgrade()
                        lock.release()
                else:
                    with lock:
                        if state[0] != state[1]:
                            faults.append("a writer beside a reader")
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + LONG)
        assert not thread.is_alive()
    assert not faults
    assert not lock.locked()


def test_the_example_of_workers_that_share_a_cache(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "prefork_cache.py"), "--seconds", "1.5"],
        capture_output=True,
        text=True,
        timeout=6 * LONG,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    assert (done.stderr, done.returncode) == ("", 0), done.stdout
    assert done.stdout.endswith("service went on\n")
