"""Applications of snapshots."""
cimport cython
from cpython.object cimport PyObject

from xctx._core cimport Key
from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport BoundEntry
from xctx._stores.chains cimport BindingVariable
from xctx._stores.seen cimport Place


@cython.final
cdef class Application:
    cdef BoundEntry entries     # what was bound, the last first
    cdef BoundEntry main        # of these the one of the snapshot's first binding; or None
    cdef BoundEntry own         # of these the last one of what is in the snapshot; those before hide others
    cdef list variables         # context variables that came along, as `set_variables` gave them; or None
    # Mappings, while they are noted, and where nothing else was set in between; otherwise None:
    cdef bint notes
    cdef object before          # what the context mapped before
    cdef object applied         # what it maps where this is applied
    # Of one that can be used again:
    cdef object snapshot        # None while it is not applied
    cdef bint depends           # what is hidden depends on which unit or generator runs, so it is not to be made again
    # Of one that can be made again as a whole. `before`, `applied`, `parts` are guarded by the critical section.
    cdef bint applies           # whether it is applied
    cdef PyObject *applied_at   # `applied`: compared only
    cdef list parts             # otherwise None: what only `applied` is made of; their counts show whether others refer to it
    cdef Py_ssize_t references  # how many references to the parts there are if others have none


@cython.final
cdef class Repeatable:
    # Only the last of these changes.
    cdef Application application
    cdef PyObject *beneath         # the mapping in which it can be applied: compared only, while `application` has `applied`
    cdef object of_beneath         # weak references to that one and to the one that is applied; None for the empty one
    cdef object of_applied
    cdef bint busy                 # it is applied


cdef Application new_application(bint notes)
cdef int bind_in(Application application, BindingVariable variable, Binding flattened, bint barrier, Place *place) except -1
cdef int undo(Application application) except -1
cdef bint is_right_under(Key key) noexcept
cdef bint can_be_spare(Application application) noexcept
cdef bint is_of_this_process(Application application) noexcept
cdef int bind_again(Application application) except -1
cdef bint detach(Application application) except -1
cdef Repeatable make_repeatable(Application application)
cdef bint apply_again(Repeatable ready) except -1
cdef bint take_off(Application application) except -1
