"""The helper that keeps a BatchExecutor with ``prefetch`` filled: a greenlet for one batch, or a thread that lingers."""
import sys
import threading
import weakref

LINGER = 2.0  # seconds that the thread waits for the next kick


class Helper:
    """Refills one executor when it is kicked.

    Thread-safety: `_guard` guards `_idle`; the executor kicks again only after its last refill has ended. Lifetime:
    owned by the executor, and by its thread, which holds the executor only while it refills.
    """

    def __init__(self, executor, forks):
        self.forks = forks  # a child makes a helper of its own: this one's thread is not there
        self._executor = weakref.ref(executor)
        self._guard = threading.Lock()
        self._gate = threading.Lock()  # held, but for the moment of a kick
        self._gate.acquire()
        self._idle = False  # the thread is at the gate, or on its way

    def kick(self, hub):
        if hub is not None:
            sys.modules["gevent"].spawn(self._refill)
        elif self._leave_gate():
            self._gate.release()
        else:
            threading.Thread(target=self._run, name="xctx-prefetch", daemon=True).start()

    def _leave_gate(self):
        with self._guard:
            idle, self._idle = self._idle, False
        return idle

    def _refill(self, thread=False):
        executor = self._executor()
        while executor is not None:
            executor._refill()
            with self._guard:
                self._idle = thread  # first this, then _refilled(): a kick may come right after it
            if not executor._refilled():
                return
            self._leave_gate()

    def _run(self):
        while self._executor() is not None:
            self._refill(thread=True)
            # Kicked in the very moment of giving up: the gate is open, or about to be.
            if not self._gate.acquire(timeout=LINGER) and (self._leave_gate() or not self._gate.acquire()):
                return
