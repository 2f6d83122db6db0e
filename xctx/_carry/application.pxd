"""Applications of snapshots."""
cimport cython

from xctx._runtime.python cimport PyThreadState
from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport BindingVariable, BoundEntry, Place


@cython.final
cdef class Application:
    cdef BoundEntry entries     # what was bound, the last first
    cdef BoundEntry main        # of these the one of the snapshot's first binding; or None
    cdef list variables         # context variables that came along, as `set_variables` gave them; or None
    # Of one that can be applied again, in another context in which no variable is set:
    cdef object applied         # what a context maps where just this is applied; otherwise None
    cdef object snapshot        # these two are None while it is not applied
    cdef object context         # the one in which it is applied
    cdef list parts             # all that `applied` is made of and that others could hold, to tell whether they do
    cdef Py_ssize_t references  # how many references to the parts there are where nobody else has any


cdef Application new_application()
cdef int bind_in(Application application, BindingVariable variable, Binding flattened, bint barrier, Place *place) except -1
cdef int undo(Application application) except -1
cdef bint is_empty_here(PyThreadState *tstate) noexcept
cdef bint make_repeatable(Application application, object snapshot) except -1
cdef bint apply_again(Application application, object snapshot) except -1
cdef bint take_off(Application application) except -1
