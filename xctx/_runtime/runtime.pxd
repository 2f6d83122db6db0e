"""The state under all rooms, as state.h describes it: the thread's "now", the count of forks, serial numbers.

A module that uses any of it calls `connect` once, when it is imported.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from xctx._runtime.python cimport PyThreadState


cdef extern from "xctx/_runtime/state.h" nogil:
    ctypedef struct xctx_cache_entry:
        uint64_t serial
        PyObject *context
        void *what

    ctypedef struct xctx_found_unit:
        PyObject *unit

    ctypedef struct xctx_now:
        uint64_t tsid
        PyObject *thread
        xctx_found_unit *found
        void *batch

    ctypedef enum xctx_fork_step:
        XCTX_FORK_UNITS, XCTX_FORK_STORES, XCTX_FORK_MAPPINGS, XCTX_FORK_BATCHES

    ctypedef struct xctx_greenlet_api:
        PyObject *(*getcurrent)() noexcept
        int (*is_main)(PyObject *) noexcept
        int (*started)(PyObject *) noexcept
        int (*active)(PyObject *) noexcept

    ctypedef struct xctx_process:
        xctx_greenlet_api greenlet

    xctx_process *xctx_the_process
    void xctx_connect(xctx_process *process)
    void xctx_at_fork(xctx_fork_step step, void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                      void (*child)() noexcept nogil)
    uint32_t xctx_fork_count()
    uint64_t xctx_next_serial()
    xctx_now *xctx_here()
    void xctx_found_drop(xctx_now *now)
    bint xctx_found_hit(xctx_now *now, int kind, PyThreadState *tstate)
    void xctx_found_begin(xctx_now *now, PyThreadState *tstate)
    void xctx_found_set(xctx_now *now, int kind, PyThreadState *tstate, PyObject *unit)
    xctx_cache_entry *xctx_cache_entry_of(uint64_t serial)
    bint xctx_cache_hit(xctx_cache_entry *entry, uint64_t serial, PyThreadState *tstate, PyObject *store)
    void xctx_promote_store(PyObject *)
    void xctx_cache_set(xctx_cache_entry *entry, uint64_t serial, PyThreadState *tstate, void *what)
    bint xctx_cache_knows(const xctx_cache_entry *entry, uint64_t serial, uint64_t version)
    void xctx_cache_note(xctx_cache_entry *entry, uint64_t serial, uint64_t version, void *what)
    void xctx_cache_drop(xctx_cache_entry *entry, uint64_t serial)
    void xctx_cache_empty()
    void xctx_count_contexts(PyThreadState *tstate)

cdef extern from "xctx/_runtime/state.h":
    # `kept` gets a new reference.
    int xctx_put(PyThreadState *, PyObject *variable, PyObject *value, PyObject **kept) except -1
    # This one leaves it to the caller to look for an error.
    int xctx_put_ "xctx_put"(PyThreadState *, PyObject *variable, PyObject *value, PyObject **kept)


cdef xctx_process *process_state() noexcept


cdef inline void connect() noexcept:
    xctx_connect(process_state())
