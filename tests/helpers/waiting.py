"""Waiting for what another thread, greenlet or process will do: a test that sleeps instead fails on a busy machine."""

import time

# Seconds: nothing that works takes so long, even on a busy machine.
LONG = 60


def eventually(condition, seconds=LONG, pause=time.sleep):
    """Waits until `condition()` is true, and gives what it returned.

    In a greenlet say ``pause=gevent.sleep``, so that others run meanwhile.
    """
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not so after {seconds} seconds: {condition}")
        pause(0.001)
    return result


async def eventually_async(condition, seconds=LONG):
    """The same in a task: others run meanwhile."""
    import asyncio

    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not so after {seconds} seconds: {condition}")
        await asyncio.sleep(0.001)
    return result
