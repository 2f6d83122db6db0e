# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Context variables that a snapshot sets where it is applied, and which get their values back in any order of exits.

Applications of snapshots may overlap: the one that was entered first may be left first, and in a copy of the context. So
each context has a tuple of *layers*, one for each variable that an open application has set there, the last one last. An
exit removes its own layer. What was beneath is seen again, or lies beneath the next layer of the same variable.
"""
cimport cython
from cpython.object cimport PyObject

from xctx._runtime.python cimport FREE_THREADED, xctx_tstate, xctx_var_reset, xctx_var_set
from xctx._runtime.runtime cimport connect
from xctx._stores.context_values cimport ContextValues
from xctx._stores.blocks cimport end_visit, visit_context
from contextvars import ContextVar, Token


connect()

cdef object MISSING = Token.MISSING
cdef object layers_here = ContextVar("xctx.variables")   # the tuple of layers


@cython.final
cdef class VariableLayer:
    """What one application set one context variable to, or a copy that has something else beneath.

    Thread-safety: never changes, but for `exited`, which is set once.
    Lifetime: held by the contexts that have it, and by its application.
    """


cdef inline VariableLayer first_of(VariableLayer layer):
    return layer if layer.first is None else layer.first


cdef list set_variables(list variables):
    """Sets context variables in the current context, and gives what :func:`reset_variables` needs to undo it.

    Args:
        variables: pairs of a variable and its value.
    """
    cdef list made = []
    try:
        for var, value in variables:
            made.append(set_variable(var, value))
    except BaseException:
        reset_variables(made)
        raise
    return made


cdef tuple set_variable(object var, object value):
    cdef VariableLayer layer = VariableLayer.__new__(VariableLayer)
    cdef list layers = []
    # A context that was copied while an application was open keeps its layers, and no exit comes for them there. They are
    # dropped here, or else a timer that re-arms itself would have more of them each time.
    for each in layers_here.get(()):
        if not first_of(<VariableLayer>each).exited:
            layers.append(each)
    layer.var = var
    layer.value = value
    layer.beneath = var.get(MISSING)
    token = xctx_var_set(var, value)
    context = <size_t>xctx_tstate().context
    layers.append(layer)
    try:
        xctx_var_set(layers_here, tuple(layers))
    except BaseException:
        xctx_var_reset(var, token)
        raise
    return layer, token, context


cdef int reset_variables(list set_ones) except -1:
    for layer, token, context in reversed(set_ones):
        remove_layer(<VariableLayer>layer, token, context)
        if not FREE_THREADED and <size_t>context != <size_t>xctx_tstate().context:
            remove_layer_there(<VariableLayer>layer, token, context)
    return 0


cdef int remove_layer_there(VariableLayer gone, object token, size_t context) except -1:
    """Takes a layer out of the context that it was set in, which is not the current one.

    Not without the GIL: another thread may be changing that context.
    """
    cdef object held   # no-cython-lint: keeps alive, until the visit is over, what is taken out
    cdef bint collects
    cdef PyObject *here = visit_context(<PyObject*>context, &collects)
    try:
        held = layers_here.get(()), gone.var.get(MISSING)  # no-cython-lint
        remove_layer(gone, token, context)
    finally:
        end_visit(here, collects)
    return 0


cdef int remove_layer(VariableLayer gone, object token, size_t context) except -1:
    """Takes a layer out of those of the current context. What was beneath is seen again, or beneath the next one."""
    cdef list layers = list(layers_here.get(()))
    cdef VariableLayer here, above
    cdef Py_ssize_t at, i
    gone.exited = True
    for at in range(len(layers)):
        if first_of(<VariableLayer>layers[at]) is gone:
            break
    else:
        return 0   # it was not applied in this context, nor in the one that this is a copy of
    here = layers.pop(at)
    if here.token is not None:
        token, context = here.token, here.context
    if context != <size_t>xctx_tstate().context:
        token = None   # this is a copy of the context that it was set in
    for i in range(at, len(layers)):
        if (<VariableLayer>layers[i]).var is here.var:
            above = VariableLayer.__new__(VariableLayer)
            above.first = first_of(<VariableLayer>layers[i])
            above.var = here.var
            above.value = (<VariableLayer>layers[i]).value
            above.beneath = here.beneath
            above.token = token
            above.context = context
            layers[i] = above
            break
    else:
        # Otherwise the program has set it to something else since. What it has set in a local is the application's.
        if here.var.get(MISSING) is here.value or isinstance(here.value, ContextValues):
            if token is not None:
                xctx_var_reset(here.var, token)
            elif here.beneath is not MISSING:
                xctx_var_set(here.var, here.beneath)
    xctx_var_set(layers_here, tuple(layers))
    return 0
