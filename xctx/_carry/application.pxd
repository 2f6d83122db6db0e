"""What a snapshot holds, and one application of it."""
cimport cython

from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport BoundEntry
from xctx._stores.statements cimport OpenByHand
from xctx._stores.xlocal cimport xlocal


@cython.final
cdef class Application:
    cdef Captured applied       # what is being applied; None once it is
    cdef BoundEntry entries     # what was bound, the last first
    cdef BoundEntry main        # of these the one of the snapshot's first binding; or None
    cdef list variables         # context variables that came along, as `set_variables` gave them; or None


@cython.final
cdef class SnapshotExtras:
    cdef list variables         # pairs of a context variable and its value; or None
    cdef tuple unresolved       # what came from another process and was not looked for yet; or None
    cdef OpenByHand opened      # or None: set once, under the critical section


cdef class Captured:
    # None of these changes once it is made, but for what was unresolved and is found.
    cdef Binding first          # flattened; of most snapshots the only one
    cdef list others            # more of them; or None
    cdef SnapshotExtras extras  # what few snapshots have; or None
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
    cdef Application apply(self, bint shared)
    cdef int bind_one(self, Application application, Binding flattened, bint shared) except -1
    cdef int resolve(self, SnapshotExtras extras) except -1


cdef Binding bind_nothing(xlocal owner)
cdef int undo(Application application) except -1
