"""The C parts of _batch/batch.pyx, and what it uses of CPython. The headers say what each function does."""
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint32_t, uint64_t

from xctx._runtime.parking cimport xctx_queue, xctx_waiter
from xctx._runtime.python cimport (PyMem_RawFree, PyObject_CallNoArgs_, PyThreadState_GetDict, xctx_enter_recursion,
                                   xctx_forbid_instances, xctx_leave_recursion, xctx_load_int, xctx_load_u64,
                                   xctx_store_int, xctx_taken)


cdef extern from "xctx/_batch/core.h" nogil:
    ctypedef struct BatchThread:
        uint32_t forks

    ctypedef struct BatchCore:
        Py_ssize_t size
        xctx_queue waiters
        size_t index
        size_t mark
        int closed
        int refilling
        int hot
        int promoted
        int filling
        uint64_t fill
        BatchThread* filler
        void* greenlet
        uint64_t made
        uint64_t fills
        uint64_t waits
        uint64_t left

    void batch_setup()
    BatchThread* batch_thread()
    BatchCore* batch_core_new(Py_ssize_t size, size_t mark)
    void batch_core_unref(BatchCore* core)
    void batch_core_give_index_back(BatchCore* core)
    void batch_lock(BatchCore* core)
    void batch_unlock(BatchCore* core)


cdef extern from "xctx/_batch/core.h":
    size_t batch_held(BatchCore* core)
    PyObject* batch_pop(BatchCore* core)
    PyObject** batch_drain(BatchCore* core, size_t* n) except NULL
    void batch_undrain(BatchCore* core, PyObject** values, size_t n)
    PyObject* batch_swap_error(BatchCore* core, PyObject* error)
    void batch_release(BatchCore* core)


cdef extern from "xctx/_batch/waiters.h":
    void batch_pick_waiters(BatchCore* core, size_t n, xctx_waiter** chain)
    void batch_pass_on(BatchCore* core, xctx_waiter** chain)
    bint batch_leave(BatchCore* core, xctx_waiter* waiter)
    bint batch_abandon(BatchCore* core, xctx_waiter* waiter, xctx_waiter** chain)


cdef extern from "xctx/_batch/fill.h":
    ctypedef enum BatchStep:
        BATCH_VALUE, BATCH_ERROR, BATCH_CLOSED, BATCH_FILL, BATCH_INNER, BATCH_SIBLING, BATCH_WAIT

    BatchStep batch_next_step(BatchCore* core, BatchThread* thread, void* greenlet, xctx_waiter* waiter, bint waited,
                              bint rob, PyObject** value, xctx_waiter** wake)
    bint batch_fill_is_current(BatchCore* core, uint64_t fill)
    int batch_fill_from(BatchCore* core, PyObject* source, uint64_t fill, xctx_waiter** wake) except -1
    int batch_keep(BatchCore* core, PyObject* value) except -1
    int batch_add(BatchCore* core, PyObject* value, xctx_waiter** wake) except -1
    PyObject* batch_fresh_pop(BatchCore* core)
    PyObject* batch_publish(BatchCore* core, BatchThread* thread, uint64_t fill, bint own, PyObject** error,
                            xctx_waiter** wake)
    void batch_return_value(BatchCore* core, PyObject* value)
    bint batch_claim_refill(BatchCore* core)
    bint batch_refill_step(BatchCore* core, BatchThread* thread, void* greenlet)
    bint batch_is_low(BatchCore* core)
    void batch_spin(BatchCore* core)


cdef extern from "xctx/_batch/thread_cache.h":
    void batch_thread_renew(BatchThread* thread)
    xctx_waiter* batch_thread_end(BatchThread* thread)


cdef extern from "xctx/_batch/object.h":
    ctypedef enum BatchClass:
        BATCH_EXECUTOR, BATCH_LOCAL

    void batch_show_to_collector(PyTypeObject* executor)
    int batch_make_load_fast(PyTypeObject* type, BatchClass which) except -1
