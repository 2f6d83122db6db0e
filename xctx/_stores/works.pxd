"""Units of work."""
cimport cython

from xctx._runtime.units cimport Unit
from xctx._stores.bindings cimport Binding


@cython.final
cdef class UnitOfWork:
    cdef Unit unit          # never changes after it is made
    # Guarded by the critical section: the one that was current where this one was opened; skipped once it has ended.
    cdef UnitOfWork outer
    cdef object before      # what the context mapped when this was opened there; None once it has ended
    cdef object __weakref__


cdef UnitOfWork open_work(UnitOfWork outer)
cdef UnitOfWork current_work()
cdef UnitOfWork outer_of(UnitOfWork work)
cdef UnitOfWork innermost_open(UnitOfWork work)
cdef bint is_work(Binding binding) noexcept
