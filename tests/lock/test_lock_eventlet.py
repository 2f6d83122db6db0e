"""Locks in programs of eventlet, whose hub xctx does not know: a wait there is refused rather than left to hang."""

import subprocess
import sys
import time

import pytest
from helpers.packages import installed
from lock_child import LONG, eventually

import xctx

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="locks are for Linux"),
    pytest.mark.skipif(not installed("eventlet"), reason="takes eventlet"),
]
STARTS = pytest.mark.parametrize(
    "start",
    [
        "import eventlet, xctx",
        "import eventlet; eventlet.monkey_patch(); import xctx",
        "import xctx, eventlet; eventlet.monkey_patch()",
    ],
    ids=["unpatched", "patched first", "patched last"],
)


@pytest.fixture
def lock(tmp_path):
    return xctx.SharedLock.at(tmp_path / "lock")


class Program:
    """A program of eventlet that has the same lock, in a process of its own."""

    def __init__(self, lock, text):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", text, lock.path], stdout=subprocess.PIPE, text=True
        )

    def says(self):
        try:
            said, _ = self.process.communicate(timeout=LONG)
        finally:
            self.process.kill()
        assert self.process.returncode == 0
        return said.splitlines()


@STARTS
@pytest.mark.parametrize("holder", ["greenlet", "process"])
@pytest.mark.parametrize("wait", ["exclusive().__enter__()", "acquire(timeout=60)", "acquire_upgradable()"])
def test_a_wait_is_refused_by_name(lock, start, holder, wait):
    if holder == "process":
        lock.acquire(exclusive=True)
    program = Program(
        lock,
        f"""
{start}
import sys
lock = xctx.SharedLock.at(sys.argv[1])

def hold():
    with lock.exclusive():
        eventlet.sleep(60)

def work():
    assert not lock.acquire(blocking=False)
    try:
        lock.{wait}
    except RuntimeError as error:
        print(error, lock.mode, lock.waiters)

{"eventlet.spawn(hold)" if holder == "greenlet" else ""}
eventlet.sleep(0)
eventlet.spawn(work).wait()
work()
""",
    )
    said = program.says()
    assert len(said) == 2  # also in the main greenlet, during whose wait no other would run
    for line in said:
        assert "eventlet" in line
        assert line.endswith("None 0")


@STARTS
def test_a_thread_of_the_pool_waits(lock, start):
    """It is a thread of the system, and has no hub."""
    program = Program(
        lock,
        f"""
{start}
import sys
from eventlet import tpool
lock = xctx.SharedLock.at(sys.argv[1])

def use():
    with lock.exclusive():
        return "got it"

print(tpool.execute(use))
""",
    )
    with lock:
        eventually(lambda: lock.waiters)
    assert program.says() == ["got it"]


@STARTS
@pytest.mark.parametrize("hub", [False, True], ids=["asyncio", "eventlet's hub for asyncio"])
def test_a_task_waits_for_another_process(lock, start, hub):
    """In what eventlet has made a green thread the sleep in the kernel would stop all, for ever."""
    run = "asyncio.run(main())"
    if hub:
        run = "from eventlet.asyncio import spawn_for_awaitable; spawn_for_awaitable(main()).wait()"
    program = Program(
        lock,
        f"""
{'import eventlet.hubs; eventlet.hubs.use_hub("eventlet.hubs.asyncio")' if hub else ""}
{start}
import asyncio, sys
lock = xctx.SharedLock.at(sys.argv[1])

async def main():
    async with lock.exclusive():
        print("got it")

{run}
""",
    )
    with lock:
        eventually(lambda: lock.waiters)
        time.sleep(0.3)  # by now a thread sleeps in the kernel for the loop
    assert program.says() == ["got it"]
