"""Context variables that a snapshot sets where it is applied."""
cimport cython


@cython.final
cdef class VariableLayer:
    # Only `exited` changes once it is made.
    cdef VariableLayer first   # the layer that the application made, of which this is a copy; None if it is no copy
    cdef object var
    cdef object value
    cdef object beneath        # what the variable becomes when this is taken out
    cdef bint exited           # of the first layer: its application was undone, so no exit will remove a copy of it
    # Of a copy: the token that resets the variable to `beneath`. The token of the first layer is with the application,
    # because a token keeps its context alive, and contexts that are copied have the layer.
    cdef object token
    cdef size_t context        # the context in which it was set: compared only, because the token keeps that alive


cdef list set_variables(list variables)
cdef int reset_variables(list set_ones) except -1
