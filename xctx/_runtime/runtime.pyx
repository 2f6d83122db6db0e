# cython: language_level=3, freethreading_compatible=True, binding=False
# cython: auto_pickle=False, autotestdict=False
"""The module that has the state of all compiled rooms: state.h describes that state, and state.c defines it."""

cdef extern from "xctx/_runtime/state.h":
    xctx_process *xctx_set_up_process() except? NULL
    int XCTX_PROMOTING_STOPS_THE_WORLD
    void xctx_end_promoting()


cdef xctx_process *process_state() noexcept:
    return xctx_the_process


xctx_connect(xctx_set_up_process())
if xctx_the_process == NULL:
    raise MemoryError("no room for a fork handler")


def end_promoting():
    """Before the interpreter ends threads: see xctx_promote_store."""
    xctx_end_promoting()


if XCTX_PROMOTING_STOPS_THE_WORLD:
    import atexit

    atexit.register(end_promoting)
