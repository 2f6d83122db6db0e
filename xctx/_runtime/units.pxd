"""What the rooms above use of this one: the units, and the registry in which they are found."""
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from xctx._runtime.python cimport xctx_mutex


cdef extern from "Python.h":
    # Found where the interpreter has it built in: the module `weakref` would be half of what importing xctx costs.
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
    bint in_context             # what a `local` keeps lies in the PEP 567 context, and goes where it goes
    bint inherits               # so does what an xlocal binds, without a unit: not even a fork tells it apart
    # The unit that runs here, found the long way; where nothing is kept for it yet, None unless `create`. `key` is the key.
    Unit (*current)(object key, bint create)
    # The living unit of something that need not run here, or None.
    Unit (*of)(object key, object thing)
    # Asks a thing that may be referred to long after its end to tell when that comes. NULL where the weak reference does.
    int (*watch)(object thing) except -1
    # Whether a thing that tells nobody has come to its end. NULL where there is no such thing.
    bint (*has_finished)(object thing) except -1


@cython.final
cdef class Unit(ReferenceType):
    cdef object __weakref__
    cdef const UnitKind *unit_kind    # never changes after it is made
    cdef bint ended                   # set once, under the registry's lock
    cdef bint over                    # set once: it has ended, and what was kept for it is released
    cdef uint64_t tsid                # never changes: the thread state that it was made in
    cdef uint32_t forks               # never changes: the count of forks in the process that it was made in
    cdef void *address                # never changes: of what it stands for, while that lives
    cdef PyObject *next_in_bucket     # guarded by the registry's lock
    cdef void *table                  # the unit table, where `local` stores find what they keep for it: theirs alone to use
    cdef xctx_mutex table_lock        # likewise
    # Likewise: 0, or what tells that nothing of the table was taken away since it was found. With the GIL only.
    cdef uint64_t table_version


@cython.final
cdef class Referent:
    cdef Unit unit                    # never changes after it is made
    cdef object __weakref__


# Called once for each unit that ends, before the registry drops it, in whatever unit ran the last line: what is kept
# for the unit must be released there. Not called for the parent's units in a forked child.
ctypedef void (*table_release)(Unit unit) noexcept
cdef void set_table_release(table_release release) noexcept

cdef Unit new_unit(object thing, void *address, const UnitKind *kind, object callback)
cdef Referent new_referent(void *address, const UnitKind *kind)
cdef Unit unit_of(object thing, const UnitKind *kind, bint create)
cdef Unit registered_unit(void *address, const UnitKind *kind)
cdef void register(Unit unit) except *
cdef void end_unit(Unit unit) noexcept
