"""What the rooms above use of this one: the units, and the registry in which they are found."""
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from xctx._runtime.python cimport xctx_load_int, xctx_mutex


cdef extern from "Python.h":
    # From the built-in module: importing `weakref` would take as long as half of importing xctx.
    ctypedef class _weakref.ReferenceType [object PyWeakReference]:
        pass


# Where the units of a kind stand in a thread's "now" (xctx_now.found). A new kind takes the next number, below
# XCTX_UNIT_KINDS.
cdef enum UnitIndex:
    PROCESS, THREAD, GREENLET, TASK, FLOW, CONTEXT, VALUE, WORK


cdef struct UnitKind:
    # Process: each kind is one of these, filled when its module is imported, and never changes afterwards.
    const char *name
    UnitIndex index
    bint cached                 # the unit stays the same until something is switched. If not, the key is asked each time
    bint shared_by_threads      # several threads may run in one unit at the same time
    bint in_context             # what a `local` keeps lies in the PEP 567 context, and goes where that goes
    bint inherits               # what an xlocal binds has no unit: it is seen wherever the context goes, also after a fork
    # Finds the unit that runs here, without the cache. If it was not needed before, it is made, or, unless `create`, None.
    Unit (*current)(object key, bint create)
    # The living unit of something that need not run here, or None.
    Unit (*of)(object key, object thing)
    # Arranges that a thing's unit ends when the thing finishes, although it may be referred to long after that. NULL if the
    # weak reference is enough.
    int (*watch)(object thing) except -1
    # Whether a thing that `watch` cannot watch has finished. NULL if there is no such thing.
    bint (*has_finished)(object thing) except -1


@cython.final
cdef class Unit(ReferenceType):
    cdef object __weakref__
    cdef const UnitKind *unit_kind    # never changes after it is made
    cdef bint ended                   # set once, under the registry's lock
    cdef bint over                    # set once: it has ended, and what was kept for it is released
    cdef uint64_t tsid                # never changes: the thread state that it was made in
    cdef uint32_t forks               # never changes: the count of forks in the process that it was made in
    cdef void *address                # never changes: the address of what it stands for, as long as that lives
    cdef PyObject *next_in_bucket     # guarded by the registry's lock
    cdef void *table                  # the unit table, in which `local` stores find what they keep for it. Only they use it,
    cdef xctx_mutex table_lock        # and the lock that guards it,
    cdef uint64_t table_version       # and this: it changes when anything is removed from the table. Only used with the GIL


@cython.final
cdef class Referent:
    cdef Unit unit                    # never changes after it is made
    cdef object __weakref__


# Releases what is kept for a unit. Called when the unit ends, before the registry drops it, in whatever unit ended it;
# several times if finalisers store something again. Not called for the parent's units in a forked child.
ctypedef void (*table_release)(Unit unit) noexcept
cdef void set_table_release(table_release release) noexcept

cdef Unit new_unit(object thing, void *address, const UnitKind *kind, object callback)
cdef Referent new_referent(void *address, const UnitKind *kind)
cdef Unit unit_of(object thing, const UnitKind *kind, bint create)
cdef Unit registered_unit(void *address, const UnitKind *kind)
cdef void register(Unit unit) except *
cdef void end_unit(Unit unit) noexcept


cdef inline bint is_over(Unit unit) noexcept:
    return xctx_load_int(<int*>&unit.over)
