# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What kind of function a callable is, and how each step of a call runs inside a step context.

A plain function runs in one piece. Generators, coroutines and async generators run in *steps*: from a resumption to the
next suspension. :func:`kind_of` alone tells the kinds apart. A :class:`StepContext` says what is entered before a step and
left after it, and :class:`Steps` takes the steps::

    decorated generator  --yield from-->  Steps  --enter, send, leave-->  generator of the decorated function

The functions that a decorator returns are in ``wrappers.py``. They are written in Python, because only functions that the
interpreter compiled make generators and coroutines that :mod:`inspect`, :mod:`types` and event loops recognise.
"""
cimport cython
from cpython.object cimport PyObject

from xctx._runtime.python cimport PyObject_Call_, xctx_taken
from xctx._runtime.runtime cimport connect
from xctx._runtime.scheduling cimport loaded
from _functools import partial
from types import MethodType


cdef extern from *:
    """
    /* The iterator that `await` drives: a coroutine itself, or what __await__ returns; NULL, with no error, for others. */
    static PyObject *xctx_awaited(PyObject *o) {
        PyAsyncMethods *methods = Py_TYPE(o)->tp_as_async;
        if (PyCoro_CheckExact(o)) {
            return Py_NewRef(o);
        }
        return methods != NULL && methods->am_await != NULL ? methods->am_await(o) : NULL;
    }
    """
    PyObject *xctx_awaited(object) except? NULL

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object, object, PyObject **) except PYGEN_ERROR
    bint PyIter_Check(object)
    bint PyFunction_Check(object)
    PyObject *PyFunction_GetCode(object)   # borrowed
    int CO_GENERATOR, CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR


connect()


# --- kinds -----------------------------------------------------------------------------------------------------------

PLAIN = 0
GENERATOR = CO_GENERATOR
COROUTINE = CO_COROUTINE
ITERABLE_COROUTINE = CO_ITERABLE_COROUTINE
ASYNC_GENERATOR = CO_ASYNC_GENERATOR

cdef int OF_KINDS = CO_GENERATOR | CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR

cdef enum:
    # How many callables are unwrapped, each out of the one before: a cycle of them cannot be called anyway.
    DEEPEST = 1000


cpdef int kind_of(object func) except -1:
    """The kind of a callable: PLAIN, GENERATOR, COROUTINE, ITERABLE_COROUTINE (of types.coroutine) or ASYNC_GENERATOR.

    Bound methods, static methods, partials and objects with a ``__call__`` have the kind of the function in them. Like
    :mod:`inspect`, this does not look at ``__wrapped__``, because a wrapper may be of another kind than what it wraps.
    """
    cdef int _level, flags
    cdef bint of_class = False   # `func` was looked up in a class
    for _level in range(DEEPEST):
        inner = None if PyFunction_Check(func) and not of_class else function_in(func, of_class)
        if inner is not None:
            func = inner
            continue
        if is_marked(func):
            return CO_COROUTINE
        flags = flags_of(func)
        if flags >= 0:
            break
        func = getattr(type(func), "__call__", None)
        if func is None or isinstance(func, SLOT):
            return 0
        of_class = True
    else:
        return 0
    if flags & CO_ASYNC_GENERATOR:
        return CO_ASYNC_GENERATOR
    if flags & CO_COROUTINE:
        return CO_COROUTINE
    if flags & CO_ITERABLE_COROUTINE:   # before the test for a generator, whose flag is set as well
        return CO_ITERABLE_COROUTINE
    return flags & CO_GENERATOR


cdef type SLOT = type(type.__call__)   # the type of a __call__ that is written in C


cdef object function_in(object func, bint of_class):
    """The function in a bound method, static method, partial or partial method; or None."""
    if isinstance(func, (MethodType, staticmethod)):
        return func.__func__
    if isinstance(func, partial):
        return func.func
    if of_class:   # a functools.partialmethod gives a function that refers to it: up to 3.12 by the second name
        made_of = getattr(func, "__partialmethod__", None) or getattr(func, "_partialmethod", None)
        return getattr(made_of, "func", None)
    return None


cdef int flags_of(object func) except? -1:
    """The flags of a function's code, also of one that Cython compiled or that a mock imitates; -1 where there is none."""
    if PyFunction_Check(func):   # as most are; not `func.__code__`, because reading that calls the audit hooks
        flags = (<object>PyFunction_GetCode(func)).co_flags
        return flags & OF_KINDS
    if isinstance(func, type):
        return -1   # an attribute `__code__` of a class would be about its instances
    flags = getattr(getattr(func, "__code__", None), "co_flags", None)
    if not isinstance(flags, int):
        return -1
    return flags & OF_KINDS


cdef bint is_plain(object func) except -1:
    """Whether this is a callable of the kind PLAIN, and no descriptor that `wrap` of wrappers.py would look into."""
    if not PyFunction_Check(func) and (not callable(func) or isinstance(func, (staticmethod, classmethod))):
        return False
    return kind_of(func) == 0


cdef bint is_marked(object func) except -1:
    """Whether inspect.markcoroutinefunction (3.12 and later) or the older function of asyncio's has marked it.

    If neither module is loaded, nothing can have been marked.
    """
    return (is_marked_by(func, "_is_coroutine_marker", "inspect", "_is_coroutine_mark")
            or is_marked_by(func, "_is_coroutine_marker", "inspect", "_is_coroutine_marker")   # as 3.12 called it
            or is_marked_by(func, "_is_coroutine", "asyncio.coroutines", "_is_coroutine"))


cdef bint is_marked_by(object func, str attribute, str module, str name) except -1:
    cdef object marker = loaded(module, name)
    return marker is not None and getattr(func, attribute, None) is marker


# --- steps -----------------------------------------------------------------------------------------------------------

cdef class StepContext:
    """What each step of one call runs inside. A subclass has the four hooks, which run in the unit that takes the step.

    Thread-safety: as that of a generator: one step at a time, by any thread.
    """

    cdef int enter(self) except -1:
        """Before a step. If it raises, the step is not taken, and `leave` is not called."""
        raise NotImplementedError

    cdef int leave(self) except -1:
        """After a step, however the step ended."""
        raise NotImplementedError

    cdef int end(self) except -1:
        """After the last step, and also if none was taken."""
        return 0

    cdef bint spans_awaits(self) noexcept:
        """Whether an awaitable, once it has begun, stays inside until it has ended, also while it is suspended."""
        return False

    def run(self, func, args, kwargs):
        """Calls ``func(*args, **kwargs)`` in one step."""
        self.enter()
        try:
            return PyObject_Call_(func, args, <PyObject*>kwargs)
        finally:
            self.leave()

    def run_all(self, func, args, kwargs):
        """Calls ``func(*args, **kwargs)`` in one step, and ends with that."""
        try:
            return self.run(func, args, kwargs)
        finally:
            self.end()

    def __enter__(self):
        """Begins a step, in a function or coroutine function of Python."""
        self.enter()
        return self

    def __exit__(self, *exc):
        self.leave()
        return False

    def close(self):
        """Says that no step will follow."""
        self.end()


@cython.final
@cython.no_gc_clear
@cython.freelist(16)
cdef class Steps:
    """The steps of one generator or awaitable, each taken inside a step context, for ``yield from`` or ``await``.

    When a GeneratorExit is thrown into a generator that delegates, PEP 380 closes what it delegates to, rather than throwing
    the exception there. A decorated generator is to do what the plain one does, so this has no `close`: the generator that
    delegates to it catches the exception, and :meth:`passes_on` has the next step throw it.

    Thread-safety: one step at a time, by the generator that delegates to it.
    """
    cdef StepContext context
    cdef object func         # called in the first step, with `args` and `kwargs`; None afterwards
    cdef object args
    cdef object kwargs
    cdef object iterator     # what `func` returned, or its iterator: it takes the steps. None before the first step
    cdef object exit         # a GeneratorExit that the next step throws, or None
    cdef bint awaits         # `func` returns something to be awaited
    cdef bint inside         # the context was entered, and not left
    cdef bint over           # there is no next step

    def __cinit__(self, StepContext context not None, func, tuple args not None, dict kwargs=None, bint awaits=False):
        self.context = context
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.awaits = awaits

    def __iter__(self):
        return self

    def __await__(self):
        return self

    def __next__(self):
        return self.step(None, None)

    def send(self, value):
        return self.step(value, None)

    def throw(self, kind, value=None, traceback=None):
        # Three arguments are made one exception here, because the generator would warn of three a second time.
        if isinstance(kind, type) or value is not None or traceback is not None:
            if value is None:
                value = kind() if isinstance(kind, type) else kind
            elif not isinstance(value, BaseException):
                value = kind(*value) if isinstance(value, tuple) else kind(value)
            kind = value if traceback is None else value.with_traceback(traceback)
        return self.step(None, kind)

    def passes_on(self, exit):
        """Whether the next step throws this GeneratorExit: not if the last step raised it."""
        if self.over:
            return False
        self.exit = exit
        return True

    cdef object step(self, object value, object thrown):
        cdef PyObject *given = NULL
        cdef PySendResult status = PYGEN_ERROR
        cdef object result = None
        if self.exit is not None:
            thrown = self.exit
            self.exit = None
        if not self.inside:
            self.context.enter()
            self.inside = True
        try:
            if self.iterator is None:
                self.begin()
            if thrown is None:
                status = PyIter_Send(self.iterator, value, &given)
                result = xctx_taken(given)
            else:
                value = None
                result = self.throw_in(thrown, &status)
        finally:
            thrown = None
            if status != PYGEN_NEXT:
                self.over = True
                self.iterator = None
            if status != PYGEN_NEXT or not (self.awaits and self.context.spans_awaits()):
                self.inside = False
                self.context.leave()
        if status == PYGEN_NEXT:
            return result
        raise StopIteration(result)

    cdef int begin(self) except -1:
        cdef PyObject *awaited
        func = self.func
        self.func = None
        result = PyObject_Call_(func, self.args, NULL if self.kwargs is None else <PyObject*>self.kwargs)
        self.args = self.kwargs = None
        if self.awaits:
            awaited = xctx_awaited(result)
            if awaited != NULL:
                result = xctx_taken(awaited)
                if not PyIter_Check(result) and not hasattr(type(result), "send"):
                    raise TypeError(f"__await__() returned non-iterator of type {type(result).__name__!r}")
            else:
                from xctx._runtime.awaiting import awaiting
                result = awaiting(result)
        self.iterator = result

    cdef object throw_in(self, object exc, PySendResult *status):
        throw = getattr(self.iterator, "throw", None)
        if throw is None:
            raise exc
        try:
            result = throw(exc)
        except StopIteration as stop:
            status[0] = PYGEN_RETURN
            return stop.value
        status[0] = PYGEN_NEXT
        return result
