"""Units of work."""
cimport cython

from xctx._runtime.units cimport Unit
from xctx._stores.bindings cimport Binding


@cython.final
cdef class UnitOfWork:
    cdef Unit unit          # never changes after it is made
    cdef UnitOfWork outer   # the one that was current where this one was opened; skipped once it has ended
    cdef object before      # what the context mapped when this was opened there; None once it has ended
    cdef object __weakref__


cdef UnitOfWork open_work(UnitOfWork outer)
cdef UnitOfWork current_work()
cdef UnitOfWork innermost_open(UnitOfWork work)
cdef bint is_work(Binding binding) noexcept
