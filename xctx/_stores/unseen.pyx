# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Why a name is not seen: what the AttributeError of an xlocal says after the name, and xctx.debug.explain.

``hasattr`` catches most of these errors, so a reason must cost next to nothing: it is a constant, or was made for the
error before. ``explain`` (inspection.pyx) tells more, and takes longer.
"""
cimport cython
from cpython.object cimport PyObject

from xctx._runtime.python cimport PyTuple_GET_ITEM_, PyTuple_GET_SIZE_, xctx_tstate
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._core cimport Unit
from xctx._stores.bindings cimport Binding
from xctx._stores.chains cimport REMEMBERED, BindingVariable, chain_of
from xctx._stores.seen cimport is_hidden
from xctx._stores.names cimport is_interned
import sys


connect()

# Each is the end of the message's sentence, after the name.
cdef str NEVER = " here: no block has bound it so far"
cdef str NOT_HERE = " here: the blocks that bound it were left, or nothing carried them here (xctx.debug.explain tells which)"
cdef str HIDDEN = " here: xctx.nothing() or a snapshot hides it"
cdef str SUSPENDED = " here: a generator has bound it, and only what that runs sees it"
cdef str BEFORE_FORK = " here: it was bound before this process was forked, under the key context it would be seen here"
cdef str IN_BLOCKS = " here: its default_factory makes one for each block, and no block is open here"
cdef str ASK = " here: xctx.debug.explain tells why"
cdef bint THREADS_INHERIT = bool(getattr(sys.flags, "thread_inherit_context", False))


cdef str why_unseen(BindingVariable variable, object name, Py_ssize_t deepest):
    """Why a name that is not seen here is not seen: the end of a sentence.

    Args:
        deepest: how many bindings are looked through, or -1 for all.
    """
    cdef str reason = why_chain_hides(variable, name, deepest)
    if reason is not None:
        return reason
    return IN_BLOCKS if is_made(variable, name) else reason_of(past_of(variable, name))


cdef bint is_made(BindingVariable variable, object name) except -1:
    """Whether a factory makes a value of the name for each block."""
    return variable.factories is not None and name in variable.factories


cdef str reason_of(Past past):
    """Why a name is not seen, if no binding in this context has it."""
    return NEVER if past == NEVER_BOUND else NOT_HERE if past == WAS_BOUND else ASK


cdef str why_chain_hides(BindingVariable variable, object name, Py_ssize_t deepest):
    """The same, if a binding in this context has the name; None if none has."""
    cdef Binding link = None if xctx_tstate().context == NULL else chain_of(variable)
    while link is not None:
        if deepest == 0:
            return ASK
        if has_name(link, <PyObject*>name):
            return why_link_unseen(variable, link)
        link = link.outer
        deepest -= 1
    return None


cdef bint has_name(Binding link, PyObject *name) except -1:
    cdef PyObject *names = <PyObject*>link.names
    cdef Py_ssize_t i
    for i in range(PyTuple_GET_SIZE_(names)):
        if PyTuple_GET_ITEM_(names, i) == name:
            return True
    return not is_interned(name) and <object>name in link.names


cdef Past past_of(BindingVariable variable, object name):
    """Whether the name was bound, in whatever unit."""
    cdef bint known
    cdef Py_ssize_t count = 0
    with cython.critical_section(variable):
        known = False
        if variable.noted_names is not None:
            known = name in variable.noted_names
            count = len(variable.noted_names)
    return WAS_BOUND if known else FORGOTTEN if count >= REMEMBERED else NEVER_BOUND


cdef str why_link_unseen(BindingVariable variable, Binding link):
    """Why nothing is seen of the innermost binding that has the name."""
    if is_hidden(link, xctx_tstate()):
        return SUSPENDED
    if variable.key.inherits or link.unit is variable.key.find(False):   # may call a key's callable
        return HIDDEN
    return seen_by_another(variable, link.unit)


cdef str seen_by_another(BindingVariable variable, Unit unit):
    """The reason if another unit made the binding. Made once for that unit, and then returned again."""
    cdef tuple told
    # A thread that inherits its maker's context was not given it on purpose, so `flow` would not show the binding either.
    cdef bint carried = not (THREADS_INHERIT and unit.tsid != xctx_tstate().id)
    if unit.forks != xctx_fork_count():
        return BEFORE_FORK
    with cython.critical_section(variable):
        told = variable.told
    if told is not None and told[0] is unit:
        return <str>told[1 if carried else 2]
    reason = f" here: under the key {variable.key.name} only {unit!r} sees it, under "
    told = unit, reason + "flow it would be seen here", reason + "context it would be seen here"
    with cython.critical_section(variable):
        variable.told = told
    return <str>told[1 if carried else 2]
