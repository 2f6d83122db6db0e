"""The helper that refills a BatchExecutor with ``prefetch``: a greenlet for one batch, or a thread that lingers."""

import sys
import weakref
from typing import Any

from xctx._runtime.scheduling import start_system_thread, unpatched

LINGER = 2.0  # seconds that the thread waits for the next kick


class Helper:
    """Refills one executor when it is kicked.

    Thread-safety: `_guard` guards `_idle`; the executor kicks again only after its last refill has ended. Lifetime:
    owned by the executor, and by its thread, which holds the executor only while it refills.
    """

    def __init__(self, executor: Any, forks: int) -> None:
        self.forks = forks  # a child makes a helper of its own: this one's thread is not there
        self._executor: Any = weakref.ref(executor)
        self._guard = unpatched("allocate_lock")()
        self._gate = unpatched("allocate_lock")()  # held, but for the moment of a kick
        self._gate.acquire()
        self._idle = False  # the thread is at the gate, or on its way

    def kick(self, in_greenlet: bool) -> None:
        if in_greenlet:
            sys.modules["gevent"].spawn(self._once)
        elif self._leave_gate():
            self._gate.release()
        else:
            start_system_thread(self._run)  # a daemon: nobody joins it

    def _leave_gate(self) -> bool:
        with self._guard:
            idle, self._idle = self._idle, False
        return idle

    def _once(self) -> None:
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
                    self._idle = True  # first this, then _refilled(): a kick may come right after it
                again = executor._refilled()
                if again:  # by nobody else's kick: only one is asked for at a time
                    self._leave_gate()
            del executor
            # Kicked in the very moment of giving up: the gate is open, or about to be.
            if not self._gate.acquire(timeout=LINGER) and (self._leave_gate() or not self._gate.acquire()):
                return
            executor = self._executor()
