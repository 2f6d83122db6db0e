"""What the rooms use in C of the platform and of CPython: each declared once, here. cpython.h and platform.h say what it does.

A name that ends in an underscore is CPython's function of that name, declared for pointers: Cython declares these functions
for objects, and then counts a reference for the time of the call. A `PyObject *` is borrowed unless a comment says otherwise.
"""
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport intptr_t, uint64_t


# --- the platform ------------------------------------------------------------------------------------------------------

cdef extern from "xctx/_runtime/platform.h" nogil:
    bint FREE_THREADED "XCTX_FREE_THREADED"

    ctypedef struct xctx_mutex:
        pass
    void xctx_lock(xctx_mutex *)
    void xctx_unlock(xctx_mutex *)

    void *xctx_load_ptr(void **)
    void xctx_store_ptr(void **, void *)
    bint xctx_cas_ptr(void **, void *expected, void *)
    int xctx_load_int(int *)
    void xctx_store_int(int *, int)
    uint64_t xctx_load_u64(uint64_t *)
    void xctx_store_u64(uint64_t *, uint64_t)
    uint64_t xctx_next_u64(uint64_t *)
    intptr_t xctx_add(intptr_t *, intptr_t)
    intptr_t xctx_load_count(intptr_t *)
    void xctx_store_count(intptr_t *, intptr_t)

    double xctx_monotonic()


# --- what CPython's versions have in common ----------------------------------------------------------------------------

cdef extern from "xctx/_runtime/cpython.h" nogil:
    ctypedef struct PyThreadState:
        PyObject *context       # the PEP 567 context that is current, or NULL
        uint64_t context_ver    # counts context changes and greenlet switches, never down
        uint64_t id             # no two of an interpreter have the same
    PyThreadState *xctx_tstate()
    PyThreadState *xctx_first_thread()
    PyThreadState *xctx_next_thread(PyThreadState *)
    unsigned long xctx_thread_ident(PyThreadState *)
    bint xctx_is_finalizing()

cdef extern from "xctx/_runtime/cpython.h":
    int xctx_enter_recursion(int levels, const char *where) except -1
    void xctx_leave_recursion(int levels)
    bint xctx_hold_collector()
    void xctx_release_collector(bint collects)
    object xctx_var_set(object variable, object value)
    int xctx_var_reset(object variable, object token) except -1
    object xctx_copy_context()
    PyObject *xctx_swap_context(PyObject *context)
    object xctx_iterate_context(PyObject *context)
    # The caller of these two looks for an error itself.
    PyObject *xctx_var_set_ "xctx_var_set"(PyObject *variable, PyObject *value)   # a new reference
    int xctx_var_reset_ "xctx_var_reset"(PyObject *variable, PyObject *token)

    PyObject *xctx_context_vars(PyObject *context) nogil
    PyObject *xctx_swap_vars(PyThreadState *, PyObject *vars)   # takes over the reference, gives another one
    void xctx_var_changed(PyThreadState *, PyObject *variable, PyObject *value)
    bint xctx_var_is(PyThreadState *, PyObject *variable, PyObject *value)

    PyObject *xctx_find_in_type(PyTypeObject *type, PyObject *name)   # a new reference
    bint xctx_type_has(PyTypeObject *type, PyObject *name)
    unsigned int xctx_type_version(PyTypeObject *) nogil
    bint xctx_is_mutable_type(PyTypeObject *) nogil
    int xctx_type_put(PyObject *type, object name, object value) except -1
    ctypedef object (*named_get "descrgetfunc")(PyObject *, PyObject *, PyObject *)   # the last two may be NULL
    int xctx_replace_named_get(PyTypeObject *type, named_get function) except -1
    int xctx_forbid_instances(PyTypeObject *type) except -1
    void xctx_mend_metatype(PyTypeObject *type)
    void xctx_give_vectorcall(PyTypeObject *type, Py_ssize_t offset)
    void xctx_inherit_vectorcall(PyTypeObject *type, PyTypeObject *base)

    unsigned long xctx_thread_in_context(PyObject *context)
    int xctx_visit_objects(int (*visit)(PyObject *, void *) noexcept nogil, void *arg) except -1
    bint xctx_is_dying(PyObject *)
    PyObject *xctx_referent(PyObject *reference)
    object xctx_taken(PyObject *)   # takes over the reference

    PyObject *xctx_published(PyObject **where) nogil
    void xctx_publish(PyObject **where, PyObject *value)
    PyObject *xctx_keep(PyObject **where, PyObject *value)

    int xctx_dict_get(PyObject *names, PyObject *key, PyObject **found) except -1   # a new reference
    object xctx_shared_get(dict shared, object key)
    object xctx_shared_setdefault(dict shared, object key, object value)
    PyObject *xctx_loaded_module(PyObject *name) except? NULL   # a new reference


# --- CPython -----------------------------------------------------------------------------------------------------------

cdef extern from "Python.h":
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    ctypedef void (*destructor)(PyObject *) noexcept
    ctypedef object (*descrgetfunc)(object, object, object)
    ctypedef int (*descrsetfunc)(object, object, PyObject *) except -1
    ctypedef int (*initproc)(object, object, object) except -1
    ctypedef object (*newfunc)(PyTypeObject *, object, object)
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject **, size_t, PyObject *)
    ctypedef struct TypeObject "PyTypeObject":
        traverseproc tp_traverse
        inquiry tp_clear
        destructor tp_dealloc
        descrgetfunc tp_descr_get
        descrsetfunc tp_descr_set
        initproc tp_init
        newfunc tp_new
    initproc object_init "PyBaseObject_Type.tp_init"

    void Py_INCREF_ "Py_INCREF"(PyObject *)
    void Py_XINCREF_ "Py_XINCREF"(PyObject *) nogil
    void Py_DECREF_ "Py_DECREF"(PyObject *)
    void Py_XDECREF_ "Py_XDECREF"(PyObject *)
    Py_ssize_t Py_REFCNT_ "Py_REFCNT"(PyObject *)
    bint Py_IS_TYPE_ "Py_IS_TYPE"(PyObject *, PyTypeObject *)

    PyObject *PyTuple_New_ "PyTuple_New"(Py_ssize_t) except NULL   # a new reference
    PyObject *PyTuple_GET_ITEM_ "PyTuple_GET_ITEM"(PyObject *, Py_ssize_t)
    void PyTuple_SET_ITEM_ "PyTuple_SET_ITEM"(PyObject *, Py_ssize_t, PyObject *)
    Py_ssize_t PyTuple_GET_SIZE_ "PyTuple_GET_SIZE"(PyObject *)
    bint PyTuple_CheckExact_ "PyTuple_CheckExact"(PyObject *)
    PyObject *PyDict_GetItemWithError_ "PyDict_GetItemWithError"(PyObject *, PyObject *) except? NULL

    PyObject *PyObject_CallNoArgs_ "PyObject_CallNoArgs"(PyObject *) except NULL   # a new reference
    object PyObject_Call_ "PyObject_Call"(object, tuple, PyObject *)
    object PyObject_Vectorcall_ "PyObject_Vectorcall"(PyObject *, PyObject **, size_t, PyObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t)
    object PyObject_GenericGetAttr(object, object)
    int PyObject_RichCompareBool(object, object, int) except -1

    int PyContextVar_Get_ "PyContextVar_Get"(PyObject *, PyObject *, PyObject **) except -1   # a new reference
    bint PyContextVar_CheckExact(object)
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1

    PyObject *PyThreadState_GetDict()
    PyObject *PyEval_GetGlobals()
    PyObject *PyErr_Format(object, const char *, ...) except NULL
    object PyErr_SetFromErrno(object)
    int PyErr_CheckSignals() except -1
    void PyErr_Clear()
    void PyErr_Fetch_ "PyErr_Fetch"(PyObject **, PyObject **, PyObject **)
    void PyErr_Restore_ "PyErr_Restore"(PyObject *, PyObject *, PyObject *)
    int xctx_check_error "-!!PyErr_Occurred"() except -1   # raises what is set

    void *PyMem_RawMalloc(size_t) nogil
    void *PyMem_RawCalloc(size_t, size_t) nogil
    void *PyMem_RawRealloc(void *, size_t) nogil
    void PyMem_RawFree(void *) nogil

    unsigned long PyThread_get_thread_ident() nogil
    ctypedef void *PyThread_type_lock
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE, PY_LOCK_ACQUIRED, PY_LOCK_INTR
    PyThread_type_lock PyThread_allocate_lock() nogil
    void PyThread_free_lock(PyThread_type_lock) nogil
    void PyThread_release_lock(PyThread_type_lock) nogil
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock, long long microseconds, int interruptible) nogil
