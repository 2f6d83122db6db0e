"""With statements, and exits by hand: which block an exit ends."""
cimport cython
from cpython.object cimport PyObject

from xctx._runtime.python cimport vectorcallfunc
from xctx._core cimport Unit
from xctx._stores.bindings cimport Binding, CopyGroup


# What a type implements whose objects open blocks, such as scopes and snapshots.
ctypedef object (*block_step)(Block block)
ctypedef object (*opener_step)(object opener)

cdef struct BlockKind:
    block_step enter
    block_step leave
    opener_step enter_by_hand
    opener_step leave_by_hand


@cython.final
cdef class Block:
    cdef vectorcallfunc vectorcall   # these two never change once it is made
    cdef BlockKind *kind
    cdef object opener       # cleared when the block is entered, because an opener holds the blocks that were entered by hand
    # What follows is set when the block is entered, and not needed once it is left.
    cdef Binding made        # of a scope
    cdef object undo         # of a scope the context in which it was entered, of a snapshot its application
    cdef object applied      # of a unit of work: what that context mapped then, or None
    # These are used between the two look-ups of a with statement.
    cdef bint leaves         # whether the first one was of __exit__
    cdef bint of_statement   # set before the second one, and never changes
    cdef void *frame         # the frame of the statement: compared only
    cdef Block beneath       # of another statement, in the midst of which this one runs; or None


@cython.final
cdef class OpenByHand:
    cdef dict opened   # these two guarded by the critical section: group of what was bound -> (unit, block), in order
    cdef dict groups   # unit -> the groups that are opened by it, as a dict to None

    cdef int add(self, CopyGroup group, Unit unit, Block block) except -1
    cdef Block take_innermost(self, Binding top)
    cdef Block take_last(self, Unit unit)
    cdef Block take(self, CopyGroup group)


cdef Block new_block(object opener, BlockKind *kind)
cdef int install_block_methods(type cls, BlockKind *kind, str enter=*, str leave=*) except -1
cdef object by_hand(object opener, str name)
cdef OpenByHand new_open_by_hand()
