# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Applications: what one application of a snapshot has bound, until it is undone."""
cimport cython

from xctx._carry.variables cimport reset_variables
from xctx._runtime.runtime cimport connect
from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport BoundEntry, Place, bind_snapshot, unbind_entry


connect()


@cython.final
@cython.freelist(32)
cdef class Application:
    """One application of a snapshot, until it is undone.

    Thread-safety: used by the code that applies it and the code that undoes it, one after the other.
    Lifetime: held by the call or block that applied it.
    """


cdef int bind_in(Application application, Binding flattened, bint barrier, Place *place) except -1:
    """Binds for the current unit what a flattened binding says, as a part of the application."""
    application.entries = bind_snapshot(flattened, barrier, application.entries, place)
    return 0


cdef int undo(Application application) except -1:
    """Takes out what it bound, of the current context and of the one in which it was applied."""
    cdef BoundEntry entry = application.entries
    if application.variables is not None:
        reset_variables(application.variables)
    while entry is not None:
        unbind_entry(entry)
        entry = entry.outer
    return 0
