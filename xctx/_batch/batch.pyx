# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Batches: values made by the batch and handed out one by one, each exactly once.

The store (where values lie, and how they move) is in ``_batch/store.h``; this module runs the source, lets callers wait, and
gives both their Python face.

A call of ``load`` that finds a value takes it, and that is all. One that finds none takes a *turn*: it gets a value
after all, or the error that lies there, or it becomes the *filler*, or it waits for the one that is. The turn is
decided under the store's mutex; sources, waiters and finalisers run outside it, because each of them may run Python,
switch greenlets, fork, or come back here.
"""
cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t

from xctx._runtime.runtime cimport connect
from xctx._runtime.scheduling cimport current_hub, monotonic, running_greenlet
import sys
from collections import namedtuple
from types import GenericAlias


# A waiter looks again after this long even if nobody woke it: whoever should have may have died in a fork, or been
# killed while it was waking others.
cdef double LOOK_AGAIN = 1.0

connect()

cdef dict modules = sys.modules
cdef object record_key = object()  # of this thread's record in the thread state's dict

BatchStats = namedtuple("BatchStats", "loads fills waits")
BatchStats.__doc__ = "What a BatchExecutor did so far: values handed out, batches begun, and calls that had to wait."
BatchStats.__module__ = "xctx"


# ---------------------------------------------------------------------------------------------------------------------
# Who is calling

cdef class _Thread:
    """What a thread holds here: the stashes it took, the fills it is in the middle of.

    Thread-safety: only its thread touches it. Lifetime: owned by the thread state's dict, so it dies with the thread.
    """

    cdef xb_thread record

    def __dealloc__(self):
        wake_all(xb_thread_end(&self.record))


cdef xb_thread* thread_here() except NULL:
    global xb_here
    cdef _Thread thread
    cdef PyObject* found
    if xb_here != NULL:
        if xb_here.forks != xb_forks:
            xb_thread_renew(xb_here)
        return xb_here
    found = PyThreadState_GetDict()
    if found == NULL:
        raise RuntimeError("this thread has no state to keep values in")
    thread = _Thread.__new__(_Thread)
    thread.record.forks = xb_forks
    (<dict><object>found)[record_key] = thread
    xb_here = &thread.record
    return xb_here


cdef void* greenlet_here() except? NULL:
    """The running greenlet, only to be compared while it must be alive; NULL where the program has none."""
    cdef object greenlet = running_greenlet(True)
    return NULL if greenlet is None else <void*>greenlet


cdef bint hub_goes_on() except -1:
    """Whether gevent's hub surely runs again: it runs this greenlet, or it is the main one of a patched program.

    A hub that is merely there may never run again, and everyone would wait for a helper that is suspended in it.
    """
    hub = current_hub()
    if hub is None:
        return False
    greenlet = running_greenlet(True).parent
    while greenlet is not None and greenlet is not hub:
        greenlet = greenlet.parent
    if greenlet is hub:
        return True
    monkey = modules.get("gevent.monkey")
    return monkey is not None and hub.main_hub and monkey.is_module_patched("threading")


# ---------------------------------------------------------------------------------------------------------------------
# Waiting

cdef class _Waiter:
    """One call that waits once, in a greenlet whose hub goes on, or else with its thread.

    Thread-safety: `node` is guarded by the core's mutex. Lifetime: the call's, and the list's or the waker's.
    """

    cdef xb_waiter node
    cdef PyThread_type_lock lock  # never changes; held but for the moment of waking. NULL in a greenlet
    cdef object hub               # never changes
    cdef object greenlet          # owner only, in its own thread
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
        # Runs in the hub. Whatever was scheduled may come late: after the wait the greenlet must not be switched to.
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
            if got == PY_LOCK_INTR:
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
            if loop is not None:  # else its hub was destroyed, and it with it
                loop.run_callback_threadsafe(self.resume)
        return 0

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_acquire_lock_timed(self.lock, 0, 0)
            PyThread_release_lock(self.lock)  # not every platform frees a lock that is held
            PyThread_free_lock(self.lock)


cdef int wake_all(xb_waiter* chain) except -1:
    """Wakes those that somebody picked. All of them, even where one cannot be woken or this greenlet is killed."""
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


cdef int pass_on(xb_core* core) except -1:
    cdef xb_waiter* wake = NULL
    xb_lock(core)
    xb_pass_on(core, &wake)
    xb_unlock(core)
    return wake_all(wake)


cdef int wait(xb_core* core, _Waiter waiter, double until) except -1:
    """Waits until woken, or for a while; what to do then is the next turn's to say. `until` < 0 is for ever."""
    cdef double seconds = LOOK_AGAIN
    cdef int forks = xb_forks
    if until >= 0:
        seconds = min(seconds, max(until - <double>monotonic(), 0.0))
    try:
        waiter.park(seconds)
    except BaseException:
        # Killed, interrupted: a wake-up that was meant for this one goes to another.
        leave(core, waiter, forks)
        core.due = 0
        pass_on(core)
        raise
    leave(core, waiter, forks)
    return 0


cdef void leave(xb_core* core, _Waiter waiter, int forks) noexcept:
    cdef bint linked = False
    if forks != xb_forks:
        return  # a child, whose list is a new one
    xb_lock(core)
    if waiter.node.linked:
        xb_unlink(core, &waiter.node)
        linked = True
    xb_unlock(core)
    if linked:
        Py_DECREF(waiter)  # the list's reference


cdef double deadline(object timeout) except? -2.0:
    if timeout is None:
        return -1.0
    cdef double seconds = timeout
    if not seconds >= 0:
        raise ValueError(f"timeout {timeout!r} is not usable: None or a number of seconds, 0 or more, is wanted")
    return <double>monotonic() + seconds


# ---------------------------------------------------------------------------------------------------------------------
# The executor

cdef class BatchExecutor:
    """BatchExecutor(source, size, *, prefetch=0)

    Calls *source* *size* times in a row, keeps what it gives, and hands the values out one by one: each exactly once,
    to whichever thread or greenlet calls :meth:`load`, in the order they were made.

    - One unit at a time runs the source. Those that find nothing meanwhile wait: threads block, gevent's greenlets let
      their hub run. A ``load`` from inside the source takes what this batch has so far, or calls the source itself; so
      does one from another greenlet of the filler's thread where there is no hub to wait with. A source that waits for
      another *thread* which loads from the same executor waits for ever, unless that load has a timeout.
    - A source that raises an ``Exception`` ends its batch. The values before it are handed out, then the exception goes
      to the caller whose value it would have been; the call after that calls the source again. What is not an
      ``Exception`` (``KeyboardInterrupt``, ``GreenletExit``, ``gevent.Timeout``) was meant for the unit that ran the
      source: it goes there at once, and the values made so far stay.
    - With *prefetch*, a helper makes the next batch as soon as no more than that many values are left, and hands on each
      value as it is made. It is a greenlet where one that gevent's hub runs does the loading, else a daemon thread.
    - A forked child starts empty: the values in the store stay the parent's.

    On a free-threaded interpreter each thread takes some values along, never more than it has taken so far, nor than
    256. They go back when the thread ends, the source fails or the executor is closed. There, an executor that two
    threads have taken more than 16,384 values from is *promoted*: its count of references is no longer kept by every
    call. CPython 3.14 still collects a promoted executor; 3.13 never frees it, so close it when it has done its work.

    Thread-safety: everything may be called from anywhere. Lifetime: whoever fills, waits or holds an :meth:`as_local`
    handle keeps it alive; helpers do not, but while they run the source.
    """

    cdef xb_core* core              # never changes; owned
    cdef object call                # never changes: the source
    cdef object count               # never changes: `size` for a source of batches, None for one of values
    cdef object helper              # set once, by the first that kicks it
    cdef list unused                # set once, by close()
    cdef object __weakref__

    def __cinit__(self, source, size, *, prefetch=0):
        if not callable(source):
            raise TypeError(f"source {source!r} is not usable: a callable is wanted")
        if not isinstance(size, int):
            raise TypeError(f"size {size!r} is not usable: an int is wanted")
        if not isinstance(prefetch, int):
            raise TypeError(f"prefetch {prefetch!r} is not usable: an int is wanted")
        if size < 1:
            raise ValueError(f"size {size!r} is not usable: 1 or more is wanted")
        if prefetch < 0:
            raise ValueError(f"prefetch {prefetch!r} is not usable: 0 or more is wanted")
        self.call = source
        self.core = xb_new(size, prefetch)
        if self.core == NULL:
            raise MemoryError()

    @classmethod
    def from_batches(cls, source, size, *, prefetch=0):
        """An executor whose source makes a batch at a time: ``source(size)`` gives an iterable of values, *size* of them or
        fewer (or more: none is lost), such as a list of rows, ``range(first, last)``, or ``os.urandom``, whose bytes
        are handed out as ints. A batch without any value means that there is nothing to be had now: ``load`` raises
        LookupError, iteration ends, and the next call asks the source again.
        """
        cdef BatchExecutor self = cls(source, size, prefetch=prefetch)
        self.count = size
        return self

    # Loading

    def load(self, block=True, timeout=None):
        """The next value. Where there is none and another unit is filling, wait for it: for ever, or at most *timeout*
        seconds (then TimeoutError), or not at all with *block* false (then BlockingIOError). The time that this call
        spends in the source itself is not limited.
        """
        return slow(self, block, timeout, True)  # and see xb_load

    def as_local(self):
        """A handle for one thread or greenlet. On a free-threaded interpreter, calling through a handle of one's own never
        touches the executor's reference count; with the GIL it is as good as the executor.
        """
        return LocalBatch.__new__(LocalBatch, self)

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject* value = xb_pop(self.core)
        if value != NULL:
            return xb_own(value)
        return following(self, True)

    def __length_hint__(self):
        cdef size_t held
        xb_lock(self.core)
        held = xb_held(self.core)
        xb_unlock(self.core)
        return held

    # Ending

    def close(self):
        """Ends it: waiting callers and later ones get a ValueError. If a batch is being filled, waits for the source to
        come back once; that filler still gets its value. The result is the list of all values that nobody was handed,
        the oldest first, the same list on every call; an exception that was kept for a caller is dropped.
        """
        cdef xb_core* core = self.core
        cdef xb_waiter* wake = NULL
        cdef xb_thread* here = thread_here()
        cdef _Waiter waiter
        cdef PyObject** values
        cdef PyObject* error
        cdef size_t i, n = 0
        cdef bint mine
        cdef list unused = []
        hub = current_hub()
        xb_lock(core)
        mine = core.filling and core.filler == here and (hub is None or core.greenlet == greenlet_here())
        if not mine:
            xctx_store_int(&core.closed, 1)
            xb_pick(core, <size_t>-1, &wake)
            if self.unused is None:
                self.unused = unused
        xb_unlock(core)
        if mine:
            raise RuntimeError("close() cannot wait for a batch that its own caller is filling: "
                               "a call from outside the source is wanted")
        wake_all(wake)
        while True:
            waiter = _Waiter.__new__(_Waiter, hub)
            xb_lock(core)
            if not core.filling:
                xb_unlock(core)
                break
            xb_enqueue(core, &waiter.node, 0)
            xb_unlock(core)
            wait(core, waiter, -1.0)
        pass_on(core)  # another close()
        values = xb_drain(core, &n)
        for i in range(n):
            self.unused.append(xb_own(values[i]))
        PyMem_RawFree(values)
        error = xb_swap_error(core, NULL)
        if error != NULL:
            xb_own(error)
        return self.unused

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    # Views

    @property
    def source(self):
        """The callable that makes the values, or the batches."""
        return self.call

    @property
    def size(self):
        """How many values a batch is to have."""
        return self.core.size

    @property
    def prefetch(self):
        """The number of values left at which a helper makes the next batch; 0 for none."""
        return self.core.mark

    @property
    def closed(self):
        """Whether close() was called."""
        return self.core.closed != 0

    @property
    def leftover(self):
        """What close() gave back, or None before."""
        return self.unused

    @property
    def stats(self):
        """The numbers so far: values handed out, batches begun, calls that had to wait."""
        cdef xb_core* core = self.core
        cdef uint64_t loads, fills, waits
        xb_lock(core)
        loads = core.made - core.left - xb_held(core)
        fills = core.fills
        waits = core.waits
        xb_unlock(core)
        return BatchStats(loads, fills, waits)

    def __repr__(self):
        state = "closed" if self.core.closed else f"holds {self.__length_hint__()}"
        return f"<xctx.{type(self).__name__} of {self.call!r}, size {self.core.size}, {state}>"

    def __reduce__(self):
        raise TypeError(f"{self!r} cannot be copied or pickled: each of its values is handed out once")

    @classmethod
    def __class_getitem__(cls, item):
        return GenericAlias(cls, item)

    def _refill(self):
        """What the helper runs."""
        try:
            while refill(self):
                pass
        except BaseException:  # the helper itself is killed
            self.core.helper = 0
            raise

    def _refilled(self):
        """The helper has no more to do, and can be kicked again; whether it has, after all."""
        self.core.helper = 0
        return claim(self.core)

    def __dealloc__(self):
        cdef xb_core* core = self.core
        if core != NULL:
            xb_release(core)  # finalisers run, and cannot reach this object any more
            xb_spare_index(core.index)
            xb_unref(core)


@cython.final
cdef class LocalBatch:
    """What ``BatchExecutor.as_local()`` gives: ``load`` without a touch on what other threads touch.

    Thread-safety: as the executor; only the speed is gone where threads share one. Lifetime: keeps the executor alive.
    """

    cdef xb_core* core                   # never changes; kept alive by `wrapped`
    cdef readonly BatchExecutor wrapped  # never changes

    def __cinit__(self, BatchExecutor wrapped not None):
        self.core = wrapped.core
        self.wrapped = wrapped

    def load(self, block=True, timeout=None):
        """As ``BatchExecutor.load``."""
        return slow(self.wrapped, block, timeout, False)

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject* value = xb_pop(self.core)
        if value != NULL:
            return xb_own(value)
        return following(self.wrapped, False)

    def __length_hint__(self):
        return self.wrapped.__length_hint__()

    def as_local(self):
        """Another handle of the same executor."""
        return self.wrapped.as_local()

    def close(self):
        """As ``BatchExecutor.close``."""
        return self.wrapped.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.wrapped.close()

    def __repr__(self):
        return f"<xctx.LocalBatch of {self.wrapped!r}>"

    def __reduce__(self):
        raise TypeError(f"{self!r} cannot be copied or pickled: as_local() makes another one")


# ---------------------------------------------------------------------------------------------------------------------
# The slow way of a load

cdef object following(BatchExecutor self, bint shared):
    try:
        return slow(self, True, None, shared)
    except EmptyBatch:
        raise StopIteration from None


cdef object slow(BatchExecutor self, object block, object timeout, bint shared):
    cdef xb_core* core = self.core
    cdef double until = deadline(timeout)
    cdef bint may_block = block
    cdef bint spun = False
    cdef bint waited = False
    cdef _Waiter waiter = None     # a new one for each wait: an old one may still be in a waker's chain
    cdef xb_waiter* node
    cdef xb_waiter* wake
    cdef PyObject* value
    cdef xb_thread* here
    cdef int turn, rob = not may_block
    cdef double since = 0.0
    while True:
        here = thread_here()  # anew each time: a fork may lie in between
        node = NULL if waiter is None else &waiter.node
        turn = xb_turn(core, here, greenlet_here(), node, waited, rob, &value, &wake)
        if turn == XB_WAIT and node != NULL:
            waited = True
            wait(core, waiter, until)
            waiter = None
        elif turn == XB_VALUE:
            return hand_out(self, xb_own(value), wake, shared)
        elif turn == XB_FILL:
            value = fill(self, core, here)
            if value != NULL:
                return hand_out(self, xb_own(value), NULL, shared)
            # Loads from inside the source took them all, or this fill was given up meanwhile.
        elif turn == XB_INNER:
            return inner(self, core)
        elif turn == XB_ERROR:
            error = xb_own(value)
            wake_all(wake)
            raise error
        elif turn == XB_CLOSED:
            raise ValueError(f"load() from {self!r}: an open one is wanted")
        else:  # XB_WAIT, XB_SIBLING: to wait, and not in line yet
            hub = current_hub()
            if turn == XB_SIBLING and hub is None:
                return inner(self, core)  # to wait would stop the thread that the filler has to run in
            if not may_block:
                raise BlockingIOError("load(block=False): no value is there and another unit is filling the batch")
            if until >= 0 and monotonic() >= until:
                if rob:
                    raise TimeoutError(f"load(timeout={timeout!r}): no value came in that time")
                rob = 1
                continue
            if hub is None and not spun:
                spun = True
                xb_spin(core)
                if not core.filling:
                    continue
            waiter = _Waiter.__new__(_Waiter, hub)
            if not since:
                since = xb_now()
            waiter.node.since = since


cdef object hand_out(BatchExecutor self, object value, xb_waiter* wake, bint shared):
    cdef xb_core* core = self.core
    try:
        if wake != NULL:
            wake_all(wake)
        if core.mark and not core.helper and core.tail - core.head <= core.mark:
            kick(self, core)
    except BaseException:  # this unit is interrupted, and its caller will never see the value
        Py_INCREF(value)
        xb_give_back(core, <PyObject*>value)
        pass_on(core)
        raise
    if shared and core.hot > 1 and not core.promoted:
        core.promoted = 1
        xctx_promote(<PyObject*>self)
    return value


cdef PyObject* fill(BatchExecutor self, xb_core* core, xb_thread* here) except? NULL:
    """Runs the source as the filler. An owned value for this caller; or NULL with nothing raised: take another turn."""
    cdef uint64_t number = core.fill
    cdef PyObject* error = NULL
    cdef PyObject* own
    cdef xb_waiter* wake
    failed = None
    try:
        make(self, core, number, False)
    except Exception as raised:
        failed = raised
        Py_INCREF(failed)
        error = <PyObject*>failed  # owned; publishing may keep it
    except BaseException:
        # For this unit, now. The values stay, and one of those who wait becomes the filler.
        xb_publish(core, here, number, 0, &error, &wake)
        wake_all(wake)
        raise
    own = xb_publish(core, here, number, 1, &error, &wake)
    try:
        wake_all(wake)
    except BaseException:
        if own != NULL:
            xb_give_back(core, own)
            pass_on(core)
        if error != NULL:
            xb_own(error)
        raise
    if error != NULL:
        xb_own(error)
        raise failed
    return own


cdef int make(BatchExecutor self, xb_core* core, uint64_t number, bint stream) except -1:
    """Calls the source until the batch is full, the executor is closed, or this fill is not the current one any more.

    With `stream` each value is published as it comes.
    """
    # Anything may happen in the source. `self` is kept alive by the caller, the source by `self`.
    cdef xb_waiter* wake = NULL
    cdef Py_ssize_t n = 0
    if self.count is not None:
        batch = self.call(self.count)
        try:
            items = iter(batch)
        except TypeError:
            raise TypeError(f"source {self.call!r} gave {batch!r}: an iterable of values is wanted") from None
        for item in items:
            Py_INCREF(item)
            n += 1
            keep(core, number, <PyObject*>item)
        if n == 0:
            raise EmptyBatch(f"source {self.call!r} gave a batch without any value: at least one is wanted")
        return 0
    if not stream:
        xb_make(core, <PyObject*>self.call, number, &wake)
        return wake_all(wake)
    while n < core.size and not core.closed and xb_current(core, number):
        keep_at_once(core, PyObject_CallNoArgs(<PyObject*>self.call))
        n += 1
    return 0


cdef bint keep(xb_core* core, uint64_t number, PyObject* value) except -1:
    """Takes over a value; false where this fill was given up, and whoever comes may have it."""
    if xb_current(core, number):
        xb_keep(core, value)
        return True
    keep_at_once(core, value)
    return False


cdef bint keep_at_once(xb_core* core, PyObject* value) except -1:
    cdef xb_waiter* wake
    xb_add(core, value, &wake)
    wake_all(wake)
    return True


cdef object inner(BatchExecutor self, xb_core* core):
    """A load from inside the source: what this batch has so far, or else a call of the source for this caller alone."""
    cdef PyObject* value = xb_fresh_pop(core)
    if value != NULL:
        return xb_own(value)
    Py_EnterRecursiveCall(" in the source of a BatchExecutor")
    try:
        if self.count is not None:
            make(self, core, core.fill, False)
            return slow(self, True, None, False)  # inner again, unless this fill was given up
        value = PyObject_CallNoArgs(<PyObject*>self.call)
    finally:
        Py_LeaveRecursiveCall()
    xb_lock(core)
    core.made += 1
    xb_unlock(core)
    return xb_own(value)


class EmptyBatch(LookupError):
    """The source of a ``BatchExecutor.from_batches`` has no values now."""


EmptyBatch.__module__ = "xctx"


# ---------------------------------------------------------------------------------------------------------------------
# The helper

cdef int kick(BatchExecutor self, xb_core* core) except -1:
    if not claim(core):
        return 0
    try:
        if self.helper is None or self.helper.forks != xb_forks:
            from xctx._batch.prefetch import Helper
            self.helper = Helper(self, xb_forks)
        self.helper.kick(hub_goes_on())
    except Exception:  # no thread is to be had: loads go on to fill for themselves
        core.helper = 0
    except BaseException:
        core.helper = 0
        raise
    return 0


cdef bint claim(xb_core* core) noexcept:
    """Whether there is something to refill, and no helper about it; then the caller sees to it."""
    cdef bint mine
    xb_lock(core)
    mine = (not core.helper and not core.closed and not core.filling and core.error == NULL
            and core.tail - core.head <= core.mark)
    if mine:
        core.helper = 1
    xb_unlock(core)
    return mine


cdef int publish(xb_core* core, xb_thread* here, uint64_t number, PyObject* error) except -1:
    cdef xb_waiter* wake
    xb_publish(core, here, number, 0, &error, &wake)
    if error != NULL:
        xb_own(error)
    return wake_all(wake)


cdef bint refill(BatchExecutor self) except -1:
    """One batch, by the helper; whether it should go on. What the source raises is kept for the load it belongs to."""
    cdef xb_core* core = self.core
    cdef xb_thread* here = thread_here()
    cdef PyObject* error = NULL
    cdef uint64_t number
    if not xb_refill_turn(core, here, greenlet_here()):
        return False
    number = core.fill
    greenlets = modules.get("greenlet")
    try:
        make(self, core, number, self.count is None)
    except BaseException as raised:
        killed = greenlets is not None and isinstance(raised, greenlets.GreenletExit)
        if not killed:
            Py_INCREF(raised)
            error = <PyObject*>raised  # owned; publishing keeps it
        publish(core, here, number, error)
        if killed:
            raise
        return False
    publish(core, here, number, NULL)
    return core.tail - core.head <= core.mark


# ---------------------------------------------------------------------------------------------------------------------

cdef int setup() except -1:
    cdef BatchExecutor executor = BatchExecutor(object, 1)
    cdef LocalBatch handle = executor.as_local()
    cdef Py_ssize_t offset = <char*>&executor.core - <char*><void*>executor
    xb_setup()
    xb_collect(<PyTypeObject*>BatchExecutor, offset)
    if offset == <char*>&handle.core - <char*><void*>handle:
        xb_shorten(BatchExecutor.__dict__["load"], 0)
        xb_shorten(LocalBatch.__dict__["load"], 1)
    return 0


setup()
