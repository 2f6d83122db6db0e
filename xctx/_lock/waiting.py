"""Waiting for a lock without stopping a gevent hub or an asyncio loop.

A thread cannot sleep for a greenlet or a task: it would stop all the others that it runs. So a helper thread sleeps in
the kernel for all of one hub or loop that wait for one lock, a *round* long: until something changes, or a tenth of a
second. Then they all look again, and those who still have to wait start the next round.
"""

import contextlib
import importlib
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from xctx._runtime.scheduling import current_hub, start_system_thread

Nap = Callable[[int], None]
Rounds = dict[Any, Any]  # of one lock: hub, or id of a loop -> its round

# Seconds that anybody waits for a round: in a child that is forked meanwhile nobody ends it.
AT_MOST = 0.25


class Attempt(Protocol):
    """What a lock shows of one who wants it."""

    def begin(self) -> bool:
        """The first looks. Whether the lock is held."""

    def arm(self) -> int | None:
        """A last look: None where the lock is held, otherwise the gate to sleep at."""

    @property
    def nap(self) -> Nap:
        """What sleeps in the kernel."""

    @property
    def rounds(self) -> Rounds:
        """The lock's."""

    def look(self) -> bool:
        """Looks again after a round, and looks for the dead. Whether the lock is held."""

    def cancel(self) -> bool:
        """Gives up. Whether the lock is held all the same."""

    def give_up(self) -> None:
        """Gives up, and gives the lock back where it is held all the same."""


def pause(seconds: float) -> None:
    """Sleeps, and lets the hub run where there is one."""
    hub = current_hub()
    if hub is None:
        time.sleep(seconds)
    else:
        hub.wait(hub.loop.timer(seconds))


def forget(rounds: Rounds, place: Any, over: Any) -> None:
    if rounds.get(place) is over:
        rounds.pop(place, None)


def forget_the_gone(rounds: Rounds) -> None:
    """Keeps no hub or loop alive that has come to its end in the middle of a round."""
    for place, other in list(rounds.items()):
        if other.gone():
            rounds.pop(place, None)


# --- gevent ----------------------------------------------------------------------------------------------------------


class HubRound:
    """One round in a hub. All is done in the hub's thread, but for `sleep`."""

    def __init__(self, rounds: Rounds, hub: Any, nap: Nap, gate: int) -> None:
        self.rounds, self.hub, self.pid = rounds, hub, os.getpid()
        self.over = importlib.import_module("gevent.event").Event()
        self.wake = hub.loop.async_()
        self.wake.start(self.end)
        rounds[hub] = self
        try:
            start_system_thread(self.sleep, (nap, gate))
        except BaseException:
            self.end()
            raise

    def sleep(self, nap: Nap, gate: int) -> None:
        nap(gate)
        try:
            self.wake.send()
        except Exception:  # the hub is gone, and with it all who waited
            forget(self.rounds, self.hub, self)

    def end(self) -> None:
        self.wake.stop()
        self.wake.close()
        forget(self.rounds, self.hub, self)
        self.over.set()

    def gone(self) -> bool:
        return self.pid != os.getpid() or bool(self.hub.dead)


def wait_in_hub(rounds: Rounds, hub: Any, nap: Nap, gate: int, seconds: float) -> None:
    """Lets the hub run until a round is over, or the time."""
    current = rounds.get(hub)
    if current is None or current.gone():
        forget_the_gone(rounds)
        current = HubRound(rounds, hub, nap, gate)
    current.over.wait(min(seconds, AT_MOST))


# --- asyncio ---------------------------------------------------------------------------------------------------------


class LoopRound:
    """One round in an event loop, which it does not keep alive. All is done in the loop's thread, but for `sleep`."""

    def __init__(self, rounds: Rounds, loop: Any, nap: Nap, gate: int) -> None:
        import weakref  # asyncio has imported it

        self.rounds, self.loop, self.pid = rounds, weakref.ref(loop), os.getpid()
        self.waiters: list[Any] = []
        start_system_thread(self.sleep, (nap, gate))
        rounds[id(loop)] = self

    async def wait(self, loop: Any, seconds: float) -> None:
        """Waits until the round is over, or the time."""
        waiter = loop.create_future()
        self.waiters.append(waiter)
        timer = loop.call_later(min(seconds, AT_MOST), finish, waiter)
        try:
            await waiter
        finally:
            self.waiters.remove(waiter)
            timer.cancel()

    def sleep(self, nap: Nap, gate: int) -> None:
        nap(gate)
        loop = self.loop()
        with contextlib.suppress(RuntimeError):  # it is closed
            if loop is not None:
                loop.call_soon_threadsafe(self.end, id(loop))

    def end(self, place: int) -> None:
        forget(self.rounds, place, self)
        for waiter in self.waiters:
            finish(waiter)

    def is_of(self, loop: Any) -> bool:
        return self.loop() is loop and self.pid == os.getpid()

    def gone(self) -> bool:
        loop = self.loop()
        return loop is None or bool(loop.is_closed()) or self.pid != os.getpid()


def finish(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def acquire(attempt: Attempt, until: float) -> bool:
    """Goes on with an attempt, in a task.

    Args:
        until: when to give up, by time.monotonic().
    """
    try:
        if attempt.begin():
            return True
        import asyncio

        loop, rounds = asyncio.get_running_loop(), attempt.rounds
        while (gate := attempt.arm()) is not None:
            left = until - time.monotonic()
            if left <= 0:
                return attempt.cancel()
            current = rounds.get(id(loop))
            if current is None or not current.is_of(loop):
                forget_the_gone(rounds)
                current = LoopRound(rounds, loop, attempt.nap, gate)
            await current.wait(loop, left)
            if attempt.look():
                return True
        return True
    except BaseException:
        attempt.give_up()
        raise


async def pause_task(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)
