# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Batches: values made by the batch and handed out one by one, each exactly once.

The buffer (where values lie, and how they move) is C: see ``_batch/core.h``. This module runs the source, lets callers wait
(``_runtime/parking.pyx``), and has the Python classes.

A call of ``load`` that finds a value just takes it. A call that finds none asks for its *next step*: it gets a value after
all, or the exception that was kept, or it becomes the *filler*, or it waits for the filler. The step is decided under the
core's mutex. Sources, waiters and finalisers run outside the mutex, because each of them may run Python code, switch
greenlets, fork, or load from the same executor.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t

from xctx._runtime.parking cimport Waiter, wake_all, waiter_here, xctx_queue_add, xctx_waiter
from xctx._runtime.runtime cimport connect, xctx_fork_count, xctx_here, xctx_promote_store
from xctx._runtime.scheduling cimport current_hub, loaded, monotonic, running_greenlet
from collections import namedtuple
from types import GenericAlias

connect()

# How many C frames a load from inside a source takes at most: it counts as so many levels of recursion.
cdef enum:
    FRAMES_OF_A_LOAD = 12

cdef object record_key = object()  # the key of a thread's record in the dict of its thread state

BatchStats = namedtuple("BatchStats", "loads fills waits")
BatchStats.__doc__ = "What a BatchExecutor has done so far: values handed out, batches begun, calls that had to wait."
BatchStats.__module__ = "xctx"


# ---------------------------------------------------------------------------------------------------------------------
# The calling thread and greenlet

cdef class _ThreadRecord:
    """What the batch room holds for a thread: values that it took along, fills that it has not finished.

    Thread-safety: only its thread touches it. Lifetime: the thread state's dict owns it, so it dies with the thread.
    """

    cdef BatchThread record

    def __dealloc__(self):
        wake_all(batch_thread_end(&self.record))


xctx_forbid_instances(<PyTypeObject*>_ThreadRecord)


cdef BatchThread* thread_here() except NULL:
    """This thread's record, made when it is first needed."""
    cdef BatchThread* thread = batch_thread()
    cdef _ThreadRecord owner
    cdef PyObject* found
    if thread != NULL:
        if thread.forks != xctx_fork_count():
            batch_thread_renew(thread)
        return thread
    found = PyThreadState_GetDict()
    if found == NULL:
        raise RuntimeError("this thread has no state to keep values in")
    owner = _ThreadRecord.__new__(_ThreadRecord)
    owner.record.forks = xctx_fork_count()
    (<dict><object>found)[record_key] = owner
    xctx_here().batch = &owner.record
    return &owner.record


cdef void* greenlet_here() except? NULL:
    """The running greenlet, to be compared only while it is certainly alive; NULL if the program has no greenlets."""
    cdef object greenlet = running_greenlet(True)
    return NULL if greenlet is None else <void*>greenlet


cdef bint hub_goes_on() except -1:
    """Whether gevent's hub will certainly run again: it runs this greenlet, or it is the main hub of a patched program.

    Another hub may never run again; then all callers would wait for a helper that is suspended in it.
    """
    hub = current_hub()
    if hub is None:
        return False
    greenlet = running_greenlet(True).parent
    while greenlet is not None and greenlet is not hub:
        greenlet = greenlet.parent
    if greenlet is hub:
        return True
    is_patched = loaded("gevent.monkey", "is_module_patched")
    return is_patched is not None and hub.main_hub and is_patched("threading")


# ---------------------------------------------------------------------------------------------------------------------
# Waiting

# A caller looks again after so many seconds even if it was not woken, because a fork may have left behind the unit that was
# to wake it.
cdef double LOOK_AGAIN = 1.0


cdef int pass_on(BatchCore* core) except -1:
    """Wakes the next waiter, if there is something for it to do."""
    cdef xctx_waiter* wake = NULL
    batch_lock(core)
    batch_pass_on(core, &wake)
    batch_unlock(core)
    return wake_all(wake)


cdef int wait(BatchCore* core, Waiter waiter, double until) except -1:
    """Waits until the waiter is woken, but not for long; then the caller asks for its next step. `until` < 0 is for ever."""
    cdef double seconds = LOOK_AGAIN
    cdef xctx_waiter* wake
    if until >= 0:
        seconds = min(seconds, max(until - monotonic(), 0.0))
    try:
        waiter.park(seconds)
    except BaseException:
        if batch_abandon(core, &waiter.node, &wake):
            Py_DECREF(waiter)  # the queue's reference
        wake_all(wake)
        raise
    if batch_leave(core, &waiter.node):
        Py_DECREF(waiter)
    return 0


cdef double deadline(object timeout) except? -2.0:
    if timeout is None:
        return -1.0
    cdef double seconds = timeout
    if not seconds >= 0:
        raise ValueError(f"timeout {timeout!r} is not usable: None or a number of seconds, 0 or more, is wanted")
    return monotonic() + seconds


# ---------------------------------------------------------------------------------------------------------------------
# The executor

cdef public class BatchExecutor [object BatchExecutorObject, type BatchExecutorType]:
    """BatchExecutor(source, size, *, prefetch=0)\n--\n\nHands out values that a source makes, a batch at a time.

    It calls *source* *size* times in a row, keeps what it returns, and hands the values out one by one: each exactly once,
    to whichever thread or greenlet calls :meth:`load`, in the order in which they were made.

    Args:
        source: a callable without arguments that makes one value.
        size: how many values a batch has, 1 or more.
        prefetch: with so many values left, or fewer, a helper makes the next batch; 0 for no helper.

    Raises:
        TypeError: `source` cannot be called, or `size` or `prefetch` is no int.
        ValueError: `size` is less than 1, or `prefetch` less than 0.

    - One unit at a time runs the source. Callers that find no value meanwhile wait: threads block, gevent's greenlets let
      their hub run. A ``load`` from inside the source takes a value that this batch has so far, or calls the source itself;
      so does a ``load`` from another greenlet of the filler's thread if there is no hub to wait with. A source that waits
      for another *thread* which loads from the same executor waits for ever, unless that load has a timeout.
    - A source that raises an ``Exception`` ends its batch. The values before it are handed out, then the exception is raised
      in the call that would have got the next value; the call after that calls the source again. Other exceptions
      (``KeyboardInterrupt``, ``GreenletExit``, ``gevent.Timeout``) are meant for the unit that ran the source: they are
      raised there at once, and the values made so far stay.
    - The helper hands on each value as it is made. It is a greenlet if gevent's hub runs the greenlet that loads, else a
      daemon thread.
    - A forked child starts empty: the values in the buffer remain the parent's.

    On a free-threaded interpreter each thread takes some values along: at most 256, and never more than it has taken so
    far. They go back when the thread ends, the source fails or the executor is closed. If two threads have taken more than
    16,384 values each, the executor is *promoted* there: threads no longer write its reference count at every call.
    CPython 3.14 still collects a promoted executor; 3.13 never frees it, so close it when it has done its work.

    Thread-safety: all methods may be called from any thread or greenlet.
    Lifetime: a unit that fills or waits keeps the executor alive, and so does an :meth:`as_local` handle; a helper keeps it
    alive only while it runs the source.
    """

    cdef BatchCore* core  # never changes; owned. The first field: see object.h
    cdef object call      # never changes: the source
    cdef object count     # never changes once from_batches() has returned: `size` for a source of batches, else None
    cdef object helper    # touched only by a caller that has claimed a refill
    cdef list unused      # set once, by close(), under the core's mutex
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
        self.core = batch_core_new(size, prefetch)
        if self.core == NULL:
            raise MemoryError()

    @classmethod
    def from_batches(cls, source, size, *, prefetch=0):
        """An executor whose source makes a batch at a time.

        Args:
            source: ``source(size)`` returns an iterable of values, *size* of them or fewer (or more: none is lost), such as
                a list of rows, ``range(first, last)``, or ``os.urandom``, whose bytes are handed out as ints. An empty
                batch means that there are no values now: ``load`` raises LookupError, iteration ends, and the next call
                asks the source again.
            size, prefetch: as for the class.

        Raises:
            TypeError, ValueError: as the class does.
        """
        cdef BatchExecutor self = cls(source, size, prefetch=prefetch)
        self.count = size
        return self

    # Loading

    def load(self, block=True, timeout=None):
        """Returns the next value. If there is none, this calls the source, or waits if another unit is doing that.

        Args:
            block: False to raise BlockingIOError rather than to wait for another unit.
            timeout: how many seconds to wait for another unit at most; None for as long as it takes. It does not limit the
                time that the call spends in the source itself.

        Raises:
            BlockingIOError: with `block` false, this would have to wait.
            TimeoutError: no value came in `timeout` seconds.
            ValueError: the executor is closed, or `timeout` is negative.
            LookupError: the source of :meth:`from_batches` gave an empty batch.
            Exception: what the source raised, in the place of a value.
        """
        return slow(self, block, timeout, True)  # object.c puts a faster function in front of this

    def as_local(self):
        """A handle for one thread or greenlet, with the methods of the executor. On a free-threaded interpreter, a call through
        a handle that only one thread uses never touches the executor's reference count; with the GIL there is no difference.
        """
        return LocalBatch.__new__(LocalBatch, self)

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject* value = batch_pop(self.core)
        if value != NULL:
            return xctx_taken(value)
        return following(self, True)

    def __length_hint__(self):
        cdef size_t held
        batch_lock(self.core)
        held = batch_held(self.core)
        batch_unlock(self.core)
        return held

    # Ending

    def close(self):
        """Closes the executor: calls of ``load`` that wait, and later ones, raise ValueError.

        If a batch is being filled, this waits until the source returns; the unit that called the source still gets its
        value. An exception that was kept for a caller is dropped.

        Returns:
            A list of all values that were not handed out, the oldest first; the same list on every call.

        Raises:
            RuntimeError: the source itself calls this.
            MemoryError: the executor is closed, but the list has not all values yet. Another call adds those that are left.
        """
        cdef BatchCore* core = self.core
        cdef xctx_waiter* wake = NULL
        cdef BatchThread* here = thread_here()
        cdef Waiter waiter
        cdef PyObject** values
        cdef PyObject* error
        cdef size_t i, n = 0
        cdef bint mine
        cdef list unused = []
        cdef void* greenlet = greenlet_here()
        hub = current_hub()
        batch_lock(core)
        mine = core.filling and core.filler == here and (hub is None or core.greenlet == greenlet)
        if not mine:
            xctx_store_int(&core.closed, 1)
            batch_pick_waiters(core, <size_t>-1, &wake)
            if self.unused is None:
                self.unused = unused
        batch_unlock(core)
        if mine:
            raise RuntimeError("close() cannot wait for a batch that its own caller is filling: "
                               "a call from outside the source is wanted")
        wake_all(wake)
        while True:
            waiter = waiter_here(hub, None)
            batch_lock(core)
            if not core.filling:
                batch_unlock(core)
                break
            xctx_queue_add(&core.waiters, &waiter.node, False)
            batch_unlock(core)
            wait(core, waiter, -1.0)
        pass_on(core)  # another close() may wait
        values = batch_drain(core, &n)
        try:
            for i in range(n):
                self.unused.append(<object>values[i])
                Py_DECREF(<object>values[i])   # the list has a reference of its own now
        except MemoryError:
            batch_undrain(core, values + i, n - i)   # for the next call of close()
            raise
        finally:
            PyMem_RawFree(values)
        error = batch_swap_error(core, NULL)
        if error != NULL:
            xctx_taken(error)
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
        return xctx_load_int(&self.core.closed) != 0

    @property
    def leftover(self):
        """What close() gave back, or None before."""
        return self.unused

    @property
    def stats(self):
        """How many values were handed out, how many batches were begun, how many calls had to wait: a named tuple."""
        cdef BatchCore* core = self.core
        cdef uint64_t loads, fills, waits
        batch_lock(core)
        loads = core.made - core.left - batch_held(core)
        fills = core.fills
        waits = core.waits
        batch_unlock(core)
        return BatchStats(loads, fills, waits)

    def __repr__(self):
        state = "closed" if xctx_load_int(&self.core.closed) else f"holds {self.__length_hint__()}"
        return f"<xctx.{type(self).__name__} of {self.call!r}, size {self.core.size}, {state}>"

    def __reduce__(self):
        raise TypeError(f"{self!r} cannot be copied or pickled: each of its values is handed out once")

    @classmethod
    def __class_getitem__(cls, item):
        return GenericAlias(cls, item)

    def _refill(self):
        """Makes batches as long as values are few. The helper runs this."""
        try:
            while refill(self):
                pass
        except BaseException:  # the helper itself is killed
            xctx_store_int(&self.core.refilling, 0)
            raise

    def _refilled(self):
        """Lets the helper be kicked again. Returns whether there is more to do after all, which the helper then does."""
        xctx_store_int(&self.core.refilling, 0)
        return batch_claim_refill(self.core)

    def __dealloc__(self):
        cdef BatchCore* core = self.core
        if core != NULL:
            batch_release(core)  # finalisers run, and cannot reach this object any more
            batch_core_give_index_back(core)
            batch_core_unref(core)


@cython.final
@cython.no_gc_clear
cdef public class LocalBatch [object LocalBatchObject, type LocalBatchType]:
    """What ``BatchExecutor.as_local()`` gives: its ``load`` touches no memory that other threads touch.

    Thread-safety: as the executor; a handle that several threads share only loses its speed. Lifetime: keeps the executor
    alive.
    """

    cdef BatchCore* core                 # never changes; kept alive by `wrapped`. The first field: see object.h
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
        cdef PyObject* value = batch_pop(self.core)
        if value != NULL:
            return xctx_taken(value)
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
# A load for which no value lies ready

cdef object following(BatchExecutor self, bint shared):
    try:
        return slow(self, True, None, shared)
    except EmptyBatch:
        raise StopIteration from None


cdef object slow(BatchExecutor self, object block, object timeout, bint shared):
    """A load for which batch_pop had no value. `shared`: the call came through the executor, not through a handle."""
    cdef BatchCore* core = self.core
    cdef double until = deadline(timeout)
    cdef bint may_block = block
    cdef bint rob = not may_block
    cdef bint spun = False
    cdef bint waited = False
    cdef Waiter waiter = None     # a new one for each wait: an old one may still be in a waker's chain
    cdef xctx_waiter* node
    cdef xctx_waiter* wake
    cdef PyObject* value
    cdef BatchThread* here
    cdef BatchStep step
    cdef double since = 0.0
    while True:
        here = thread_here()  # each time, because there may have been a fork
        node = NULL if waiter is None else &waiter.node
        step = batch_next_step(core, here, greenlet_here(), node, waited, rob, &value, &wake)
        if step == BATCH_WAIT and node != NULL:
            waited = True
            wait(core, waiter, until)
            waiter = None
        elif step == BATCH_VALUE:
            return hand_out(self, xctx_taken(value), wake, shared)
        elif step == BATCH_FILL:
            value = fill(self, core, here)
            if value != NULL:
                return hand_out(self, xctx_taken(value), NULL, shared)
            # No value is left: loads from inside the source took all of them, or this fill was given up meanwhile.
        elif step == BATCH_INNER:
            return inner(self, core)
        elif step == BATCH_ERROR:
            error = xctx_taken(value)
            wake_all(wake)
            raise error
        elif step == BATCH_CLOSED:
            raise ValueError(f"load() from {self!r}: an open one is wanted")
        else:  # BATCH_WAIT, BATCH_SIBLING: it has to wait, and is not in line yet
            hub = current_hub()
            if step == BATCH_SIBLING and hub is None:
                return inner(self, core)  # waiting would stop the thread in which the filler has to run
            if not may_block:
                raise BlockingIOError("load(block=False): no value is there and another unit is filling the batch")
            if until >= 0 and monotonic() >= until:
                if rob:
                    raise TimeoutError(f"load(timeout={timeout!r}): no value came in that time")
                rob = True
                continue
            if hub is None and not spun:
                spun = True
                batch_spin(core)
                if not xctx_load_int(&core.filling):
                    continue
            waiter = waiter_here(hub, None)
            if not since:
                since = monotonic()
            waiter.node.since = since


cdef object hand_out(BatchExecutor self, object value, xctx_waiter* wake, bint shared):
    cdef BatchCore* core = self.core
    try:
        if wake != NULL:
            wake_all(wake)
        if core.mark and not xctx_load_int(&core.refilling):
            kick(self, core)
    except BaseException:  # this unit was interrupted, and its caller will never see the value
        Py_INCREF(value)
        batch_return_value(core, <PyObject*>value)
        pass_on(core)
        raise
    if shared and xctx_load_int(&core.hot) > 1 and not xctx_load_int(&core.promoted):
        xctx_store_int(&core.promoted, 1)
        xctx_promote_store(<PyObject*>self)
    return value


cdef PyObject* fill(BatchExecutor self, BatchCore* core, BatchThread* here) except? NULL:
    """Runs the source as the filler. Gives an owned value for this caller; or NULL, with no exception, if it has to ask for
    its next step again."""
    cdef uint64_t number = xctx_load_u64(&core.fill)
    cdef PyObject* error = NULL
    cdef PyObject* own
    cdef xctx_waiter* wake
    failed = None
    try:
        make(self, core, number, False)
    except Exception as raised:
        failed = raised
        Py_INCREF(failed)
        error = <PyObject*>failed  # owned; publishing may keep it
    except BaseException:
        # The exception is meant for this unit, so it is raised now. The values stay, and a waiting caller becomes the filler.
        batch_publish(core, here, number, False, &error, &wake)
        wake_all(wake)
        raise
    own = batch_publish(core, here, number, True, &error, &wake)
    try:
        wake_all(wake)
    except BaseException:
        if own != NULL:
            batch_return_value(core, own)
            pass_on(core)
        if error != NULL:
            xctx_taken(error)
        raise
    if error != NULL:
        xctx_taken(error)
        raise failed
    return own


cdef int make(BatchExecutor self, BatchCore* core, uint64_t number, bint stream) except -1:
    """Calls the source until the batch is full, the executor is closed, or this fill is not the current one any more.

    With `stream` each value is published as it comes. Anything may happen in the source. The caller keeps `self` alive, and
    so the source.
    """
    xctx_enter_recursion(FRAMES_OF_A_LOAD, " in the source of a BatchExecutor")  # it may load from another executor, and so on
    try:
        return make_all(self, core, number, stream)
    finally:
        xctx_leave_recursion(FRAMES_OF_A_LOAD)


cdef int make_all(BatchExecutor self, BatchCore* core, uint64_t number, bint stream) except -1:
    cdef xctx_waiter* wake = NULL
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
        batch_fill_from(core, <PyObject*>self.call, number, &wake)
        return wake_all(wake)
    while n < core.size and not xctx_load_int(&core.closed) and batch_fill_is_current(core, number):
        keep_at_once(core, PyObject_CallNoArgs_(<PyObject*>self.call))
        n += 1
    return 0


cdef int keep(BatchCore* core, uint64_t number, PyObject* value) except -1:
    """Takes over a value of this fill. If the fill was given up, any caller may have the value."""
    if batch_fill_is_current(core, number):
        return batch_keep(core, value)
    return keep_at_once(core, value)


cdef int keep_at_once(BatchCore* core, PyObject* value) except -1:
    """Takes over a value that any caller may have now."""
    cdef xctx_waiter* wake
    batch_add(core, value, &wake)
    return wake_all(wake)


cdef object inner(BatchExecutor self, BatchCore* core):
    """A load from inside the source: what this batch has so far, or else a call of the source for this caller alone."""
    cdef PyObject* value = batch_fresh_pop(core)
    if value != NULL:
        return xctx_taken(value)
    xctx_enter_recursion(FRAMES_OF_A_LOAD, " in the source of a BatchExecutor")
    try:
        if self.count is not None:
            make(self, core, xctx_load_u64(&core.fill), False)
            return slow(self, True, None, False)  # inner again, unless this fill was given up
        value = PyObject_CallNoArgs_(<PyObject*>self.call)
    finally:
        xctx_leave_recursion(FRAMES_OF_A_LOAD)
    batch_lock(core)
    core.made += 1
    batch_unlock(core)
    return xctx_taken(value)


class EmptyBatch(LookupError):
    """The source of a ``BatchExecutor.from_batches`` has no values now."""


EmptyBatch.__module__ = "xctx"


# ---------------------------------------------------------------------------------------------------------------------
# The helper

cdef int kick(BatchExecutor self, BatchCore* core) except -1:
    """Makes a helper refill the buffer, if that is needed and no helper is doing so."""
    if not batch_claim_refill(core):
        return 0
    try:
        if self.helper is None or self.helper.forks != xctx_fork_count():
            from xctx._batch.prefetch import Helper
            self.helper = Helper(self, xctx_fork_count())
        self.helper.kick(hub_goes_on())
    except Exception:  # no thread could be started: loads go on calling the source themselves
        xctx_store_int(&core.refilling, 0)
    except BaseException:
        xctx_store_int(&core.refilling, 0)
        raise
    return 0


cdef int publish(BatchCore* core, BatchThread* here, uint64_t number, PyObject* error) except -1:
    cdef xctx_waiter* wake
    batch_publish(core, here, number, False, &error, &wake)
    if error != NULL:
        xctx_taken(error)
    return wake_all(wake)


cdef bint refill(BatchExecutor self) except -1:
    """The helper makes one batch. Returns whether it should make another. What the source raises is kept for a load."""
    cdef BatchCore* core = self.core
    cdef BatchThread* here = thread_here()
    cdef PyObject* error = NULL
    cdef uint64_t number
    if not batch_refill_step(core, here, greenlet_here()):
        return False
    number = xctx_load_u64(&core.fill)
    try:
        make(self, core, number, self.count is None)
    except BaseException as raised:
        killing = loaded("greenlet", "GreenletExit")
        killed = killing is not None and isinstance(raised, killing)
        if not killed:
            Py_INCREF(raised)
            error = <PyObject*>raised  # owned; publishing keeps it
        publish(core, here, number, error)
        if killed:
            raise
        return False
    publish(core, here, number, NULL)
    return batch_is_low(core)


# ---------------------------------------------------------------------------------------------------------------------
# What the module does when it is imported

cdef extern from *:
    """
    #define batch_check_layouts() do { \\
        BATCH_BEGINS_LIKE_BATCH_OBJECT(struct BatchExecutorObject); \\
        BATCH_BEGINS_LIKE_BATCH_OBJECT(struct LocalBatchObject); \\
    } while (0)
    """
    void batch_check_layouts()

batch_check_layouts()
batch_setup()
batch_show_to_collector(<PyTypeObject*>BatchExecutor)
batch_make_load_fast(<PyTypeObject*>BatchExecutor, BATCH_EXECUTOR)
batch_make_load_fast(<PyTypeObject*>LocalBatch, BATCH_LOCAL)
