# cython: language_level=3, freethreading_compatible=True
# cython: auto_pickle=False, autotestdict=False
"""The home of the state that all compiled rooms share: state.h tells what it is, and state.c holds it."""

cdef extern from "xctx/_runtime/state.h":
    xctx_process *xctx_set_up_process() except? NULL


cdef xctx_process *process_state() noexcept:
    return xctx_the_process


xctx_connect(xctx_set_up_process())
if xctx_the_process == NULL:
    raise MemoryError("no room for a fork handler")
