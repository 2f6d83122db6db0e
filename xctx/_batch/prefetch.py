"""The helper that refills a BatchExecutor with ``prefetch``: a greenlet for one batch, or a thread that lingers."""

import sys
import weakref
from typing import Any

from xctx._runtime.scheduling import start_system_thread, unpatched

LINGER = 2.0  # seconds that the thread waits for the next kick


class Helper:
    """Refills one executor each time that it is kicked.

    Thread-safety: `_guard` guards `_idle`; the executor kicks again only after its last refill has ended.
    Lifetime: owned by the executor, and by its own thread, which holds the executor only while it refills.
    """

    def __init__(self, executor: Any, forks: int) -> None:
        self.forks = forks  # the count of forks: in a child, this helper's thread is missing
        self._executor: Any = weakref.ref(executor)
        self._guard = unpatched("allocate_lock")()
        self._kicked = unpatched("allocate_lock")()  # held, except between a kick and the thread's noticing it
        self._kicked.acquire()
        self._idle = False  # the thread waits for a kick, or is about to

    def kick(self, in_greenlet: bool) -> None:
        if in_greenlet:
            sys.modules["gevent"].spawn(self._refill_once)
        elif self._stop_being_idle():
            self._kicked.release()
        else:
            start_system_thread(self._run)

    def _stop_being_idle(self) -> bool:
        """Says that the thread is not idle any more. Returns whether it was."""
        with self._guard:
            idle, self._idle = self._idle, False
        return idle

    def _refill_once(self) -> None:
        executor = self._executor()
        again = executor is not None
        while again:
            executor._refill()
            again = executor._refilled()

    def _run(self) -> None:
        executor = self._executor()
        while executor is not None:
            again = True
            while again:
                executor._refill()
                with self._guard:
                    self._idle = True  # before _refilled(): a kick may come right after that
                again = executor._refilled()
                if again:  # no kick can have come: one caller at a time claims a refill, and this thread has claimed it
                    self._stop_being_idle()
            del executor
            # After LINGER seconds the thread ends, unless a kick found it idle: that kick has come, or will at once.
            if not self._kicked.acquire(timeout=LINGER) and (self._stop_being_idle() or not self._kicked.acquire()):
                return
            executor = self._executor()
