# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""With statements, and exits by hand: which block an exit ends.

An *opener* (a scope, a snapshot) may be open any number of times, in any number of units. Each entry is a block of its own.
A with statement has its block from the statement itself: the two methods that it looks up are one object, made for it
alone (pairing.h). An ExitStack or a hook calls the methods by hand, and says only which opener it means: `OpenByHand` finds
the block, at a cost that does not grow with how many are open.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF

from xctx._runtime.python cimport (PyErr_Fetch_, PyErr_Restore_, PyVectorcall_NARGS, TypeObject, destructor,
                                   xctx_forbid_instances, xctx_give_vectorcall, xctx_is_finalizing, xctx_replace_named_get,
                                   xctx_tstate, xctx_type_put)
from xctx._runtime.runtime cimport connect
from xctx._core cimport Unit
from xctx._stores.bindings cimport Binding, CopyGroup
from xctx._stores.seen cimport is_callers, is_hidden
from types import MethodType


cdef extern from *:
    """
    #define XCTX_VECTORCALL_OF_BLOCK offsetof(struct __pyx_obj_4xctx_7_stores_10statements_Block, vectorcall)
    """
    Py_ssize_t VECTORCALL_OF_BLOCK "XCTX_VECTORCALL_OF_BLOCK"
    void xctx_untrack "PyObject_GC_UnTrack"(PyObject *)
    Block take_block "xctx_taken"(PyObject *)   # takes the reference over

cdef extern from "xctx/_stores/pairing.h":
    PyObject *half_paired "xctx_half_paired"
    bint may_be_first "xctx_may_be_first"(bint is_exit)
    void *frame_of_statement "xctx_frame_of_statement"()

connect()


# --- blocks ----------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear   # deallocation needs what it has bound
@cython.freelist(64)
cdef class Block:
    """One entry of an opener. Called with no argument it is entered, called with the three arguments of ``__exit__`` it is left.

    Thread-safety: used by the code that entered it, and by whatever closes that code, one after the other.
    Lifetime: held by the with statement, or by its opener where it was entered by hand.
    """

    def __call__(self, *args):
        return self.kind.leave(self) if args else enter(self)


cdef inline object enter(Block block):
    if block.opener is None:
        raise RuntimeError("this block is entered already")
    return block.kind.enter(block)


cdef object block_call(PyObject *block, PyObject **args, size_t nargsf, PyObject *kwnames):
    # Block.__call__ without a tuple.
    if PyVectorcall_NARGS(nargsf):
        return (<Block>block).kind.leave(<Block>block)
    return enter(<Block>block)


xctx_give_vectorcall(<PyTypeObject*>Block, VECTORCALL_OF_BLOCK)

cdef destructor free_block   # of the process, like the type: the slot as Cython filled it


cdef void dealloc_block(PyObject *o) noexcept:
    # If a with statement dies with its frame, its block is left here: a generator may refuse to end (by another yield when it
    # is closed), and is freed all the same. No reference may be taken to a dying block, so another one is left in its place.
    cdef Block heir
    cdef PyObject *kind
    cdef PyObject *error
    cdef PyObject *traceback
    if (<Block>o).undo is not None and (<Block>o).of_statement and not xctx_is_finalizing():
        xctx_untrack(o)
        PyErr_Fetch_(&kind, &error, &traceback)
        try:
            heir = new_block(None, (<Block>o).kind)
            heir.made = (<Block>o).made
            heir.undo = (<Block>o).undo
            (<Block>o).made = None
            (<Block>o).undo = None
            heir.kind.leave(heir)
        except BaseException:
            pass   # there is nobody to tell; it fails only for lack of memory
        PyErr_Restore_(kind, error, traceback)
    free_block(o)


free_block = (<TypeObject*><PyObject*>Block).tp_dealloc
(<TypeObject*><PyObject*>Block).tp_dealloc = dealloc_block


cdef Block new_block(object opener, BlockKind *kind):
    cdef Block block = Block.__new__(Block)
    block.vectorcall = <vectorcallfunc>block_call
    block.kind = kind
    block.opener = opener
    return block


# --- with statements -------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class EnterExit:
    """``__enter__`` or ``__exit__`` of openers. Bound by a with statement, it gives the block of that statement.

    A statement binds it through the slot of its type; a call of ``__get__`` by name is `get_by_name`.

    Methods of the usual kind would be two objects for each block, made only to be called once.

    Thread-safety: never changes.
    Lifetime: held by the type.
    """
    # None of these ever changes.
    cdef type of
    cdef BlockKind *kind
    cdef bint leaves
    cdef str name

    def __get__(self, opener, cls):
        global half_paired
        cdef void *frame
        cdef Block half = None
        cdef Block made
        if opener is None:
            return self
        frame = frame_of_statement()
        if half_paired != NULL:
            half = take_block(half_paired)
            half_paired = NULL
            if half.opener is opener and half.leaves != self.leaves and may_be_first(half.leaves) and half.frame == frame:
                if half.beneath is not None:
                    keep_half(half.beneath)
                    half.beneath = None
                return half
            half.beneath = None   # a tracing function is not traced, so there is never a third
            if half.frame == frame:
                half = None   # left by code that looked up only one of the two
        check_opener(self, opener)
        made = new_block(opener, self.kind)
        made.leaves = self.leaves
        made.of_statement = True
        made.frame = frame
        made.beneath = half
        keep_half(made)
        return made

    @property
    def __name__(self):
        return self.name

    def __call__(self, opener, *args):
        """By hand: a block is opened, or one that was opened by hand is left."""
        check_opener(self, opener)
        if self.leaves:
            return self.kind.leave_by_hand(opener)
        if args:
            raise TypeError(f"{self.name} takes no arguments, it was given {args!r}")
        return self.kind.enter_by_hand(opener)


cdef object get_by_name(PyObject *method, PyObject *opener, PyObject *cls):
    # Called by Python code, such as contextlib.ExitStack from 3.15 on: a bound method, to be called by hand.
    if opener == NULL:
        return <object>method
    check_opener(<EnterExit>method, <object>opener)
    return MethodType(<object>method, <object>opener)


xctx_replace_named_get(<PyTypeObject*>EnterExit, get_by_name)


cdef void keep_half(Block block):
    global half_paired
    Py_INCREF(block)   # for the second look-up
    half_paired = <PyObject*>block


cdef int check_opener(EnterExit method, object opener) except -1:
    if type(opener) is not method.of:
        raise TypeError(f"{method.name} is of a {method.of.__name__}, it was given {opener!r}")
    return 0


cdef int install_block_methods(type cls, BlockKind *kind, str enter="__enter__", str leave="__exit__") except -1:
    """Gives a type that cannot be derived from its ``__enter__`` and ``__exit__``, or those of ``async with``."""
    cdef EnterExit made
    for leaves in (False, True):
        made = EnterExit.__new__(EnterExit)
        made.of = cls
        made.kind = kind
        made.leaves = leaves
        made.name = leave if leaves else enter
        xctx_type_put(<PyObject*>cls, made.name, made)
    return 0


cdef object by_hand(object opener, str name):
    """``__enter__`` or ``__exit__`` taken as an attribute: it may be called at any time, and need not have a counterpart.

    A with statement does not come by here: it looks on the type.
    """
    return MethodType(getattr(type(opener), name), opener)


# --- by hand ---------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class OpenByHand:
    """The blocks of one opener that were entered by hand and not left.

    Thread-safety: all operations, from any thread.
    Lifetime: held by the opener.
    """

    def __cinit__(self):
        self.opened = {}
        self.groups = {}

    cdef int add(self, CopyGroup group, Unit unit, Block block) except -1:
        cdef dict groups
        with cython.critical_section(self):
            groups = self.groups.get(unit)
            if groups is None:
                groups = self.groups[unit] = {}
            groups[group] = None
            self.opened[group] = unit, block
        return 0

    cdef Block take_innermost(self, Binding top):
        """The innermost block in a chain, or the only one that is open; or None.

        Blocks that the calling generator has entered come first, and those of generators that do not run here come last.
        """
        cdef Binding link = top
        cdef Binding seen = None
        cdef Binding hidden = None
        with cython.critical_section(self):
            if len(self.opened) == 1:
                for group in self.opened:   # makes no iterator: leaving must not fail for lack of memory
                    return self.take(group)
            if self.opened:
                while link is not None and (seen is None or link.home is not None):
                    if link.copies is not None and link.copies in self.opened:
                        if is_callers(link):
                            return self.take(link.copies)
                        if is_hidden(link, xctx_tstate()):
                            if hidden is None:
                                hidden = link
                        elif seen is None:
                            seen = link
                    link = link.outer
                if seen is None:
                    seen = hidden
                if seen is not None and seen.copies in self.opened:
                    return self.take(seen.copies)
        return None

    cdef Block take_last(self, Unit unit):
        """The last block that the unit has opened and not left, or else the last of all; None where there is none."""
        cdef dict among
        with cython.critical_section(self):
            if not self.opened:
                return None
            among = self.groups.get(unit)
            if among is None:
                among = self.opened
            # Taken out and put in again: only popitem() does not walk over the deleted entries at the end each time.
            group, held = among.popitem()
            among[group] = held
            return self.take(group)

    cdef Block take(self, CopyGroup group):
        cdef dict groups
        unit, block = self.opened.pop(group)
        groups = self.groups[unit]
        del groups[group]
        if not groups:
            del self.groups[unit]
        return block


cdef OpenByHand new_open_by_hand():
    return OpenByHand.__new__(OpenByHand)


xctx_forbid_instances(<PyTypeObject*>OpenByHand)
xctx_forbid_instances(<PyTypeObject*>Block)
xctx_forbid_instances(<PyTypeObject*>EnterExit)
