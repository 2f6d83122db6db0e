"""Locks that many units use at once, for long, and whose users are killed."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.effort import STRESS_KILLS, STRESS_PROCESSES, STRESS_SECONDS
from lock_child import LONG

import xctx

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
SECONDS = STRESS_SECONDS
ROOT = Path(__file__).parents[2]


@pytest.mark.stress
def test_a_storm_of_kills(tmp_path):
    """See lock_storm.py."""
    storm = [sys.executable, str(Path(__file__).with_name("lock_storm.py")), "--kills", str(STRESS_KILLS)]
    done = subprocess.run(
        [*storm, "--seed", str(random.randrange(1 << 30))],
        capture_output=True,
        text=True,
        timeout=4 * LONG + STRESS_KILLS,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    print(done.stdout)  # the seed, and what there was
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.stress
def test_more_processes_and_threads_than_anybody_has(tmp_path):
    """See lock_scale.py."""
    scale = [sys.executable, str(Path(__file__).with_name("lock_scale.py")), "--processes", str(STRESS_PROCESSES)]
    done = subprocess.run(
        scale,
        capture_output=True,
        text=True,
        timeout=4 * LONG + STRESS_PROCESSES,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PYTHONWARNINGS": "ignore"},
    )
    print(done.stdout)
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.stress
@pytest.mark.parametrize("order", [[], ["--ordered"]], ids=["any order", "one order"])
def test_deadlocks_are_found_where_there_are_any(order, tmp_path):
    """See lock_circles.py."""
    circles = [sys.executable, str(Path(__file__).with_name("lock_circles.py")), "--seconds", str(SECONDS), *order]
    done = subprocess.run(
        circles,
        capture_output=True,
        text=True,
        timeout=8 * LONG + SECONDS,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PYTHONWARNINGS": "ignore"},
    )
    print(done.stdout)
    assert (done.stderr, done.returncode) == ("", 0), done.stdout


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
