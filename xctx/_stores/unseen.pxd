"""Why a name is not seen."""
from xctx._stores.chains cimport BindingVariable


cdef enum Past:
    NEVER_BOUND, WAS_BOUND, FORGOTTEN


cdef str IN_BLOCKS
cdef str why_unseen(BindingVariable variable, object name, Py_ssize_t deepest)
cdef str why_chain_hides(BindingVariable variable, object name, Py_ssize_t deepest)
cdef Past past_of(BindingVariable variable, object name)
cdef bint is_made(BindingVariable variable, object name) except -1
cdef str reason_of(Past past)
