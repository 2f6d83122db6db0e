"""Snapshots."""
cimport cython
from cpython.object cimport PyObject

from xctx._carry.application cimport Application, Repeatable
from xctx._stores.bindings cimport Binding
from xctx._stores.seen cimport Place
from xctx._stores.statements cimport OpenByHand
from xctx._stores.xlocal cimport xlocal
from xctx._stores.local cimport local


@cython.final
cdef class SnapshotExtras:
    cdef list contents          # pairs of a local and its context values; or None
    cdef list variables         # pairs of a context variable and its value; or None
    cdef tuple unresolved       # what came from another process and was not looked for yet; or None, once it was
    cdef OpenByHand opened      # blocks entered by hand; or None. Set once, under the critical section

    cdef list all_variables(self)


cdef enum:
    MOST_PATIENCE = 1 << 20


@cython.final
cdef class Snapshot:
    # None of these changes once it is made, except when what was unresolved is found; and the first, in a forked child, and
    # the extras from None, which any thread may read meanwhile.
    cdef Binding first          # flattened; of most snapshots the only one
    cdef list others            # more of them; or None
    cdef SnapshotExtras extras  # what few snapshots have; or None
    # These are guarded by the critical section, and the last is atomic.
    cdef Repeatable ready       # an application that can be made again; or None
    cdef Application spare      # one that is undone, whose bindings can be used again, whatever is set; or None
    cdef int waited             # how often it was applied otherwise since one was last made ready
    cdef int patience           # when `waited` exceeds this by more than 2, another one is made ready
    cdef bint again             # it was applied before
    cdef bint whole             # of all xlocals: what is not in it is not seen either
    cdef bint barriers          # what the unit bound outside is not seen
    cdef bint skips             # pickling leaves out what cannot go
    cdef object __weakref__

    cdef int add(self, Binding flattened) except -1
    cdef list bindings(self)
    cdef bint has(self, xlocal owner) noexcept
    cdef SnapshotExtras make_extras(self)
    cdef SnapshotExtras extras_now(self)
    cdef tuple unresolved(self)
    cdef bint hides_all(self)
    cdef Application apply(self, bint shared, Place *place, bint notes=*)
    cdef Application apply_repeatably(self)
    cdef Repeatable take_ready(self, PyObject *mapping, bint *remakes)
    cdef Application apply_what_is_spare(self)
    cdef int hide_others(self, Application application, Place *place) except -1
    cdef int bind_one(self, Application application, Binding flattened, bint shared, Place *place) except -1
    cdef int resolve(self, SnapshotExtras extras) except -1
    cdef int take_local(self, local store) except -1
    cdef int take_variables(self, contextvars) except -1
    cdef tuple parts(self)


# Calls a function with the snapshot applied. The caller holds it and its arguments.
cdef object call_in(Snapshot snapshot, PyObject *func, PyObject **args, Py_ssize_t n, PyObject *kwnames)

# What calling a snapshot does: it wraps a function. Set once, by a module above.
ctypedef object (*wrapping)(Snapshot snapshot, object func)
cdef void set_wrapping(wrapping function) noexcept
