# How a caller of a batch waits, and how it is woken; included by batch.pyx. waiters.c decides who is woken.

# A waiter looks again after so many seconds even if nobody woke it, because the unit that had to may have been left behind
# by a fork, or killed while it was waking others.
cdef double LOOK_AGAIN = 1.0


cdef class _Waiter:
    """One call that waits once: in a greenlet whose hub goes on, or else with its thread.

    Thread-safety: `node` is guarded by the core's mutex. Lifetime: the call owns it, and the list or the waker.
    """

    cdef BatchWaiter node
    cdef PyThread_type_lock lock  # never changes; held except for the moment of waking. NULL in a greenlet
    cdef object hub               # never changes
    cdef object greenlet          # touched only by the caller that waits, and in its thread
    cdef bint parked              # as `greenlet`

    def __cinit__(self, hub):
        self.node.owner = <PyObject*>self  # borrowed; the list takes a reference of its own
        self.node.hub = hub is not None
        self.hub = hub
        if hub is None:
            self.lock = PyThread_allocate_lock()
            if self.lock == NULL:
                raise MemoryError()
            PyThread_acquire_lock_timed(self.lock, 0, 0)

    def resume(self):
        # Runs in the hub, and may come late: once the wait is over the greenlet must not be switched to.
        if self.parked:
            self.parked = False
            self.greenlet.switch()

    cdef int park(self, double seconds) except -1:
        cdef PyLockStatus got
        cdef long long microseconds
        if self.hub is None:
            microseconds = <long long>(seconds * 1e6) + 1
            with nogil:
                got = PyThread_acquire_lock_timed(self.lock, microseconds, 1)
            # Also after a timeout: a signal that came just before the sleep did not interrupt it.
            if got != PY_LOCK_ACQUIRED:
                PyErr_CheckSignals()  # a handler may raise, switch, fork or load
            return 0
        timer = self.hub.loop.timer(seconds)
        self.greenlet = running_greenlet(True)
        try:
            timer.start(self.resume)
            self.parked = True
            self.hub.switch()
        finally:
            self.parked = False
            self.greenlet = None
            timer.stop()
            timer.close()
        return 0

    cdef int wake(self) except -1:
        if self.hub is None:
            PyThread_release_lock(self.lock)
        else:
            loop = self.hub.loop
            if loop is not None:  # None once the hub was destroyed, together with the greenlets that waited in it
                loop.run_callback_threadsafe(self.resume)
        return 0

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_acquire_lock_timed(self.lock, 0, 0)
            PyThread_release_lock(self.lock)  # some platforms do not free a lock that is held
            PyThread_free_lock(self.lock)


cdef int wake_all(BatchWaiter* chain) except -1:
    """Wakes those that were picked: all of them, even where one cannot be woken, or this greenlet is killed meanwhile."""
    cdef _Waiter waiter
    failed = None
    while chain != NULL:
        waiter = <_Waiter>chain.owner
        chain = chain.next
        Py_DECREF(waiter)  # the list's reference; `waiter` has its own
        try:
            waiter.wake()
        except BaseException as error:
            if not isinstance(error, Exception):
                failed = error
    if failed is not None:
        raise failed
    return 0


cdef int pass_on(BatchCore* core) except -1:
    """Wakes the next, if there is something for it to do."""
    cdef BatchWaiter* wake = NULL
    batch_lock(core)
    batch_pass_on(core, &wake)
    batch_unlock(core)
    return wake_all(wake)


cdef int wait(BatchCore* core, _Waiter waiter, double until) except -1:
    """Waits until it is woken, or for a while; the caller then looks what to do next. `until` < 0 is for ever."""
    cdef double seconds = LOOK_AGAIN
    cdef BatchWaiter* wake
    if until >= 0:
        seconds = min(seconds, max(until - monotonic(), 0.0))
    try:
        waiter.park(seconds)
    except BaseException:
        if batch_abandon(core, &waiter.node, &wake):
            Py_DECREF(waiter)  # the list's reference
        wake_all(wake)
        raise
    if batch_leave(core, &waiter.node):
        Py_DECREF(waiter)
    return 0
