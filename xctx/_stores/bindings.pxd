"""The chain of bindings: immutable records of names and values, each linked to the one outside it."""
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport intptr_t, uint32_t

from xctx._runtime.python cimport FREE_THREADED, PyTuple_GET_ITEM_, PyTuple_GET_SIZE_, xctx_load_int, xctx_published
from xctx._core cimport Unit
from xctx._stores.names cimport is_interned


cdef enum:
    FEW = 8  # in a binding with more names than these a name is looked up by its hash


@cython.final
cdef class CopyGroup:
    cdef bint exited        # atomic: set once
    cdef object opened_at   # the file and line in which the block was entered; None unless that is tracked
    cdef object left_from   # likewise, and only without the GIL: a weak reference to a context that is to drop the binding


@cython.final
cdef class Home:
    # None of these changes once a binding with it can be seen by others, except the last.
    cdef object generator    # a weak reference to it; None for a binding that was made in no generator
    cdef void *code          # of the generator. This and the next two are only compared
    cdef void *frame         # of the code that binds
    cdef void *outermost     # the generator's own frame, where it delegates to that code; otherwise the same frame
    cdef PyObject *context   # in which it was bound; only compared
    cdef bint by_hand        # bound by a call of __enter__, so the generator may end and leave it bound
    cdef bint mixed          # beneath it there are bindings with another home
    cdef View view           # or None: set once without the GIL, where it is read without a lock


@cython.final
cdef class View:
    # None of these changes once it is made.
    cdef Binding chain       # what is seen, with no home; None for nothing
    cdef bint whole          # the chain itself is seen, from the binding on
    cdef PyObject *context   # in which that is seen; only compared
    cdef void *running       # the frame of the one generator with bindings here that runs; or NULL
    cdef Py_ssize_t hidden   # how many bindings are not seen


@cython.final
cdef class Binding:
    # Once others can see the binding, only the fields from `copies` on change, which are read without a lock.
    cdef object owner       # the xlocal that it was bound through; not used in this module
    cdef Unit unit          # None: every unit reads it. Held, so that its address is not reused
    cdef tuple names        # interned, so that they can be compared by address
    cdef tuple values
    cdef Binding outer
    cdef uint32_t depth     # how many bindings are beneath it
    cdef bint extends_outer   # there are bindings of the same unit beneath, and they are seen
    cdef bint barrier       # what the same unit bound beneath is not seen
    cdef bint hides         # made in a generator: in the context of its home it is seen only while the generator runs
    cdef Home home          # None where nothing from here on was bound in a generator
    cdef CopyGroup copies   # set once, under the binding's critical section, with the first copy
    cdef dict merged        # likewise, on first use: all that is visible from here. The dict never changes
    cdef Binding flattened  # likewise: the same as one binding with nothing beneath
    cdef uint32_t compact_at   # the depth at which the chain is next compacted
    cdef bint exited        # atomic, set once: its block was left, so no exit will come for it. For a copy, the group says so
    cdef intptr_t checked   # atomic: the variable's `strays` when no link from here on was a stray


cdef Binding bind(object owner, Unit unit, tuple names, tuple values, Binding outer, CopyGroup copies, bint barrier)
cdef int put_on_top(Binding made, Binding outer) except -1
cdef int take_from_chain(Binding made) except -1
cdef Home new_home(object generator, void *code, void *frame, void *outermost, PyObject *context, bint by_hand, bint mixed)
cdef View new_view(Binding chain, bint whole, PyObject *context, void *running, Py_ssize_t hidden)
cdef CopyGroup group_of(Binding binding)
cdef Binding copy_of(Binding binding, Unit unit, Binding outer)
cdef dict merge(Binding top)
cdef Binding flatten(Binding top)
cdef PyObject *look_up_merged(Binding top, PyObject *name) except? NULL
cdef int note_left(CopyGroup group, object context) except -1
cdef void set_exited(Binding binding)
cdef Binding remove(Binding top, Binding binding)
cdef Binding compact(Binding top)
cdef Binding transfer(Binding top, Unit before, Unit now)


cdef inline Binding innermost_of(Binding top, Unit unit):
    """The innermost binding of `unit` in the chain, or None."""
    while top is not None and top.unit is not unit:
        top = top.outer
    return top


cdef extern from *:
    """
    #define xctx_copies_at(binding) XCTX_AT((struct __pyx_obj_4xctx_7_stores_8bindings_Binding *)(binding), copies)
    #define xctx_merged_at(binding) XCTX_AT(binding, merged)
    #define xctx_flattened_at(binding) XCTX_AT(binding, flattened)
    #define xctx_left_from_at(group) XCTX_AT(group, left_from)
    #define xctx_view_at(home) XCTX_AT(home, view)
    """
    PyObject **at_copies "xctx_copies_at"(PyObject *)   # takes a pointer, for which Cython counts no reference
    PyObject **at_merged "xctx_merged_at"(Binding)
    PyObject **at_flattened "xctx_flattened_at"(Binding)
    PyObject **at_left_from "xctx_left_from_at"(CopyGroup)
    PyObject **at_view "xctx_view_at"(Home)


cdef inline PyObject *copies_of(PyObject *link):
    """Its CopyGroup, or None. Borrowed from it."""
    return xctx_published(at_copies(link))


cdef inline bint stands_for(Binding link, Binding binding):
    """Whether a link of a chain is the binding, or a copy of it."""
    cdef PyObject *copies
    if link is binding:
        return True
    copies = copies_of(<PyObject*>binding)
    return copies != <PyObject*>None and copies_of(<PyObject*>link) == copies


cdef bint is_stray(Binding link) noexcept
cdef object left_context(Binding stray)


cdef inline bint is_exited(Binding link):
    cdef PyObject *copies
    if xctx_load_int(<int*>&link.exited):
        return True
    copies = copies_of(<PyObject*>link)
    return copies != <PyObject*>None and xctx_load_int(<int*>&(<CopyGroup>copies).exited)


cdef inline void mark_exited(Binding binding):
    if not FREE_THREADED and binding.copies is None:
        binding.exited = True
    else:
        set_exited(binding)


cdef inline PyObject *look_up(Binding top, PyObject *name) except? NULL:
    """The value of a name, borrowed from the binding, or NULL with no exception where the name is not bound.

    The caller holds `top`: making the merged dict may run the collector, and so any code.
    """
    cdef PyObject *names = <PyObject*>top.names
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE_(names)
    if n <= FEW:
        for i in range(n):
            if PyTuple_GET_ITEM_(names, i) == name:
                return PyTuple_GET_ITEM_(<PyObject*>top.values, i)
        if not top.extends_outer and is_interned(name):
            return NULL
    return look_up_merged(top, name)
