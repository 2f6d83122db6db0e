# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Chains of bindings in contexts: an xlocal's context variable, and the chain that it holds in the current context.

The value of the context variable is the top of a chain of bindings, so a copied context has the same chain, and from then
on each of the two contexts has its own top.

Without the GIL, a block that was left in a context other than the one it was entered in cannot be taken out there, because
another thread may be changing that context. So the binding is marked with the context that is to drop it, and counted with its
xlocal; a chain that was not looked through since then is looked through when it is next used, and rebuilt without such
bindings (`cleanse`). Contexts that were copied while the block was open keep it.

A unit of work that ends elsewhere has more to take out of the context in which it was opened: all that was left open there.
Without the GIL that is an errand to that context (`Errands`). It is done by the thread that next uses the context, before
that thread sees or binds anything, so what is bound later is never taken for what was left open.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.weakref cimport PyWeakref_NewRef
from libc.stdint cimport intptr_t, uintptr_t

from xctx._runtime.python cimport (FREE_THREADED, PyContextVar_Get_, PyThreadState, Py_IS_TYPE_, xctx_add, xctx_cas_ptr,
                                   xctx_forbid_instances, xctx_hold_collector, xctx_iterate_context, xctx_load_count,
                                   xctx_load_int, xctx_load_ptr, xctx_release_collector, xctx_store_count,
                                   xctx_store_int, xctx_store_ptr, xctx_swap_context, xctx_tstate)
from xctx._runtime.runtime cimport connect, xctx_count_contexts, xctx_next_serial, xctx_put
from xctx._core cimport Key
from xctx._stores.bindings cimport Binding, bind, copy_of, is_stray, left_context
from _functools import partial
from _weakref import ref
from contextvars import ContextVar

connect()


# --- the variable ----------------------------------------------------------------------------------------------------

@cython.no_gc_clear
cdef class BindingVariable:
    """A context variable that holds a chain of bindings, and the key that says which unit sees which of them.

    xlocal derives from it.

    Thread-safety: all operations, from any thread.
    Lifetime: held by what is bound through it while that is bound.
    """

    def __cinit__(self, *args, **kwargs):
        self.serial = xctx_next_serial()
        self.var = ContextVar("xctx.xlocal")
        register(self)
        if FREE_THREADED:
            errands.add_variable(self)

    def __dealloc__(self):
        if self.var is not None:   # otherwise making it failed
            unregister(self)


# The variables of as many living xlocals as there is room for: asking a few is faster than looking through a context.
# Without the GIL a variable that is listed stays, because nobody could tell when other threads are done with it.
cdef enum:
    LISTED = 9   # one is xctx's own: that of units of work
cdef PyObject *listed[LISTED]   # owned
cdef intptr_t unlisted = 0      # how many xlocals live besides


cdef void register(BindingVariable made) noexcept:
    cdef int i
    for i in range(LISTED):
        if xctx_load_ptr(<void**>&listed[i]) == NULL:
            Py_INCREF(made.var)
            if xctx_cas_ptr(<void**>&listed[i], NULL, <void*>made.var):
                made.listed_at = i
                return
            Py_DECREF(made.var)
    made.listed_at = -1
    xctx_add(&unlisted, 1)


cdef void unregister(BindingVariable dying) noexcept:
    if dying.listed_at < 0:
        xctx_add(&unlisted, -1)
    elif not FREE_THREADED:
        listed[dying.listed_at] = NULL
        Py_DECREF(dying.var)


cdef int by_units = 0   # whether there ever was an xlocal under a key that tells threads, greenlets or tasks apart


cdef void note_key(Key key) noexcept:
    """Called with the key of each new xlocal."""
    if key.cached and not key.shared_by_threads:
        xctx_store_int(&by_units, 1)


cdef bint some_go_by_units() noexcept:
    """Whether what one unit binds in a context may be hidden from another one in the same process."""
    return xctx_load_int(&by_units) != 0


cdef int each_chain(PyThreadState *tstate, int (*visit)(Binding top, void *arg) except -1, void *arg) except -1:
    """Visits the chains of all xlocals in the current context, which must exist. `visit` may set their variables."""
    cdef Binding top
    cdef Py_ssize_t i
    cdef void *var
    xctx_count_contexts(tstate)
    if xctx_load_ptr(<void**>&unlisted) == NULL:
        for i in range(LISTED):
            var = xctx_load_ptr(<void**>&listed[i])
            if var != NULL:
                top = chain_at(<PyObject*>var)
                if top is not None:
                    visit(top, arg)
    else:
        for each in xctx_iterate_context(tstate.context):
            top = chain_at(<PyObject*>each)
            if top is not None and (<BindingVariable>top.owner).var is each:
                visit(top, arg)
    return 0


# --- what is visible -------------------------------------------------------------------------------------------------

cdef Binding chain_of(BindingVariable variable):
    """The top of the chain in the current context, or None."""
    xctx_count_contexts(xctx_tstate())
    return chain_at(<PyObject*>variable.var)


cdef Binding chain_at(PyObject *var):
    # Of any context variable: None where its value is not a chain. Contexts have been counted.
    cdef PyObject *value = NULL
    PyContextVar_Get_(var, NULL, &value)
    if value == NULL:
        return None
    if Py_IS_TYPE_(value, <PyTypeObject*>Binding):
        if FREE_THREADED and (xctx_load_count(&(<Binding>value).checked)
                              != xctx_load_count(&(<BindingVariable>(<Binding>value).owner).strays)):
            cleanse(var, take_binding(value))
            return chain_at(var)   # again, because that released bindings, which may have run any code
        return take_binding(value)
    Py_DECREF(<object>value)
    return None


cdef int cleanse(PyObject *var, Binding top) except -1:
    """Rids the current context's chain of the bindings of blocks that were entered in this context and left in another.

    Those entered in other contexts, of which this one is a copy, are replaced by ordinary exited ones, so that the chain need
    not be looked through again. The caller reads the chain again: if there are errands to this context, only those are done.
    """
    cdef intptr_t strays = xctx_load_count(&(<BindingVariable>top.owner).strays)
    cdef PyObject *here = xctx_tstate().context
    cdef list links = []
    cdef Binding link = top
    cdef Binding made = None
    cdef object left_from
    cdef bint changed = False
    if settle_here():
        return 0
    while link is not None:
        links.append(link)
        changed |= is_stray(link)
        link = link.outer
    if not changed:
        if xctx_load_ptr(&awaited) != NULL:
            # A context to which there is an errand may have the same chain, and must still look through it.
            made = copy_of(top, top.unit, top.outer)
            made.checked = strays
            return put(xctx_tstate(), var, made)
        xctx_store_count(&top.checked, strays)   # other contexts may have the same chain
        return 0
    changed = False
    while links:
        link = links.pop()
        if is_stray(link):
            changed = True
            left_from = left_context(link)
            if <PyObject*>left_from != here:
                made = bind(link.owner, link.unit, link.names, link.values, made, None, link.barrier)
                made.exited = True
        elif changed:
            made = copy_of(link, link.unit, made)
        else:
            made = link
    if made is not None:
        xctx_store_count(&made.checked, strays)
    return put(xctx_tstate(), var, made)


cdef int put(PyThreadState *tstate, PyObject *var, Binding top) except -1:
    # Makes `top` the current context's chain; if it is None, nothing is left in the context.
    return xctx_put(tstate, var, NULL if top is None else <PyObject*>top, NULL)


# --- errands to other contexts ---------------------------------------------------------------------------------------

# Process: a bit for each context to which there are errands; several contexts may share a bit. A context whose bit is not set
# need not take the lock to ask.
cdef void *awaited = NULL


cdef inline uintptr_t bit_of(PyObject *context) noexcept:
    return <uintptr_t>1 << ((<uintptr_t>context >> 6) % (8 * sizeof(uintptr_t)))


@cython.final
@cython.no_gc_clear
cdef class Errands:
    """What is to be done in contexts before anything is next seen or bound there. Used only without the GIL.

    Thread-safety: all operations, from any thread.
    Lifetime: of the process. It keeps neither contexts nor xlocals alive; an errand is dropped with its context.
    """
    # All guarded by the critical section.
    cdef dict to          # address of a context -> (weak reference to it, [what is to be called in it])
    cdef list variables   # weak references to all BindingVariables, and to some that have died
    cdef Py_ssize_t prune_at

    def __cinit__(self):
        self.to = {}
        self.variables = []
        self.prune_at = 64

    cdef int add_variable(self, BindingVariable made) except -1:
        cdef object reference = PyWeakref_NewRef(made, None)
        with cython.critical_section(self):
            if len(self.variables) >= self.prune_at:
                self.variables = [each for each in self.variables if each() is not None]
                self.prune_at = 2 * len(self.variables) + 64
            self.variables.append(reference)
        return 0

    cdef int add(self, object context, object errand) except -1:
        cdef uintptr_t address = <uintptr_t><void*>context
        cdef object made = None
        cdef object reference = ref(context, partial(self, address))
        cdef BindingVariable variable
        with cython.critical_section(self):
            there = self.to.get(address)
            if there is None:
                self.to[address] = reference, [errand]
                xctx_store_ptr(&awaited, <void*>(<uintptr_t>awaited | bit_of(<PyObject*>context)))
            else:
                there[1].append(errand)
            variables = self.variables[:]
        for each in variables:   # each chain is looked through when it is next used
            made = each()
            if made is not None:
                variable = <BindingVariable>made
                xctx_add(&variable.strays, 1)
        return 0

    cdef tuple take(self, object context):
        with cython.critical_section(self):
            there = self.to.pop(<uintptr_t><void*>context, None)
            if there is not None:
                self.set_awaited()
        return there

    cdef int set_awaited(self) except -1:
        cdef uintptr_t bits = 0
        for address in self.to:
            bits |= bit_of(<PyObject*><uintptr_t>address)
        xctx_store_ptr(&awaited, <void*>bits)
        return 0

    def __call__(self, address, reference):
        """Called when a context has died."""
        with cython.critical_section(self):
            there = self.to.get(address)
            if there is not None and there[0] is reference:
                del self.to[address]
                self.set_awaited()


cdef Errands errands = Errands()


cdef int do_in(object context, object errand) except -1:
    """Arranges that `errand` is called in another context before anything is next seen or bound there. Only without the GIL."""
    return errands.add(context, errand)


cdef bint settle_here() except -1:
    """Does the errands to the current context. Returns whether there were any."""
    cdef PyThreadState *tstate = xctx_tstate()
    if not FREE_THREADED or tstate.context == NULL or not <uintptr_t>xctx_load_ptr(&awaited) & bit_of(tstate.context):
        return False
    there = errands.take(<object>tstate.context)
    if there is None:
        return False
    for errand in there[1]:
        call_errand(errand)
    return True


cdef void call_errand(object errand) noexcept:
    # The code that uses the context has nothing to do with it, so what it raises is only reported.
    try:
        errand()
    except MemoryError:   # the failed call has released some
        errand()


# --- other contexts --------------------------------------------------------------------------------------------------

cdef PyObject *visit_context(PyObject *context, bint *collects):
    """Makes a context the current one, also where it is entered already, until `end_visit`. Only with the GIL.

    Nothing may run meanwhile but what is written in C, and nothing may be released that could run any code.

    Returns:
        What `end_visit` is to be given, together with `collects`.
    """
    collects[0] = xctx_hold_collector()
    return xctx_swap_context(context)


cdef void end_visit(PyObject *here, bint collects):
    xctx_swap_context(here)
    xctx_release_collector(collects)


xctx_forbid_instances(<PyTypeObject*>Errands)
