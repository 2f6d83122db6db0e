# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Context variables that a snapshot sets where it is applied, and that get their values back in whatever order the
applications are left.

Applications of snapshots may overlap: the one that was entered first may be left first, and in a copy of the context. So
each context has a tuple of *layers*, in order of age, one for each variable that an open application has set there. An exit
removes its own layer. If that was the newest layer of the variable, the value beneath is seen again; otherwise that value
becomes the value beneath the next layer.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject

from xctx._runtime.python cimport FREE_THREADED, xctx_forbid_instances, xctx_tstate, xctx_var_reset, xctx_var_set
from xctx._runtime.runtime cimport connect
from xctx._stores.context_values cimport ContextValues
from xctx._stores.chains cimport end_visit, visit_context
from contextvars import ContextVar


connect()

cdef object MISSING = object()   # not Token.MISSING: subinterpreters of CPython 3.12.1 and 3.13.0 lack it
cdef object layers_here = ContextVar("xctx.variables")   # the tuple of layers


@cython.final
@cython.no_gc_clear
cdef class VariableLayer:
    """The value to which one application set one context variable, and the value beneath.

    Thread-safety: never changes, but for `exited`, which is set once.
    Lifetime: held by the contexts that have it, and by its application.
    """


xctx_forbid_instances(<PyTypeObject*>VariableLayer)


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
            set_variable(var, value, made)
    except BaseException:
        reset_variables(made)
        raise
    return made


cdef int set_variable(object var, object value, list made) except -1:
    # All that is needed is made first, so that nothing can fail once the variable is set.
    cdef VariableLayer layer = VariableLayer.__new__(VariableLayer)
    cdef list layers = []
    # A context that was copied while an application was open keeps its layers, and no exit removes them there. They are
    # dropped here, because otherwise a timer that re-arms itself would gather more of them each time.
    before = layers_here.get(())
    for each in before:
        if not first_of(<VariableLayer>each).exited:
            layers.append(each)
    layer.var = var
    layer.value = value
    layer.beneath = var.get(MISSING)
    layers.append(layer)
    shown = tuple(layers)
    entry = [layer, None]
    made.append(entry)
    try:
        token = entry[1] = xctx_var_set(var, value)
    except BaseException:
        # If there is no memory for the token, CPython has still set the variable, and nothing would undo that.
        if layer.beneath is not MISSING and var.get(MISSING) is value:
            xctx_var_set(var, layer.beneath)
        raise
    layer.context = <size_t>xctx_tstate().context
    try:
        xctx_var_set(layers_here, shown)
    except BaseException:
        xctx_var_reset(var, token)
        if layers_here.get(()) is shown:   # there was no memory for the token, as above
            xctx_var_set(layers_here, before)
        raise
    return 0


cdef int reset_variables(list set_ones) except -1:
    cdef VariableLayer layer
    for layer, token in reversed(set_ones):
        try:
            remove_layer(layer, token)
        except MemoryError:   # the failed attempt has released some memory, so a second one may succeed
            try:
                remove_layer(layer, token)
            except RuntimeError:   # the failed attempt to reset the variable has used the token
                remove_layer(layer, None)
        if not FREE_THREADED and layer.context != <size_t>xctx_tstate().context and layer.context:
            remove_layer_there(layer, token)
    return 0


cdef int remove_layer_there(VariableLayer gone, object token) except -1:
    """Takes a layer out of the context that it was set in, which is not the current one.

    Not called without the GIL, because another thread may be changing that context.
    """
    cdef object held   # no-cython-lint: keeps what is taken out alive until the visit is over
    cdef bint collects
    cdef PyObject *here = visit_context(<PyObject*>gone.context, &collects)
    try:
        held = layers_here.get(()), gone.var.get(MISSING)  # no-cython-lint
        remove_layer(gone, token)
    finally:
        end_visit(here, collects)
    return 0


cdef int remove_layer(VariableLayer gone, object token) except -1:
    """Removes a layer from the current context, and restores the value beneath, or hands it to the next layer."""
    cdef list layers = list(layers_here.get(()))
    cdef VariableLayer here
    cdef VariableLayer above = None
    cdef Py_ssize_t at, i
    cdef size_t context = gone.context
    gone.exited = True
    for at in range(len(layers)):
        if first_of(<VariableLayer>layers[at]) is gone:
            break
    else:
        return 0   # it was applied neither in this context nor in the one of which this is a copy
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
    shown = tuple(layers)
    if above is None:
        # Otherwise the program has set the variable since, and that stays. A change of a local, whose values lie in the
        # variable, ends with the application.
        if here.var.get(MISSING) is here.value or isinstance(here.value, ContextValues):
            if token is not None:
                xctx_var_reset(here.var, token)
            elif here.beneath is not MISSING:
                xctx_var_set(here.var, here.beneath)
    xctx_var_set(layers_here, shown)
    return 0
