"""Applications of snapshots."""
cimport cython

from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport BoundEntry, Place


@cython.final
cdef class Application:
    cdef BoundEntry entries     # what was bound, the last first
    cdef BoundEntry main        # of these the one of the snapshot's first binding; or None
    cdef list variables         # context variables that came along, as `set_variables` gave them; or None


cdef int bind_in(Application application, Binding flattened, bint barrier, Place *place) except -1
cdef int undo(Application application) except -1
