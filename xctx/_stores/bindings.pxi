# Part of _stores/xlocal.pyx: bindings, their chain in a context variable, and how one is put there and taken out.

# --- bindings --------------------------------------------------------------------------------------------------------

cdef enum:
    FEW = 8  # a binding with more names than these is looked up by hash


@cython.final
@cython.freelist(64)
cdef class Binding:
    """These names have these values, set by this unit: one link of the chain.

    Nothing but `merged`, `flat`, `spent` and `compact_at` changes once it is made, so threads may share it.
    """


cdef Binding bind(xlocal owner, Unit unit, tuple names, tuple values, Binding outer, Mark mark, bint wall):
    cdef Binding made = Binding.__new__(Binding)
    made.owner = owner
    made.unit = unit
    made.names = names
    made.values = values
    made.outer = outer
    made.mark = mark
    made.wall = wall
    made.compact_at = 15
    if outer is not None:
        made.depth = outer.depth + 1
        made.compact_at = outer.compact_at
        made.covers = not wall and of_unit(outer, unit) is not None
    return made


cdef Binding again(Binding like, Unit unit, Binding outer, Mark mark):
    """The same binding on another chain."""
    return bind(like.owner, unit, like.names, like.values, outer, mark, like.wall)


cdef Binding of_unit(Binding top, Unit unit):
    """The innermost binding of `unit` in the chain, or None."""
    while top is not None and top.unit is not unit:
        top = top.outer
    return top


@cython.final
cdef class Mark:
    """What a binding and its copies have in common. It holds none of them, for each holds the chain beneath it."""


cdef Mark mark_of(Binding made):
    with cython.critical_section(made):
        if made.mark is None:
            mark = Mark.__new__(Mark)
            (<Mark>mark).spent = made.spent
            publish_before()
            made.mark = mark
        return made.mark


cdef bint stands_for(Binding link, Binding entry):
    return link is entry or entry.mark is not None and link.mark is entry.mark


cdef inline bint is_spent(Binding link):
    return link.spent or link.mark is not None and link.mark.spent


cdef void spend(Binding entry):
    with cython.critical_section(entry):
        entry.spent = True
        if entry.mark is not None:
            entry.mark.spent = True


cdef dict merge(Binding top):
    """All that is visible from `top`. Not to be changed."""
    cdef list chain = []
    cdef dict names
    cdef Binding link
    cdef Py_ssize_t i
    with cython.critical_section(top):
        if top.merged is None:
            link = top
            while link is not None:
                chain.append(link)
                link = None if link.wall else of_unit(link.outer, top.unit)
            names = {}
            for link in reversed(chain):
                for i in range(PyTuple_GET_SIZE(link.names)):
                    names[link.names[i]] = link.values[i]
            publish_before()   # whoever finds the dict, with no lock, finds it whole
            top.merged = names
        return top.merged


cdef Binding flatten(Binding top):
    """All that is visible from `top`, in one binding that holds nothing else: the same one each time. Not to be changed."""
    cdef Binding flat
    cdef dict names
    if top.outer is None:
        return top
    if top.flat is None:
        if top.covers:
            names = merge(top)
            flat = bind(top.owner, top.unit, tuple(names), tuple(names.values()), None, None, False)
            flat.merged = names
        else:
            flat = bind(top.owner, top.unit, top.names, top.values, None, None, False)
        with cython.critical_section(top):
            if top.flat is None:
                publish_before()
                top.flat = flat
    return top.flat


cdef PyObject *look_up(Binding top, PyObject *name) except? NULL:
    # Gives a reference borrowed from the binding, or NULL with no exception where the name is not bound. The caller holds
    # `top`: making the dict may run the collector, and a str of another kind has a comparison of its own.
    cdef PyObject *names = <PyObject*>top.names
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE_(names)
    if n <= FEW:
        for i in range(n):
            if PyTuple_GET_ITEM_(names, i) == name:
                return PyTuple_GET_ITEM_(<PyObject*>top.values, i)
        if not top.covers and is_interned(name):
            return NULL
    names = <PyObject*>top.merged
    if names == <PyObject*>None:
        merge(top)
        names = <PyObject*>top.merged   # the binding keeps it
    return PyDict_GetItemWithError(names, name)


cdef Binding take_out(Binding top, Binding entry):
    """The chain without what stands for the binding of a block; the part above it made anew."""
    cdef list above = []
    cdef Binding link = top
    while link is not None and not stands_for(link, entry):
        above.append(link)
        link = link.outer
    if link is None:
        return top
    link = link.outer
    while above:
        top = above.pop()
        link = again(top, top.unit, link, mark_of(top))
    return link


cdef Binding compact(Binding top):
    """The chain with the spent bindings of each unit merged, and those of ended units dropped."""
    cdef list links = []
    cdef list kept = []
    cdef dict last = {}   # unit -> where in `kept` its uppermost binding stands, if that one is spent
    cdef Binding link = top
    cdef Binding made = None
    cdef bint spent
    while link is not None:
        links.append(link)
        link = link.outer
    while links:
        link = links.pop()
        if not is_spent(link):
            last.pop(link.unit, None)
            kept.append(link)
        elif link.unit is None or not link.unit.ended:
            at = last.get(link.unit)
            if at is None:
                last[link.unit] = len(kept)
                kept.append(link)
            else:
                kept[at] = both(kept[at], link)
    for link in kept:
        spent = is_spent(link)
        if link.outer is not made:
            link = again(link, link.unit, made, None if spent else mark_of(link))
            link.spent = spent
        made = link
    if made is not None:
        # Blocks that are still open stay: where there are many, looking at them all each time would cost their square.
        made.compact_at = 2 * made.depth + 15
    return made


cdef void unbind(Binding entry, Binding top, object token, PyObject *context) except *:
    """Takes what a block bound out of the chain of the current context, of which `top` is the top."""
    cdef Binding made
    spend(entry)
    if top is entry and token is not None and context == xctx_tstate().context:
        var_reset(entry.owner.var, token)
    elif top is not None:
        made = take_out(top, entry)
        if made is not top:
            var_set(entry.owner.var, made)


# What the room above asks for: to bind and to take out without a scope, from snapshots.

@cython.final
@cython.freelist(64)
cdef class Entry:
    """One binding made by `put`, until `take_back` takes it out."""


cdef Entry put(Binding flat, bint wall, Entry outer):
    """Binds for the current unit what `flat` says. Behind a wall, nothing that the unit bound outside is seen."""
    cdef xlocal owner = flat.owner
    cdef Unit unit = None if owner.key.rung == CONTEXT else owner.key.find(True)
    cdef Binding top = chain_of(owner)
    cdef Entry entry = Entry.__new__(Entry)
    if top is not None and top.depth >= top.compact_at:
        top = compact(top)
    entry.made = bind(owner, unit, flat.names, flat.values, top, None, wall)
    if not entry.made.covers:
        entry.made.merged = flat.merged
    entry.outer = outer
    entry.token = var_set(owner.var, entry.made)
    entry.context = xctx_tstate().context
    entered(owner, unit)
    return entry


cdef void take_back(Entry entry) except *:
    unbind(entry.made, chain_of(entry.made.owner), entry.token, entry.context)


cdef Binding checked(xlocal owner, dict names):
    """Those names and values as a binding that stands in no chain. TypeError where they cannot be bound."""
    cdef Scope scope = make_scope(owner, tuple(names), tuple(names.values()))
    return bind(owner, None, scope.names, scope.values, None, None, False)


# Variables of xlocals that live, as many as there is room for: asking a few is faster than looking through a context. Without
# the GIL one that is here stays, since nobody could tell when the others have done with it.
cdef enum:
    LISTED = 8
cdef PyObject *listed[LISTED]
cdef intptr_t unlisted = 0   # how many xlocals live besides


cdef int each_chain(PyThreadState *tstate, int (*visit)(Binding top, void *arg) except -1, void *arg) except -1:
    """Visits the chains of all xlocals in the current context, which there must be. `visit` may set their variables."""
    cdef Binding top
    cdef Py_ssize_t i
    cdef void *var
    count_contexts(tstate)
    if unlisted == 0:
        for i in range(LISTED):
            var = xctx_load_ptr(<void**>&listed[i])
            if var != NULL:
                top = chain_at(<PyObject*>var)
                if top is not None:
                    visit(top, arg)
    else:
        for each in <object>tstate.context:
            top = chain_at(<PyObject*>each)
            if top is not None and top.owner.var is each:
                visit(top, arg)
    return 0


cdef void enlist(xlocal made) noexcept:
    cdef int i
    for i in range(LISTED):
        if xctx_load_ptr(<void**>&listed[i]) == NULL:
            Py_INCREF(made.var)
            if xctx_cas_ptr(<void**>&listed[i], NULL, <void*>made.var):
                made.listed_at = i
                return
            Py_DECREF(made.var)
    made.listed_at = -1
    add(&unlisted, 1)


cdef void strike(xlocal dying) noexcept:
    if dying.listed_at < 0:
        add(&unlisted, -1)
    elif not FREE_THREADED:
        listed[dying.listed_at] = NULL
        Py_DECREF(dying.var)


cdef void entered(xlocal owner, Unit unit) noexcept:
    count_contexts(xctx_tstate())   # setting the variable may have made a context
    if owner.key.rung != VALUE:
        slot_set(slot_of(owner.serial), owner.serial, xctx_tstate(), <void*>unit)


cdef Binding binding_here(xlocal owner, PyThreadState *tstate):
    """What the current unit sees of an xlocal, or None."""
    cdef xctx_slot *slot = slot_of(owner.serial)
    cdef Binding top
    if slot_hit(slot, owner.serial, tstate, <PyObject*>owner) and slot.context == tstate.context:
        top = chain_at(<PyObject*>owner.var)
        if top is not None and <void*>top.unit == slot.what:
            return top
    return find_binding(owner, tstate)


cdef Binding seen(Binding top, PyThreadState *tstate):
    """What the current unit sees of a chain, or None."""
    cdef xlocal owner = top.owner
    cdef xctx_slot *slot = slot_of(owner.serial)
    cdef Unit unit
    if slot_hit(slot, owner.serial, tstate, <PyObject*>owner) and slot.context == tstate.context:
        if <void*>top.unit == slot.what:
            return top
    unit = None if owner.key.rung == CONTEXT else owner.key.find(False)
    return None if unit is None and owner.key.rung != CONTEXT else of_unit(top, unit)


cdef void rehome(Binding top, Unit before, Unit now) except *:
    """Gives to the unit `now` what the chain has of the unit `before`, in the current context."""
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
            made = again(link, now if link.unit is before else link.unit, made, mark_of(link))
        else:
            made = link
    if changed:
        var_set(top.owner.var, made)


cdef Binding both(Binding lower, Binding upper):
    """One spent binding for two of the same unit."""
    cdef Binding made
    cdef dict names = {} if upper.wall else dict(zip(lower.names, lower.values))
    names.update(zip(upper.names, upper.values))
    made = bind(upper.owner, upper.unit, tuple(names), tuple(names.values()), None, None, lower.wall or upper.wall)
    made.spent = True
    return made


cdef Binding chain_of(xlocal owner):
    """The top of the chain in the current context, or None."""
    count_contexts(xctx_tstate())
    return chain_at(<PyObject*>owner.var)


cdef Binding chain_at(PyObject *var):
    # Of any context variable: None where its value is not a chain. Contexts have been counted.
    cdef PyObject *value = NULL
    get_variable(var, NULL, &value)
    if value == NULL:
        return None
    if is_binding(value, <PyObject*>Binding):
        return take_binding(value)
    Py_DECREF(<object>value)
    return None


cdef Binding find_binding(xlocal owner, PyThreadState *tstate):
    # What the current unit sees, found the long way. Which unit that is, is kept in this thread's slot.
    cdef uint64_t ver
    cdef Binding top
    cdef Unit unit = None
    if tstate.context == NULL:
        return None
    top = chain_of(owner)
    ver = tstate.context_ver
    if owner.key.rung != CONTEXT:
        if top is None and owner.key.rung == VALUE:
            return None
        unit = owner.key.find(False)   # may call a key's callable
        top = None if top is None or unit is None else of_unit(top, unit)
    if owner.key.rung != VALUE and tstate.context_ver == ver:
        # Borrowed, and compared only: it is the current unit until the version changes.
        slot_set(slot_of(owner.serial), owner.serial, tstate,
                 NULL if unit is None and owner.key.rung != CONTEXT else <void*>unit)
    return top
