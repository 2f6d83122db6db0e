"""Waiting for a lock without stopping a gevent hub or an asyncio loop.

A thread cannot sleep for a greenlet or a task: it would stop all the others that it runs. So a helper thread sleeps in
the kernel for all of one hub or loop that wait for one lock, a *round* long: until something changes, or a tenth of a
second. Then they all look again, and those who still have to wait start the next round.
"""

import contextlib
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

Nap = Callable[[int], None]


class Attempt(Protocol):
    """What a lock shows of one who wants it."""

    def arm(self) -> int | None:
        """A last look: None where the lock is held, otherwise the gate to sleep at."""

    @property
    def nap(self) -> Nap:
        """What sleeps in the kernel."""

    def look(self) -> bool:
        """Looks again after a round, and looks for the dead. Whether the lock is held."""

    def cancel(self) -> bool:
        """Gives up. Whether the lock is held all the same."""

    def give_up(self) -> None:
        """Gives up, and gives the lock back where it is held all the same."""


def hub_here() -> Any:
    """The gevent hub that this greenlet could let run while it waits, or None."""
    hubs = sys.modules.get("gevent._hub_local")
    if hubs is None:
        return None
    hub = hubs.get_hub_if_exists()
    return None if hub is None or hub is sys.modules["greenlet"].getcurrent() or hub.dead else hub


def pause(seconds: float) -> None:
    """Sleeps, and lets the hub run where there is one."""
    hub = hub_here()
    if hub is None:
        time.sleep(seconds)
    else:
        hub.wait(hub.loop.timer(seconds))


def start_thread(function: Callable[..., None], *args: Any) -> None:
    """Starts a thread of the system's, also where gevent has replaced those of the standard library."""
    import _thread

    start = _thread.start_new_thread
    if "gevent.monkey" in sys.modules:
        start = sys.modules["gevent.monkey"].get_original("_thread", "start_new_thread")
    start(function, args)


# --- gevent ----------------------------------------------------------------------------------------------------------


class HubRounds:
    """The rounds of one lock in one hub. All is done in the hub's thread, but for `sleep`."""

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self.over: Any = None

    def wait(self, nap: Nap, gate: int, seconds: float) -> None:
        """Lets the hub run until the round is over, or the time."""
        if self.over is None:
            self.over = importlib.import_module("gevent.event").Event()
            wake = self.hub.loop.async_()
            wake.start(self.end, self.over, wake)
            start_thread(self.sleep, nap, gate, wake)
        # In a child forked meanwhile nobody ends the round, so nobody waits for long.
        self.over.wait(min(seconds, 0.25))

    def sleep(self, nap: Nap, gate: int, wake: Any) -> None:
        nap(gate)
        with contextlib.suppress(Exception):  # the hub is gone, and with it all who waited
            wake.send()

    def end(self, over: Any, wake: Any) -> None:
        wake.stop()
        wake.close()
        if self.over is over:
            self.over = None
        over.set()


# --- asyncio ---------------------------------------------------------------------------------------------------------


class LoopRounds:
    """The rounds of one lock in one event loop."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.waiters: list[Any] = []

    async def wait(self, nap: Nap, gate: int, seconds: float) -> None:
        """Waits until the round is over, or the time."""
        if not self.waiters:
            start_thread(self.sleep, nap, gate)
        waiter = self.loop.create_future()
        self.waiters.append(waiter)
        timer = self.loop.call_later(min(seconds, 0.25), finish, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    def sleep(self, nap: Nap, gate: int) -> None:
        nap(gate)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            finish(waiter)


def finish(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def acquire(begin: Callable[[], Attempt | None], rounds: dict[Any, Any], timeout: float) -> bool:
    """Acquires in a task.

    Args:
        begin: called in the task: None where it holds the lock at once.
        rounds: the lock's, by loop.
        timeout: seconds, or a negative number for ever.
    """
    import asyncio

    attempt = begin()
    if attempt is None:
        return True
    loop = asyncio.get_running_loop()
    until = time.monotonic() + timeout if timeout >= 0 else float("inf")
    try:
        while True:
            gate = attempt.arm()
            if gate is None:
                return True
            left = until - time.monotonic()
            if left <= 0:
                return attempt.cancel()
            if loop not in rounds:
                for other in [other for other in rounds if other.is_closed()]:
                    del rounds[other]
                rounds[loop] = LoopRounds(loop)
            await rounds[loop].wait(attempt.nap, gate, left)
            if attempt.look():
                return True
    except BaseException:
        attempt.give_up()
        raise
