"""What the other compiled rooms use of this one: keys, and the units that they find."""
from libc.stdint cimport uint32_t

from xctx._runtime.units cimport Unit, UnitKind


cdef class Key:
    # None of these changes after it is made; those in the middle are copied from its kind.
    cdef readonly str name
    cdef const UnitKind *kind
    cdef int index                # of the kind
    cdef bint cached              # its unit stays the same until something is switched
    cdef bint shared_by_threads   # several threads may run in one of its units at the same time
    cdef bint in_context          # what a `local` keeps lies in the PEP 567 context
    cdef bint inherits            # so does what an xlocal binds, and it has no unit
    cdef readonly object func     # None except for keys of callables
    # Of a callable's key alone. The two dicts are of the process with that count of forks.
    cdef uint32_t forks
    cdef dict referents           # value -> the Referent of its unit
    cdef dict units               # where the value can be referred to weakly: its address -> Unit
    cdef object on_value_death    # made with the first of these
    cdef object __weakref__

    cdef Unit find(self, bint create)
    cdef Unit unit_of_value(self, object value, bint create)
    cdef int begin_anew(self) except -1
    cdef list units_of_values(self)
    cpdef object current(self)


cdef Key as_key(object key)

# Sets how the current unit of work is found; the room of stores, which is above this one, calls it when it is imported.
# Gives the kind of such units.
cdef const UnitKind *found_by(Unit (*current)(object key, bint create)) noexcept
