# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Applications: what one application of a snapshot has bound, until it is undone."""
cimport cython

from xctx._carry.variables cimport reset_variables
from xctx._runtime.runtime cimport connect
from xctx._stores.bindings cimport Binding, stands_for
from xctx._stores.blocks cimport BindingVariable, BoundEntry, bind_snapshot, chain_of, unbind_entry


connect()


@cython.final
@cython.freelist(32)
cdef class Application:
    """One application of a snapshot, until it is undone.

    Thread-safety: `entries` may be read from any thread; the rest is touched by whoever applies and undoes it.
    Lifetime: held by the call or block that applied it.
    """


cdef int bind_in(Application application, Binding flattened, bint barrier) except -1:
    """Binds for the current unit what a flattened binding says, as a part of the application."""
    application.entries = bind_snapshot(flattened, barrier, application.entries)
    return 0


cdef bint is_here(Application application) except -1:
    """Whether what it bound last is still bound here, for this unit."""
    cdef Binding link, made
    cdef BindingVariable owner
    if application.entries is None:
        return False
    made = application.entries.made
    owner = <BindingVariable>made.owner
    link = chain_of(owner)
    while link is not None and not stands_for(link, made):
        link = link.outer
    return link is not None and (link.unit is None or link.unit is owner.key.find(False))


cdef int undo(Application application) except -1:
    """Takes out what it bound, in the context that is current now."""
    cdef BoundEntry entry = application.entries   # stays there: another thread may be looking for the block of its exit
    if application.variables is not None:
        reset_variables(application.variables)
    while entry is not None:
        unbind_entry(entry)
        entry = entry.outer
    return 0
