"""What other compiled rooms use of local."""
from cpython.object cimport PyObject

from xctx._core cimport Key, Unit
from xctx._stores.values cimport StoreValues


cdef enum Storage:        # where a store keeps its names and values
    PER_UNIT              # in unit values that one thread uses at a time
    SHARED_BY_THREADS     # in unit values that are replaced as a whole, where several threads may be one unit
    IN_CONTEXT            # in a context variable


cdef enum OfWork:         # whether the key is `work`: what is read most is found without asking the key
    OTHER
    PLAIN                 # it is, and the store's class is local itself
    DERIVED               # it is, and the class is derived from local


cdef class local:
    # None of these changes after __cinit__.
    cdef Key key
    cdef Storage storage
    cdef object var          # the context variable of a store IN_CONTEXT
    cdef bint ends_at_fork   # of such a store: its key is `flow`, and a forked child sees nothing of its parent's
    cdef OfWork of_work
    cdef unsigned int plain_class   # versions of the class: one in which no data descriptor comes before what is kept, and
    cdef unsigned int other_class   # the last that was looked through. Atomic: any thread may write them
    cdef bint initialises    # there is an __init__ to be called in each unit
    cdef object args
    cdef object kwargs
    cdef object self_ref     # where there is no GIL: how inspection.pyx gets hold of a store that may be dying
    cdef object __weakref__
    # Guarded by the lock of values.pyx.
    cdef StoreValues kept            # in units
    cdef PyObject **context_values   # of a store IN_CONTEXT: the first in its list. On the heap, as it outlives the store


cdef extern from *:
    """
    #define xctx_key_at(store) XCTX_AT(store, key)
    """
    PyObject **at_key "xctx_key_at"(local)


cdef dict names_here(local store)   # a new one

cdef list living_of_work()              # the stores with the key `work`, held

# For snapshots.
cdef object values_to_carry(local store)
cdef object new_content(local store, dict names)
cdef dict carried_names(object values)
cdef int keep_in_unit(local store, Unit unit, dict names) except -1
