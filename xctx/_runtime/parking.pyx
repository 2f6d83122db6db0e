# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Parking: how threads, greenlets and tasks wait in xctx, and how they are woken. No other file lets them wait.

A unit that has to wait makes a *waiter*, puts it into a *queue*, looks once more whether it must wait, and parks. A thread
parks by sleeping on a lock of the interpreter's, a greenlet by switching to its hub, a task by awaiting a future of its
event loop. A queue belongs to the room whose units wait in it, and so does the lock that guards the queue: under that lock
the room decides in one step what a unit gets, or that the unit waits.

                          the unit that waits                                        the waker
    room's lock held      look; nothing there; add the waiter to the queue           change something; choose waiters
    no lock held                                            park                     wake_all(chosen)

Why no wake-up is lost

* *Between the look and the sleep.* The waiter is in the queue before the unit looks for the last time, and a waker changes
  things before it looks at the queue. So the unit sees the change, or the waker sees the waiter. A wake-up that comes
  before the unit sleeps is kept in the waiter's `signal`, and then parking returns at once.
* *A unit that was chosen, and is killed* (GreenletExit, gevent.Timeout, KeyboardInterrupt, a cancelled task). Its park()
  raises, or its await does. Then the room must take the waiter out of the queue and, if the waiter had been chosen or stood
  first, choose the next one: `Attempt.leave` in _lock/attempt.pyx and `batch_abandon` in _batch/waiters.c do that.
* *A waker that is killed* between choosing and waking. Wakers choose under the lock, where no Python code runs, and
  `wake_all` then wakes all that were chosen; an exception that a signal handler raises in the middle is raised again once
  all are awake. A wake-up that was interrupted is delivered once more: being woken twice does no harm. If a wake-up cannot
  be delivered, the unit's signal is cleared, so that a later wake-up is delivered.
* *Timeouts, and spurious wake-ups.* A park may return for no reason, so the unit always looks again. A signal that is
  delivered late ends a later park of the same waiter, or has no effect. A unit that goes on clears the signal before it
  looks, so it sees all that was done before the wake-up.
* *A fork in the middle of a wait.* The child has one thread. Threads that waited are gone. Greenlets of the forking thread
  are there, still parked, in a queue that the child has forgotten. So each room lets a timer of their hub wake its greenlets
  now and then; the hub runs in the child as well. They find that the count of forks has changed, and start over.
* *A loop that was closed, a hub that was destroyed.* No unit that waits there can go on. `wake_all` tells its caller how
  many waiters could not be reached; the room forgets those and wakes others.
* *The end of the interpreter.* Waiting imports nothing: all that it needs was imported with this module. A thread that is
  parked when the interpreter ends stays so, like one in `threading.Lock.acquire`.

A queue counts its waiters, so that a program, or a test, can see that others wait.
"""
cimport cython
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_DECREF

from xctx._runtime.python cimport (PY_LOCK_ACQUIRED, PyErr_CheckSignals, PyLockStatus, PyThread_acquire_lock_timed,
                                   PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
                                   xctx_forbid_instances)
from xctx._runtime.runtime cimport connect
from xctx._runtime.scheduling cimport current_hub, current_loop, running_greenlet, running_task

cdef extern from "xctx/_runtime/parking.h" nogil:
    int xctx_signal(int *signal, int value)

connect()

# Seconds, a little less than PyThread_acquire_lock_timed accepts. A longer wait is one without a limit.
cdef double LONGEST = 1e9


cdef class Waiter:
    """One unit that waits. The unit may park with it any number of times; the subclasses say how.

    Thread-safety: the unit that made a waiter parks with it, and any thread may wake it. `node` is guarded by the lock of
    the queue. Lifetime: that of the wait; the queue and a waker own references of their own.
    """

    def __cinit__(self):
        self.node.owner = <PyObject*>self   # borrowed

    # Hooks

    cdef int park(self, double seconds) except -1:
        """Waits until the unit is woken, or that long; float("inf") is for ever. May also return without a reason."""
        raise NotImplementedError

    cdef bint deliver(self) except -1:
        """Makes the unit go on if it is parked. False if the unit never can, because its loop or hub has ended."""
        raise NotImplementedError


cdef int wake_all(xctx_waiter *chain) except -1:
    """Wakes the waiters that the caller has chosen, and returns how many of them could not be reached.

    To be called without any lock. Runs Python code, but does not switch to another greenlet.
    """
    cdef Waiter waiter
    cdef int unreachable = 0
    failed = None
    while chain != NULL:
        waiter = <Waiter>chain.owner
        chain = chain.next_chosen
        Py_DECREF(waiter)   # the chain's reference; `waiter` holds one of its own
        if xctx_signal(&waiter.signal, 1):
            continue   # an earlier waker delivers, and the unit has not gone on since
        try:
            unreachable += not waiter.deliver()
        except Exception:
            unreachable += 1
            xctx_signal(&waiter.signal, 0)
        except BaseException as error:
            failed = error
            try:
                waiter.deliver()
            except BaseException:
                unreachable += 1
    if failed is not None:
        raise failed
    return unreachable


cdef int wake_again(Waiter waiter) except -1:
    """Wakes a waiter, even if its signal is set by an earlier wake-up, which did not arrive."""
    xctx_signal(&waiter.signal, 1)
    waiter.deliver()
    return 0


# --- threads ---------------------------------------------------------------------------------------------------------

cdef class ThreadWaiter(Waiter):
    """A thread, which sleeps on a lock of its own that only a waker releases."""
    cdef PyThread_type_lock lock   # never changes; held, except between a wake-up and the park that it ends

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError()
        PyThread_acquire_lock_timed(self.lock, 0, 0)

    cdef int park(self, double seconds) except -1:
        cdef PyLockStatus got
        cdef long long microseconds = -1
        if seconds < LONGEST:
            microseconds = <long long>(seconds * 1e6) + 1
        with nogil:
            got = PyThread_acquire_lock_timed(self.lock, microseconds, 1)
        xctx_signal(&self.signal, 0)
        if got != PY_LOCK_ACQUIRED:
            PyErr_CheckSignals()   # a handler may raise, switch, fork, or wait itself
        return 0

    cdef bint deliver(self) except -1:
        PyThread_release_lock(self.lock)
        return True

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_acquire_lock_timed(self.lock, 0, 0)
            PyThread_release_lock(self.lock)   # not every platform frees a lock that is held
            PyThread_free_lock(self.lock)


# --- greenlets -------------------------------------------------------------------------------------------------------

cdef class GreenletWaiter(Waiter):
    """A greenlet, which lets its hub run."""
    cdef object hub        # never changes
    cdef object greenlet   # this and the next are touched in the hub's thread only
    cdef bint sleeping

    cdef int park(self, double seconds) except -1:
        timer = None
        self.greenlet = running_greenlet(True)
        try:
            if seconds < LONGEST:
                timer = self.hub.loop.timer(seconds)
                timer.start(self.resume)
            self.sleeping = True
            if not self.signal:
                self.hub.switch()
        finally:
            self.sleeping = False
            self.greenlet = None
            if timer is not None:
                timer.stop()
                timer.close()
            xctx_signal(&self.signal, 0)
        return 0

    def resume(self):
        """Runs in the hub, perhaps so late that the greenlet waits for something else by then."""
        if self.sleeping:
            self.sleeping = False
            self.greenlet.switch()

    cdef bint deliver(self) except -1:
        loop = self.hub.loop
        if loop is None or self.hub.dead:
            return False
        if current_hub() is self.hub:
            loop.run_callback(self.resume)
        else:
            loop.run_callback_threadsafe(self.resume)
        return True


cdef Waiter waiter_here(object hub, object subject):
    """A waiter for the unit that runs: a greenlet of this hub, or a thread where `hub` is None."""
    cdef Waiter waiter
    cdef GreenletWaiter greenlet
    if hub is None:
        waiter = ThreadWaiter.__new__(ThreadWaiter)
    else:
        greenlet = GreenletWaiter.__new__(GreenletWaiter)
        greenlet.hub = hub
        greenlet.node.in_hub = True
        waiter = greenlet
    waiter.subject = subject
    return waiter


# --- tasks -----------------------------------------------------------------------------------------------------------

cdef class TaskWaiter(Waiter):
    """A task, which parks by awaiting the future that `begin` gives, and then calls `finish`, however the await ended."""

    cdef object begin(self, double seconds):
        self.future = self.loop.create_future()
        if self.signal:
            self.resume()   # it was woken before there was a future
        elif seconds < LONGEST:
            self.timer = self.loop.call_later(seconds, self.resume)
        return self.future

    cdef int finish(self) except -1:
        timer = self.timer
        self.future = self.timer = None
        xctx_signal(&self.signal, 0)
        if timer is not None:
            timer.cancel()
        return 0

    def resume(self):
        """Runs in the loop's thread, perhaps so late that the task waits for something else by then."""
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    cdef bint deliver(self) except -1:
        if current_loop() is self.loop and running_task() is not None:
            # The loop looks at what is ready when the step of the running task is over. But outside of a step, where a
            # signal handler or a finaliser may run, the loop may be about to sleep, and has to be woken.
            self.resume()
        elif self.loop.is_closed():
            return False
        else:
            self.loop.call_soon_threadsafe(self.resume)
        return True


cdef TaskWaiter task_waiter(object loop, object subject):
    cdef TaskWaiter waiter = TaskWaiter.__new__(TaskWaiter)
    waiter.loop = loop
    waiter.subject = subject
    return waiter


# --- where there is nothing to wait for ------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class Done:
    """A coroutine that returns at once: what an asynchronous method gives if it has done everything before it is awaited.

    Thread-safety: it never changes, and any number of tasks can await it.
    """
    cdef object result

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration(self.result)

    def send(self, value):
        raise StopIteration(self.result)

    def throw(self, kind, value=None, traceback=None):
        if isinstance(kind, BaseException):
            raise kind
        raise kind() if value is None else value

    def close(self):
        pass


cdef object done(object result):
    cdef Done made = Done.__new__(Done)
    made.result = result
    return made


# Only this module makes instances.
xctx_forbid_instances(<PyTypeObject*>Done)
xctx_forbid_instances(<PyTypeObject*>Waiter)
xctx_forbid_instances(<PyTypeObject*>ThreadWaiter)
xctx_forbid_instances(<PyTypeObject*>GreenletWaiter)
xctx_forbid_instances(<PyTypeObject*>TaskWaiter)
