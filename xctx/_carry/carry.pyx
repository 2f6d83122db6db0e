# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Functions of every kind, wrapped so that they run with the bindings that were seen where they were wrapped."""
from xctx._carry.carried cimport Carried
from xctx._carry.snapshot cimport Snapshot, set_wrapping
from xctx._runtime.functions cimport is_plain
from xctx._runtime.runtime cimport connect
from xctx._carry.isolated import OwnContext
from xctx._carry.snapshot import capture
from _functools import partial


connect()


def carry(func):
    """Wraps `func` so that it runs with what this unit sees now, wherever and whenever it is called.

    This call takes a snapshot of all xlocals, as :func:`capture` does. To choose what is taken, capture it yourself:
    ``capture(current, contextvars=[var])(func)``.

    Args:
        func: a callable, coroutine function, generator function or async generator function. The latter three run in a
            context of their own: see :func:`isolated`.

    Returns:
        A callable of the same kind. If `func` is carried already, it would show nothing of what is seen now, so it is
        returned as it is. If `func` is a plain callable, the result can be pickled if `func` and the values can.

    Raises:
        TypeError: `func` is not callable.

    Thread-safety: the result may be called in any thread, also in several at the same time.
    """
    return capture()(func)


def carried(Snapshot snapshot not None, func):
    """A plain callable that runs with the snapshot applied."""
    return carry_plain(snapshot, func)


cdef object carry_plain(Snapshot snapshot, object func):
    cdef Snapshot inner
    if isinstance(func, Carried):
        inner = (<Carried>func).snapshot
        if inner.hides_all() and snapshot.extras is None:
            return func   # it would see nothing of this snapshot
    return Carried(snapshot, func)


cdef object wrap_function(Snapshot snapshot, object func):
    if isinstance(func, Carried) or is_plain(func):
        return carry_plain(snapshot, func)
    from xctx._runtime.wrappers import wrap
    return wrap(func, partial(OwnContext, snapshot), "a snapshot wraps", partial(carried, snapshot))


set_wrapping(wrap_function)
