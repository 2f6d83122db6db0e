"""What other compiled rooms use of this one: bindings, and how they are made and taken out without a scope."""
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from xctx._core cimport Key, PyThreadState, Unit


cdef extern from "Python.h":
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject **, size_t, PyObject *)


cdef class xlocal:
    # None of these changes after __cinit__, but for `place`.
    cdef vectorcallfunc vectorcall
    cdef uint64_t serial
    cdef Key key
    cdef object var
    cdef object declared    # frozenset of the names that can be bound; None for any
    cdef object made_in     # the name of the module whose code made it; None where there was none
    cdef object place       # module and qualified name where a class has it; None where none has
    cdef int listed_at      # among the variables that are asked one by one, or -1
    cdef object __weakref__

    cdef dict visible(self)


@cython.final
cdef class Mark:
    cdef bint spent


@cython.final
cdef class Binding:
    cdef xlocal owner
    cdef Unit unit          # None under the `context` key: every unit reads it. Held, so that its address stays its own
    cdef tuple names        # interned, hence told apart by address
    cdef tuple values
    cdef Binding outer
    cdef Mark mark          # the same for all that stand for what one block bound; made with the first copy
    cdef dict merged        # made when first wanted: all that is visible from here, names to values
    cdef Binding flat       # likewise, as a binding that holds nothing else
    cdef uint32_t depth
    cdef uint32_t compact_at   # the depth at which the chain is next looked through for what is spent
    cdef bint covers        # there are bindings of the same unit beneath, which are seen
    cdef bint wall          # what the same unit bound beneath is not seen
    cdef bint spent         # its block was left, so nobody will take it out of anywhere again; of a copy, the mark tells


@cython.final
cdef class Entry:
    cdef Binding made
    cdef object token
    cdef PyObject *context   # compared only, the token keeps it alive
    cdef Entry outer         # the next one of the same block


cdef Binding bind(xlocal owner, Unit unit, tuple names, tuple values, Binding outer, Mark mark, bint wall)
cdef Binding checked(xlocal owner, dict names)
cdef Binding chain_of(xlocal owner)
cdef int each_chain(PyThreadState *tstate, int (*visit)(Binding top, void *arg) except -1, void *arg) except -1
cdef Binding binding_here(xlocal owner, PyThreadState *tstate)
cdef Binding flatten(Binding top)
cdef Entry put(Binding flat, bint wall, Entry outer)
cdef Binding seen(Binding top, PyThreadState *tstate)
cdef void take_back(Entry entry) except *
cdef bint stands_for(Binding link, Binding entry)
cdef void rehome(Binding top, Unit before, Unit now) except *
