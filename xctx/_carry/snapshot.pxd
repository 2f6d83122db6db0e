"""Snapshots."""
cimport cython
from cpython.object cimport PyObject

from xctx._carry.application cimport Application
from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport Place
from xctx._stores.statements cimport OpenByHand
from xctx._stores.xlocal cimport xlocal
from xctx._stores.local cimport local


@cython.final
cdef class SnapshotExtras:
    cdef list contents          # pairs of a local and its context values; or None
    cdef list variables         # pairs of a context variable and its value; or None
    cdef tuple unresolved       # what came from another process and was not looked for yet; or None
    cdef OpenByHand opened      # blocks entered by hand; or None. Set once, under the critical section

    cdef list all_variables(self)


cdef enum Repeating:   # how often it was applied in empty contexts, or what became of that
    NEVER_YET, ONCE, TWICE, REPEATS, REPEATS_NO_MORE


@cython.final
cdef class Snapshot:
    # None of these changes once it is made, but for what was unresolved and is found.
    cdef Binding first          # flattened; of most snapshots the only one
    cdef list others            # more of them; or None
    cdef SnapshotExtras extras  # what few snapshots have; or None
    cdef Application ready      # that can be applied again, and is not applied; or None. Guarded by the critical section
    cdef Application spare      # likewise, whose bindings can be used again, in any context. Guarded likewise
    cdef Repeating repeating
    cdef bint again             # it was applied before, in a context that was not empty
    cdef bint whole             # of all xlocals: what is not in it is not seen either
    cdef bint barriers          # what the unit bound outside is not seen
    cdef bint skips             # pickling leaves out what cannot go
    cdef object __weakref__

    cdef int add(self, Binding flattened) except -1
    cdef list bindings(self)
    cdef bint has(self, xlocal owner) noexcept
    cdef SnapshotExtras make_extras(self)
    cdef tuple unresolved(self)
    cdef bint hides_all(self)
    cdef Application apply(self, bint shared, Place *place, bint of_call=*)
    cdef Application apply_repeatably(self, bint of_call)
    cdef Application apply_what_is_spare(self, bint of_call)
    cdef int hide_others(self, Application application, Place *place) except -1
    cdef int bind_one(self, Application application, Binding flattened, bint shared, Place *place) except -1
    cdef int resolve(self, SnapshotExtras extras) except -1
    cdef int take_local(self, local store) except -1
    cdef int take_variables(self, contextvars) except -1


# Calls a function with the snapshot applied. The caller holds it and its arguments.
cdef object call_in(Snapshot snapshot, PyObject *func, PyObject **args, Py_ssize_t n, PyObject *kwnames)

# What calling a snapshot does, which is for the modules above to say: it gives a function wrapped. Set once.
ctypedef object (*wrapping)(Snapshot snapshot, object func)
cdef void set_wrapping(wrapping function) noexcept
