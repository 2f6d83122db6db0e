"""Chains of bindings in contexts, and the variables that hold them."""
from cpython.object cimport PyObject
from libc.stdint cimport intptr_t, uint64_t

from xctx._runtime.python cimport PyThreadState
from xctx._core cimport Key
from xctx._stores.bindings cimport Binding


cdef extern from *:
    Binding take_binding "xctx_taken"(PyObject *)   # takes the reference over


cdef enum:
    NOTED = 16          # a power of two
    REMEMBERED = 1000   # of names made at run time there may be any number


cdef class BindingVariable:
    # None of these changes after __cinit__, except those that say so.
    cdef uint64_t serial
    cdef Key key
    cdef object var         # the context variable
    cdef dict factories     # name -> what makes a value for a block that lacks it; or None
    cdef int listed_at      # its place in `listed`, or -1
    # Counted up atomically, and only without the GIL: how many blocks were left in a context other than their own.
    cdef intptr_t strays
    # Names that were bound, to tell why one is not seen: a set, guarded by the critical section, and the addresses of some.
    cdef set noted_names
    cdef PyObject *noted[NOTED]
    cdef tuple told   # what the last such error said: see unseen.pyx. Guarded likewise
    cdef object __weakref__


cdef void note_key(Key key) noexcept
cdef bint some_go_by_units() noexcept
cdef int each_chain(PyThreadState *tstate, int (*visit)(Binding top, void *arg) except -1, void *arg) except -1
cdef Binding chain_of(BindingVariable variable)
cdef Binding chain_at(PyObject *var)
cdef int put(PyThreadState *tstate, PyObject *var, Binding top) except -1
cdef int do_in(object context, object errand) except -1
cdef bint settle_here() except -1
cdef PyObject *visit_context(PyObject *context, bint *collects)
cdef void end_visit(PyObject *here, bint collects)
