"""What _batch/batch.pyx uses of the store in C, and of CPython; _batch/store.h says what each of them does."""
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint64_t


cdef extern from "xctx/_batch/store.h" nogil:
    ctypedef struct xb_thread:
        int forks
        xb_thread* fills

    ctypedef struct xb_waiter:
        xb_waiter* next
        PyObject* owner
        int linked
        int woken
        int hub
        double since

    ctypedef struct xb_core:
        Py_ssize_t size
        size_t mark
        int forks
        int closed
        int helper
        size_t head
        size_t tail
        PyObject* error
        int filling
        int due
        uint64_t fill
        xb_thread* filler
        void* greenlet
        uint64_t made
        uint64_t fills
        uint64_t waits
        uint64_t left
        size_t index
        size_t fresh_tail
        int hot
        int promoted

    enum:
        XB_VALUE
        XB_ERROR
        XB_CLOSED
        XB_FILL
        XB_INNER
        XB_SIBLING
        XB_WAIT

    xb_thread* xb_here
    int xb_forks
    xb_core* xb_new(Py_ssize_t size, size_t mark)
    void xb_unref(xb_core* core)
    void xb_spare_index(size_t index)
    void xb_lock(xb_core* core)
    void xb_unlock(xb_core* core)
    void xb_spin(xb_core* core)
    double xb_now()


cdef extern from "xctx/_batch/store.h":
    void xb_setup()
    void xb_enqueue(xb_core* core, xb_waiter* waiter, int front)
    void xb_unlink(xb_core* core, xb_waiter* waiter)
    void xb_pick(xb_core* core, size_t n, xb_waiter** chain)
    void xb_pass_on(xb_core* core, xb_waiter** chain)
    size_t xb_held(xb_core* core)
    PyObject* xb_pop(xb_core* core)
    int xb_turn(xb_core* core, xb_thread* thread, void* greenlet, xb_waiter* waiter, int front, int rob,
                PyObject** value, xb_waiter** wake)
    int xb_current(xb_core* core, uint64_t fill)
    int xb_add(xb_core* core, PyObject* value, xb_waiter** wake) except -1
    int xb_keep(xb_core* core, PyObject* value) except -1
    int xb_make(xb_core* core, PyObject* source, uint64_t fill, xb_waiter** wake) except -1
    PyObject* xb_fresh_pop(xb_core* core)
    PyObject* xb_publish(xb_core* core, xb_thread* thread, uint64_t fill, int own, PyObject** error, xb_waiter** wake)
    PyObject* xb_swap_error(xb_core* core, PyObject* error)
    PyObject** xb_drain(xb_core* core, size_t* n) except NULL
    int xb_release(xb_core* core)
    void xb_give_back(xb_core* core, PyObject* value)
    int xb_refill_turn(xb_core* core, xb_thread* thread, void* greenlet)
    xb_waiter* xb_thread_end(xb_thread* thread)
    void xb_thread_renew(xb_thread* thread)
    void xb_collect(PyTypeObject* type, Py_ssize_t offset)
    int xb_shorten(object descriptor, int which)
    object xb_own(PyObject* value)
    void PyMem_RawFree(void* memory)
    void xctx_store_int(int* flag, int value)
    void xctx_promote(PyObject* op)


cdef extern from "Python.h":
    ctypedef void* PyThread_type_lock
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE
        PY_LOCK_ACQUIRED
        PY_LOCK_INTR
    PyThread_type_lock PyThread_allocate_lock() nogil
    void PyThread_free_lock(PyThread_type_lock lock) nogil
    void PyThread_release_lock(PyThread_type_lock lock) nogil
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int intr) nogil
    PyObject* PyObject_CallNoArgs(PyObject* callable) except NULL  # an owned reference
    PyObject* PyThreadState_GetDict()  # borrowed
    int Py_EnterRecursiveCall(const char* where) except -1
    void Py_LeaveRecursiveCall()
