"""What the other compiled rooms use of this one: keys, and the units that they find."""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from xctx._runtime.runtime cimport PyThreadState, xctx_fork_count, xctx_tstate
from xctx._runtime.units cimport CONTEXT, FLOW, GREENLET, PROCESS, TASK, THREAD, VALUE, Unit, UnitKind, set_shelf_release


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


cdef class Key:
    # None of these changes after it is made; the four in the middle are what its kind says.
    cdef readonly str name
    cdef const UnitKind *kind
    cdef int rung
    cdef bint cached              # its unit stays the same until something is switched
    cdef bint shared_by_threads   # several threads may run in one of its units at the same time
    cdef bint in_context          # what a `local` keeps lies in the PEP 567 context
    cdef bint inherits            # so does what an xlocal binds, and it has no unit
    cdef readonly object func     # None but for keys of callables
    # Of a callable's key alone. The two dicts are right for one count of forks.
    cdef uint32_t generation
    cdef dict referents           # value -> the Referent of its unit
    cdef dict units               # where the value can be referred to weakly: its address -> Unit
    cdef object on_value_death    # made with the first of these
    cdef object __weakref__

    cdef Unit find(self, bint create)
    cdef Unit unit_of_value(self, object value, bint create)
    cdef list units_of_values(self)
    cpdef object current(self)


cdef inline uint32_t fork_generation() noexcept nogil:
    return xctx_fork_count()


cdef Key as_key(object key)
