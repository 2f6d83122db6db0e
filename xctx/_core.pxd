"""What the other compiled rooms use of this one: units, and the keys that find them."""
from libc.stdint cimport uint32_t, uint64_t
from cpython.object cimport PyObject


from xctx._runtime.runtime cimport (PyThreadState, xctx_cache_drop, xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit,
                                    xctx_cache_set, xctx_count_contexts, xctx_fork_count, xctx_next_serial, xctx_tstate)


cdef extern from "xctx/_runtime/compat.h" nogil:
    ctypedef struct xctx_mutex:
        pass
    void xctx_lock(xctx_mutex *)
    void xctx_unlock(xctx_mutex *)
    void *xctx_load_ptr(void **)
    void xctx_store_ptr(void **, void *)
    int xctx_cas_ptr(void **, void *, void *)
    void xctx_promote(PyObject *)

cdef extern from "xctx/_runtime/compat.h":
    int xctx_type_put(PyObject *, object, object) except -1
    object shared_get "xctx_shared_get"(dict, object)
    object shared_setdefault "xctx_shared_setdefault"(dict, object, object)


cdef extern from "Python.h":
    # Found where the interpreter has it built in: the module `weakref` would be half of what importing xctx costs.
    ctypedef class _weakref.ReferenceType [object PyWeakReference]:
        cdef PyObject *wr_object


cdef enum Rung:
    PROCESS, THREAD, GREENLET, TASK, CONTEXT, VALUE


cdef class Unit(ReferenceType):
    cdef object __weakref__
    cdef Rung rung                # never changes after it is made
    cdef bint ended               # set once, under the registry's lock
    cdef uint64_t tsid            # never changes: the thread state that it was made in
    cdef uint32_t generation      # never changes: the process (counted by forks) it was made in
    cdef void *anchor             # never changes: the address of what it stands for, while that lives
    cdef PyObject *next_in_bucket   # guarded by the registry's lock
    cdef void *shelf              # what `local` stores keep for this unit: theirs alone to use


cdef class Key:
    cdef readonly str name        # never changes after __init__
    cdef Rung rung                # never changes after __init__
    cdef readonly object func     # never changes after __init__; None but for keys of callables
    cdef dict leases              # of a callable's key: value -> the lease of its unit
    cdef dict units               # likewise, where the value can be referred to weakly: its address -> Unit
    cdef object on_value_death    # likewise; made with the first of them
    cdef uint32_t generation
    cdef object __weakref__

    cdef Unit find(self, bint create)
    cdef Unit unit_of_value(self, object value, bint create)
    cdef list units_of_values(self)
    cpdef object current(self)


# Called once for each unit that ends, before its registry lets go of it, in whatever unit ran the last line:
# what is kept for the unit must be released there. Not called for the parent's units in a forked child.
ctypedef void (*shelf_release)(Unit unit) noexcept
cdef void set_shelf_release(shelf_release release) noexcept

cdef inline uint32_t fork_generation() noexcept nogil:
    return xctx_fork_count()


cdef Key as_key(object key)
