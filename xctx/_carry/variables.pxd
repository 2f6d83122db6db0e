"""Context variables that a snapshot sets where it is applied."""
cimport cython


@cython.final
cdef class VariableLayer:
    # None of these changes once it is made, but for `exited`.
    cdef VariableLayer first   # the layer that the application made, of which this is a copy; None where it is that one
    cdef object var
    cdef object value
    cdef object beneath        # what the variable becomes where this is taken out
    cdef bint exited           # of the first one: its application was undone, so no exit will come for a copy of it
    # What puts `beneath` back, for a copy. Of the first one it is with the application: each context that is copied has
    # the layer, and is not to keep alive the context that it was copied from, which the token does.
    cdef object token
    cdef size_t context        # the one that it was set in: compared only, the token keeps it alive


cdef list set_variables(list variables)
cdef int reset_variables(list set_ones) except -1
