# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""The chain of bindings: immutable records of names and values, each linked to the one outside it.

A *binding* says: these names have these values, set by this unit. Bindings form a chain, the innermost first. Two chains
may share their outer part, so a chain is copied by copying one pointer, and threads may share it.

    chain A   [top] --> inner --> outer           bound by `with x(outer)`, `with x(inner)`, both in unit U
    chain B   [top] --> other -----^              a copy of chain A made inside `outer`, with a binding of unit V on top

A look-up takes the innermost binding of one unit, and those of the same unit beneath it as far as the first *barrier*.

To remove a binding from a chain, the links above it are copied onto what is beneath it. A copy belongs to the *copy group*
of the binding that it stands for, so that the copy is found when that binding is to be removed in its turn.

A binding whose block was left is *exited*: no exit will come for it any more. It may still be part of other chains, copied
while the block was open. A timer that re-arms itself inside a block copies the chain each time, and would grow it for
ever; so, now and then, `compact` merges the exited bindings of each unit.

A binding that was made in a generator, and each above it, has a *home*. The chain alone does not tell which of those are
seen, nor in which order: xctx._stores.seen does. This module only keeps homes right as chains are copied.

This module knows nothing of context variables, blocks or scopes.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.tuple cimport PyTuple_GET_SIZE

from xctx._runtime.python cimport (PyDict_GetItemWithError_, xctx_forbid_instances, xctx_load_int, xctx_publish,
                                   xctx_published, xctx_store_int)
from xctx._core cimport Unit
from xctx._runtime.runtime cimport connect


cdef extern from "xctx/_stores/links.h":
    """
    #define XCTX_OUTER_OF_BINDING offsetof(struct __pyx_obj_4xctx_7_stores_8bindings_Binding, outer)
    """
    Py_ssize_t OUTER_OF_BINDING "XCTX_OUTER_OF_BINDING"
    void free_in_a_loop "xctx_free_in_a_loop"(PyTypeObject *, Py_ssize_t)

connect()


@cython.final
cdef class CopyGroup:
    """What a binding and its copies have in common.

    Thread-safety: may be read from any thread.
    Lifetime: held by the binding and its copies. It refers to none of them, since each of them holds the chain beneath it.
    """


@cython.final
@cython.no_gc_clear
@cython.freelist(16)
cdef class Home:
    """The generator in which a binding was made, or that called the code that made it; or no generator, above such bindings.

    Thread-safety: may be read from any thread.
    Lifetime: held by its bindings. It does not keep the generator alive.
    """


@cython.final
@cython.no_gc_clear
cdef class View:
    """The bindings of one unit that are seen from a certain binding of a chain on, in the order in which they count.

    Thread-safety: never changes.
    Lifetime: held by the home of that binding. It keeps nothing alive that the chain from there on does not.
    """


@cython.final
@cython.no_gc_clear
@cython.freelist(64)
cdef class Binding:
    """One link of the chain: these names have these values, set by this unit.

    Thread-safety: may be read from any thread. Of the fields that are set later, each is set once, as bindings.pxd says.
    Lifetime: held by the context variable's value or by the link above it. A chain is freed in a loop (links.h).
    """


free_in_a_loop(<PyTypeObject*>Binding, OUTER_OF_BINDING)
xctx_forbid_instances(<PyTypeObject*>Binding)
xctx_forbid_instances(<PyTypeObject*>CopyGroup)
xctx_forbid_instances(<PyTypeObject*>Home)
xctx_forbid_instances(<PyTypeObject*>View)


cdef Binding bind(object owner, Unit unit, tuple names, tuple values, Binding outer, CopyGroup copies, bint barrier):
    """A new binding on top of the chain `outer`, which is left as it is."""
    cdef Binding made = Binding.__new__(Binding)
    made.owner = owner
    made.unit = unit
    made.names = names
    made.values = values
    made.copies = copies
    made.barrier = barrier
    made.compact_at = 15
    if outer is not None:
        put_on_top(made, outer)
    return made


cdef int put_on_top(Binding made, Binding outer) except -1:
    """Puts a binding that nobody sees yet, and that is in no chain, on top of a chain."""
    if outer.home is not None or made.home is not None:
        settle_home(made, outer.home)
    made.outer = outer
    made.depth = outer.depth + 1
    made.compact_at = outer.compact_at
    made.extends_outer = not made.barrier and innermost_of(outer, made.unit) is not None
    return 0


cdef int take_from_chain(Binding made) except -1:
    """Takes a binding that nobody sees any more, and that has no copies, out of its chain, which it releases."""
    made.depth = 0
    made.extends_outer = False
    made.home = None
    made.flattened = None
    made.compact_at = 15
    made.exited = False
    made.outer = None
    return 0


# --- homes -----------------------------------------------------------------------------------------------------------

cdef int settle_home(Binding made, Home beneath) except -1:
    # As long as all that was bound in generators has the same home, the bindings share one object.
    cdef Home home = made.home
    if beneath is None:
        if not made.hides:
            made.home = None
        elif home.mixed:
            made.home = home_with(home, False)
    elif beneath.mixed or home is None or not same_home(home, beneath):
        made.home = home_with(home, True)   # it has a view of its own
    else:
        made.home = beneath
    return 0


cdef bint same_home(Home one, Home other) noexcept:
    return (one.generator is other.generator and one.frame == other.frame and one.outermost == other.outermost
            and one.context == other.context and one.by_hand == other.by_hand)


cdef Home home_with(Home home, bint mixed):
    # A copy of a home; for None, a home in no generator.
    if home is None:
        return new_home(None, NULL, NULL, NULL, NULL, False, mixed)
    return new_home(home.generator, home.code, home.frame, home.outermost, home.context, home.by_hand, mixed)


cdef Home new_home(object generator, void *code, void *frame, void *outermost, PyObject *context, bint by_hand, bint mixed):
    cdef Home made = Home.__new__(Home)
    made.generator = generator
    made.code = code
    made.frame = frame
    made.outermost = outermost
    made.context = context
    made.by_hand = by_hand
    made.mixed = mixed
    return made


cdef View new_view(Binding chain, bint whole, PyObject *context, void *running, Py_ssize_t hidden):
    cdef View made = View.__new__(View)
    made.chain = chain
    made.whole = whole
    made.context = context
    made.running = running
    made.hidden = hidden
    return made


# --- copies ----------------------------------------------------------------------------------------------------------

cdef CopyGroup group_of(Binding binding):
    with cython.critical_section(binding):
        if binding.copies is None:
            copies = CopyGroup.__new__(CopyGroup)
            (<CopyGroup>copies).exited = binding.exited
            xctx_publish(at_copies(<PyObject*>binding), <PyObject*>copies)
        return binding.copies


cdef Binding copy_of(Binding binding, Unit unit, Binding outer):
    """A copy of the binding, for `unit`, on top of another chain."""
    cdef Binding made = bind(binding.owner, unit, binding.names, binding.values, None, group_of(binding), binding.barrier)
    made.hides = binding.hides
    made.home = binding.home
    if outer is not None:
        put_on_top(made, outer)
    elif made.home is not None:
        settle_home(made, None)
    return made


cdef int note_left(CopyGroup group, object context) except -1:
    """Notes a weak reference to the context that is to drop the bindings of the group."""
    with cython.critical_section(group):
        if group.left_from is None:   # otherwise another thread may be using it
            xctx_publish(at_left_from(group), <PyObject*>context)
    return 0


cdef void set_exited(Binding binding):
    # The part of `mark_exited` for a binding that others may be copying.
    with cython.critical_section(binding):
        xctx_store_int(<int*>&binding.exited, True)
        if binding.copies is not None:
            xctx_store_int(<int*>&binding.copies.exited, True)


# --- what is visible -------------------------------------------------------------------------------------------------

cdef PyObject *look_up_merged(Binding top, PyObject *name) except? NULL:
    # The part of `look_up` that uses the merged dict.
    cdef PyObject *names = xctx_published(at_merged(top))
    if names == <PyObject*>None:
        merge(top)
        names = xctx_published(at_merged(top))   # the binding keeps it
    return PyDict_GetItemWithError_(names, name)


cdef dict merge(Binding top):
    """All that is visible from `top`, by name. It must not be changed."""
    cdef list chain = []
    cdef dict names
    cdef Binding link
    cdef Py_ssize_t i
    with cython.critical_section(top):
        if top.merged is None:
            link = top
            while link is not None:
                chain.append(link)
                link = None if link.barrier else innermost_of(link.outer, top.unit)
            names = {}
            for link in reversed(chain):
                for i in range(PyTuple_GET_SIZE(link.names)):
                    names[link.names[i]] = link.values[i]
            xctx_publish(at_merged(top), <PyObject*>names)
        return top.merged


cdef Binding flatten(Binding top):
    """All that is visible from `top`, as one binding with nothing beneath: the same one each time."""
    cdef Binding flat
    cdef dict names
    cdef PyObject *known = xctx_published(at_flattened(top))
    if top.outer is None:
        return top
    if known == <PyObject*>None:
        if top.extends_outer:
            names = merge(top)
            flat = bind(top.owner, top.unit, tuple(names), tuple(names.values()), None, None, False)
            flat.merged = names
        else:
            flat = bind(top.owner, top.unit, top.names, top.values, None, None, False)
        with cython.critical_section(top):
            if top.flattened is None:
                xctx_publish(at_flattened(top), <PyObject*>flat)
            return top.flattened
    return <Binding>known


# --- other chains made of one ----------------------------------------------------------------------------------------

cdef Binding remove(Binding top, Binding binding):
    """The chain without the binding or the copy that stands for it; `top` itself where the chain has neither."""
    cdef list above = []
    cdef Binding link = top
    while link is not None and not stands_for(link, binding):
        above.append(link)
        link = link.outer
    if link is None:
        return top
    link = link.outer
    while above:
        top = above.pop()
        link = copy_of(top, top.unit, link)
    return link


cdef Binding transfer(Binding top, Unit before, Unit now):
    """The chain with all bindings of the unit `before` given to the unit `now`; `top` itself where there are none."""
    cdef list links = []
    cdef Binding link = top
    cdef Binding made = None
    cdef bint changed = False
    while link is not None:
        links.append(link)
        link = link.outer
    while links:
        link = links.pop()
        if link.unit is before or changed:
            changed = True
            made = copy_of(link, now if link.unit is before else link.unit, made)
        else:
            made = link
    return made


cdef Binding compact(Binding top):
    """The chain with the exited bindings of each unit merged, and those of ended units left out."""
    cdef list links = []
    cdef list kept = []
    cdef dict last = {}   # unit -> where its innermost binding is in `kept`, if that one is exited
    cdef Binding link = top
    cdef Binding made = None
    while link is not None:
        links.append(link)
        link = link.outer
    while links:
        link = links.pop()
        if not can_be_merged(link):
            last.pop(link.unit, None)
            kept.append(link)
        elif link.unit is None or not xctx_load_int(<int*>&link.unit.ended):
            at = last.get(link.unit)
            if at is None:
                last[link.unit] = len(kept)
                kept.append(link)
            else:
                kept[at] = merge_exited(kept[at], link)
    for link in kept:
        if link.outer is not made:
            if can_be_merged(link):   # nobody looks for it, so it needs no group
                link = bind(link.owner, link.unit, link.names, link.values, made, None, link.barrier)
                link.exited = True
            else:
                link = copy_of(link, link.unit, made)
        made = link
    if made is not None:
        # Open blocks stay. If there are many, looking through them each time would take quadratic time.
        made.compact_at = 2 * made.depth + 15
    return made


cdef bint can_be_merged(Binding link) noexcept:
    # Whether its block was exited; but not if it was left in another context without the GIL, so that this context has yet to
    # drop it. The latter is noted first, so it is read last.
    return is_exited(link) and not is_stray(link)


cdef bint is_stray(Binding link) noexcept:
    """Whether its block was left in a context other than the one it was entered in. Noted only without the GIL."""
    cdef PyObject *copies = copies_of(<PyObject*>link)
    return copies != <PyObject*>None and xctx_published(at_left_from(<CopyGroup>copies)) != <PyObject*>None


cdef object left_context(Binding stray):
    """The context that is to drop it; None once that is dead."""
    return (<object>xctx_published(at_left_from(<CopyGroup>copies_of(<PyObject*>stray))))()


cdef Binding merge_exited(Binding lower, Binding upper):
    """One exited binding in place of two of the same unit."""
    cdef Binding made
    cdef dict names = {} if upper.barrier else dict(zip(lower.names, lower.values))
    names.update(zip(upper.names, upper.values))
    made = bind(upper.owner, upper.unit, tuple(names), tuple(names.values()), None, None, lower.barrier or upper.barrier)
    made.exited = True
    return made
