"""What is running here, as greenlet, gevent, eventlet, asyncio and trio know it."""
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from xctx._runtime.python cimport PyErr_Clear, xctx_is_finalizing, xctx_load_ptr
from xctx._runtime.runtime cimport xctx_the_process


cpdef double monotonic() noexcept nogil
cdef bint find_greenlet() except -1
cdef bint greenlet_is_dead(object thing) except -1
cdef object loaded(str module, str name)
cpdef object running_task()
cpdef object current_loop()
cpdef object current_hub()
cpdef bint runs_eventlet() except -1
cpdef object unpatched(str name)


cdef inline object running_greenlet(bint or_main):
    """The greenlet that runs here, or None where the program has not imported greenlet.

    Unless `or_main`, it is also None in a thread's main greenlet: the unit of that is the thread's, which may have been in
    use before greenlet was imported.

    Raises:
        ImportError: greenlet is too old.
    """
    cdef PyObject *current
    if xctx_is_finalizing() or xctx_load_ptr(<void**>&xctx_the_process.greenlet.getcurrent) == NULL and not find_greenlet():
        return None
    current = xctx_the_process.greenlet.getcurrent()
    if current == NULL:
        PyErr_Clear()   # greenlet refuses once its own exit handler has run
        return None
    running = <object>current
    Py_DECREF(running)   # the call's reference; `running` holds one of its own
    return running if or_main or not xctx_the_process.greenlet.is_main(current) else None
