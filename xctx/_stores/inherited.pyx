# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Threads that inherit a context: under the key `flow` they see nothing of it, because nobody carried it on purpose.

From CPython 3.14 on a thread may start with a copy of its maker's context (``sys.flags.thread_inherit_context``). The copy
is made by threading, before any code of the thread runs, and the thread enters it in ``Thread._bootstrap_inner``. A
watcher, which the interpreter calls at each switch of contexts, finds that frame and takes out of the copy what stores
with the key `flow` keep in it. Contexts that are copied in the thread are copied from that one.

A context that the program passed to the thread (``Thread(context=...)``) is entered in the same way, so it cannot be told apart.

This module is imported only where threads inherit.
"""
from xctx._runtime.python cimport PyThreadState, xctx_tstate, xctx_var_set
from xctx._runtime.runtime cimport connect, xctx_count_contexts
from xctx._runtime.units cimport FLOW
from xctx._stores.bindings cimport Binding
from xctx._stores.chains cimport BindingVariable
from xctx._stores.context_values cimport ContextValues
from threading import Thread


cdef extern from "xctx/_stores/inherited.h":
    int watch "xctx_watch_threads"(object code, int (*entered)() except -1) except -1

connect()


cdef int entered() except -1:
    """Called in a new thread that has just entered its first context."""
    cdef PyThreadState *tstate = xctx_tstate()
    for var, value in list((<object>tstate.context).items()):
        if isinstance(value, Binding):
            if (<BindingVariable>(<Binding>value).owner).key.index == FLOW:
                xctx_var_set(var, None)
        elif isinstance(value, ContextValues):
            if (<ContextValues>value).of_flow:
                xctx_var_set(var, None)
    xctx_count_contexts(tstate)
    return 0


def watch_threads():
    """Watches new threads from now on. Called once, while xctx is imported."""
    watch(Thread._bootstrap_inner.__code__, entered)
