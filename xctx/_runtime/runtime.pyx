# cython: language_level=3, freethreading_compatible=True
# cython: auto_pickle=False, autotestdict=False
"""The module that has the state of all compiled rooms: state.h describes that state, and state.c defines it."""

cdef extern from "xctx/_runtime/state.h":
    xctx_process *xctx_set_up_process() except? NULL


cdef xctx_process *process_state() noexcept:
    return xctx_the_process


xctx_connect(xctx_set_up_process())
if xctx_the_process == NULL:
    raise MemoryError("no room for a fork handler")
