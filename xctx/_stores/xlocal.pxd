"""What other compiled rooms use of xlocal."""
from xctx._runtime.python cimport vectorcallfunc
from xctx._stores.bindings cimport Binding
from xctx._stores.chains cimport BindingVariable


cdef class xlocal(BindingVariable):
    # None of these changes after __cinit__, except `place`, which is set once.
    cdef vectorcallfunc vectorcall
    cdef object declared    # frozenset of the names that can be bound; None for any
    cdef object made_in     # the name of the module whose code made it; None if there was none
    cdef object place       # module and qualified name, where it is an attribute of a class; or None

    cdef dict visible(self)


cdef Binding validated(xlocal owner, dict names)
