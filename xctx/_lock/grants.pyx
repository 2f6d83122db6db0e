# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Locks that count only while a grant is good: the paths of a lock over a server on which it need not ask the server."""
cimport cython

from xctx._lock.acquisition cimport NO_LIMIT, BaseLock, enter, leave, leave_block
from xctx._lock.protocol cimport EXCLUSIVE, SHARED
from xctx._runtime.runtime cimport connect

connect()

cdef extern from *:
    """
    #include <time.h>
    /* Counts while the machine is suspended, too, where there is such a clock. */
    static double xctx_lock_clock(void) {
        struct timespec now;
    #ifdef CLOCK_BOOTTIME
        if (clock_gettime(CLOCK_BOOTTIME, &now) == 0) return now.tv_sec + now.tv_nsec * 1e-9;
    #endif
    #ifdef CLOCK_MONOTONIC
        if (clock_gettime(CLOCK_MONOTONIC, &now) == 0) return now.tv_sec + now.tv_nsec * 1e-9;
    #endif
        return 0;
    }
    """
    double xctx_lock_clock() nogil


def clock():
    """Seconds since some fixed moment, by the clock of grants."""
    return xctx_lock_clock()


@cython.final
cdef class Grant:
    """Until when it is certain that something outside of this process lets its units hold a lock.

    Thread-safety: a number that is written and read as a whole.
    """
    cdef public double until

    def good(self):
        """Whether it still is."""
        return xctx_lock_clock() < self.until


@cython.no_gc_clear
cdef class Granted:
    """The base of a lock that consists of a local lock and a grant. Its blocks are those of the local lock.

    A subclass has methods for when the local lock is not free at once, or the grant is not good: `_acquire_slowly(exclusive,
    blocking, timeout)`, `_enter_slowly()`, `_release_slowly()` and `_leave_slowly(exc)`; and `_put_back(local)`, which releases
    the local lock that was acquired just now.
    """
    cdef BaseLock inner         # the local lock; this and the rest are changed by `_bind` alone
    cdef Grant grant
    cdef bint forked              # this process was forked after the object was made

    def _bind(self, inner, grant, forked):
        self.inner = <BaseLock?>inner
        self.grant = <Grant?>grant
        self.forked = forked

    def acquire(self, exclusive=False, blocking=True, timeout=-1):
        """Acquires the lock for this unit. In a task it stops the event loop while it waits: see ``acquire_async``.

        Args:
            exclusive: to write, rather than to read beside others.
            blocking: False to try only, which may ask the server, but waits for no other unit.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held.

        Raises:
            ValueError: as for :class:`xctx.SharedLock`; or the server is a pooler or a standby.
            ConnectionError: the server cannot be reached.
            LockLost: this unit holds the lock already, and lost it.
        """
        if self.inner is None:
            raise RuntimeError("this lock was not initialised: a subclass calls super().__init__()")
        if blocking is True and timeout is NO_LIMIT and enter(self.inner, EXCLUSIVE if exclusive else SHARED, 0):
            if xctx_lock_clock() < self.grant.until:
                return True
            self._put_back(self.inner)
        return self._acquire_slowly(exclusive, blocking, timeout)

    def release(self):
        """Takes back one acquisition, the latest, of this unit.

        Raises:
            ValueError: this unit does not hold the lock.
            LockLost: it was lost meanwhile. It is released all the same.
        """
        if self.inner is None or not xctx_lock_clock() < self.grant.until:
            self._release_slowly()
        else:
            leave(self.inner)

    def __enter__(self):
        """Acquires the lock to read. It is the lock that a ``with`` block gets."""
        if self.inner is None:
            raise RuntimeError("this lock was not initialised: a subclass calls super().__init__()")
        if enter(self.inner, SHARED, 0):
            if xctx_lock_clock() < self.grant.until:
                return self
            self._put_back(self.inner)
        self._enter_slowly()
        return self

    def __exit__(self, exc_type=None, exc=None, traceback=None):
        if self.inner is None or self.forked or not xctx_lock_clock() < self.grant.until:
            return self._leave_slowly(exc)
        leave_block(self.inner)
        return False
