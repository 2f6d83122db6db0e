# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What the current unit sees of a chain of bindings.

What a generator binds is seen only by code that the generator runs, and takes precedence over other bindings while it runs.
Such a binding, and each above it in a chain, has a home, which says what generator it was made in (bindings.pyx).
"""
cimport cython
from cpython.object cimport PyObject
from cpython.weakref cimport PyWeakref_NewRef
from libc.stdint cimport uint64_t

from xctx._runtime.python cimport FREE_THREADED, PyThreadState, xctx_publish, xctx_published, xctx_referent, xctx_tstate
from xctx._runtime.runtime cimport connect, xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit, xctx_cache_set
from xctx._runtime.scheduling cimport running_greenlet
from xctx._core cimport Key, Unit
from xctx._stores.bindings cimport Binding, Home, View, at_view, bind, innermost_of, is_exited, new_home, new_view
from xctx._stores.chains cimport BindingVariable, chain_of

cdef extern from "xctx/_stores/generators.h":
    ctypedef enum xctx_running:
        RUNS_HERE "XCTX_RUNS_HERE", RUNS_ELSEWHERE "XCTX_RUNS_ELSEWHERE"
    bint xctx_find_place(PyThreadState *, xctx_entering, Place *) noexcept
    xctx_running xctx_is_running(PyThreadState *, PyObject *reference, void *outermost, void *code, bint by_hand) noexcept
    void *xctx_next_generator(PyThreadState *, void *frame) noexcept
    int xctx_depth_beneath(PyObject *shown, void *frame) noexcept
    void *xctx_frame_by_hand(PyThreadState *) noexcept
    void xctx_set_transparent(object mark)
    int xctx_set_up_generators() except -1

connect()
xctx_set_up_generators()


cdef Binding find_binding(BindingVariable variable, PyThreadState *tstate):
    # What the current unit sees, found without the cache. Notes the unit in the cache of this thread.
    cdef uint64_t ver
    cdef Key key = variable.key
    cdef Binding top
    cdef Unit unit = None
    if tstate.context == NULL:
        return None
    top = chain_of(variable)
    ver = tstate.context_ver
    if not key.inherits:
        if top is None and not key.cached:
            return None
        unit = key.find(False)   # may call a key's callable
        top = None if top is None or unit is None else innermost_of(top, unit)
    if key.cached and tstate.context_ver == ver:
        # Borrowed: it is the current unit until the version changes, or until it ends and the cache is emptied.
        xctx_cache_set(xctx_cache_entry_of(variable.serial), variable.serial, tstate,
                       NULL if unit is None and not key.inherits else <void*>unit)
    return top if top is None or top.home is None else seen_of(top, tstate)


cdef Binding visible_here(Binding top, PyThreadState *tstate):
    """The innermost binding of a chain that the current unit sees, or None."""
    top = own_of(top, tstate)
    return top if top is None or top.home is None else seen_of(top, tstate)


cdef Binding own_of(Binding top, PyThreadState *tstate):
    # The innermost binding of the current unit, or None.
    cdef BindingVariable variable = <BindingVariable>top.owner
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(variable.serial)
    cdef Unit unit
    if xctx_cache_hit(entry, variable.serial, tstate, <PyObject*>variable):
        if <void*>top.unit == entry.what:
            return top
    if variable.key.inherits:
        return innermost_of(top, None)
    unit = variable.key.find(False)
    return None if unit is None else innermost_of(top, unit)


# --- what is seen of generators' bindings ----------------------------------------------------------------------------

cdef bint runs(Home home, PyThreadState *tstate) except -1:
    """Whether the generator is running the code that runs here."""
    cdef xctx_running found
    if home.generator is None:
        return False
    found = xctx_is_running(tstate, <PyObject*>home.generator, home.outermost, home.code, home.by_hand)
    return found == RUNS_HERE or found == RUNS_ELSEWHERE and runs_a_parent(home, tstate)


cdef bint runs_a_parent(Home home, PyThreadState *tstate) except -1:
    for frame in frames_of_parents(tstate):
        if xctx_depth_beneath(<PyObject*>frame, home.outermost):
            return True
    return False


cdef list frames_of_parents(PyThreadState *tstate):
    # A greenlet that shares the context of its parent does a part of the parent's work, as for SQLAlchemy's asyncio.
    cdef list frames = []
    here = <object>tstate.context
    parent = running_greenlet(False)
    while parent is not None:
        parent = parent.parent
        try:
            if parent is None or parent.gr_context is not here:
                break
        except ValueError:   # it is another thread's
            break
        if parent.gr_frame is not None:
            frames.append(parent.gr_frame)
    return frames


cdef bint may_hide(Binding link, PyThreadState *tstate) noexcept:
    # Copies are seen everywhere: a binding in another context is one, and an exited one is only in a chain that is a copy.
    return link.hides and link.home.context == tstate.context and not is_exited(link)


cdef bint is_hidden(Binding link, PyThreadState *tstate) except -1:
    """Whether a binding of the current context's chain was made in a generator that does not run here."""
    return may_hide(link, tstate) and not runs(link.home, tstate)


cdef Binding seen_of(Binding top, PyThreadState *tstate):
    """What the current unit sees of a chain: as a chain, or None.

    Args:
        top: the unit's innermost binding in the current context, which has a home.
    """
    # The usual case first, in which no reference is counted: the generator reads what it has bound.
    if not top.home.mixed and <PyObject*>top.home.generator != <PyObject*>None:
        if top.home.context != tstate.context or xctx_is_running(
                tstate, <PyObject*>top.home.generator, top.home.outermost, top.home.code, top.home.by_hand) == RUNS_HERE:
            return top
    return seen_otherwise(top, tstate)


cdef Binding seen_otherwise(Binding top, PyThreadState *tstate):
    cdef Home home = top.home
    cdef Binding link = top
    if not home.mixed:
        if home.context != tstate.context or runs(home, tstate):
            return top
        while link is not None and link.home is not None and may_hide(link, tstate):
            link = innermost_of(link.outer, top.unit)
        if link is None or link.home is None:
            return link
    elif follows_stack(top, tstate):
        return top
    return in_order(top, tstate)


cdef bint follows_stack(Binding top, PyThreadState *tstate) noexcept:
    # Whether all bindings with a home are of generators that run here, and the chain has them in the order of the stack.
    cdef Binding link = top
    cdef void *frame = NULL
    while link is not None and link.home is not None:
        if link.home.generator is None or is_exited(link):
            return False
        while link.home.frame != frame and link.home.outermost != frame:
            frame = xctx_next_generator(tstate, frame)
            if frame == NULL:
                return False
        link = innermost_of(link.outer, top.unit)
    return True


cdef Binding in_order(Binding top, PyThreadState *tstate):
    # A generator's bindings take precedence over others while it runs, those of the innermost generator first. Otherwise what
    # was bound later comes first. A binding whose block was left counts as no generator's. Usually at most one of the
    # generators that have bound here runs, and what is seen then is noted.
    cdef Binding link = top
    cdef Binding below
    cdef View view
    cdef object last = None
    cdef bint last_runs = False
    cdef void *only = NULL
    cdef Py_ssize_t running = 0, hidden = 0
    while link is not None and link.home is not None:
        if link.home.generator is not last:
            last = link.home.generator
            last_runs = runs(link.home, tstate)
        if last_runs and not is_exited(link):
            if link.home.frame != only:
                only = link.home.frame
                running += 1
        elif may_hide(link, tstate):
            hidden += 1
        link = innermost_of(link.outer, top.unit)
    if running == 0 and hidden == 0:
        return top
    view = <View>xctx_published(at_view(top.home))
    if running <= 1 and view is not None:
        if view.context == tstate.context and view.running == only and view.hidden == hidden:
            return top if view.whole else view.chain
    below = view_beneath(top, tstate, hidden) if running == 0 else None
    if below is not None:
        link = bind(top.owner, top.unit, top.names, top.values, below, None, top.barrier)
    else:
        link = arranged(top, tstate)
    if running <= 1 and top.home.mixed:   # otherwise it is other bindings' home as well
        note_view(top, link, tstate.context, only, hidden)
    return link


cdef Binding view_beneath(Binding top, PyThreadState *tstate, Py_ssize_t hidden):
    # What is seen beneath a binding that is seen itself, if that is known.
    cdef Binding link
    cdef View view
    if may_hide(top, tstate):
        return None
    link = innermost_of(top.outer, top.unit)
    view = None if link is None or link.home is None else <View>xctx_published(at_view(link.home))
    if view is None or view.context != tstate.context or view.running != NULL or view.hidden != hidden:
        return None
    return view.chain


cdef int note_view(Binding top, Binding chain, PyObject *context, void *running, Py_ssize_t hidden) except -1:
    cdef bint whole = chain is top   # and not held, because that would be a cycle
    cdef View view = new_view(None if whole else chain, whole, context, running, hidden)
    with cython.critical_section(top.home):
        if not FREE_THREADED or top.home.view is None:   # without the GIL another thread may be reading it
            xctx_publish(at_view(top.home), <PyObject*>view)
    return 0


cdef Binding arranged(Binding top, PyThreadState *tstate):
    cdef list links = []     # all that have a home
    cdef list running = []   # those of them whose generators run here
    cdef list order = []     # those that are seen, in the order in which they count
    cdef list others
    cdef Binding link = top
    cdef Binding made
    cdef void *frame = NULL
    cdef Py_ssize_t i
    while link is not None and link.home is not None:
        links.append(link)
        if not is_exited(link) and runs(link.home, tstate):
            running.append(link)
        link = innermost_of(link.outer, top.unit)
    made = link
    others = running
    while others:
        frame = xctx_next_generator(tstate, frame)
        if frame == NULL:
            break
        others = take_those_of(frame, others, order)
    if len(others) > 1:
        for shown in frames_of_parents(tstate):
            others = take_those_beneath(shown, others, order)
    order.extend(others)   # not they run, but generators that they delegate to: see generators.h
    for link in links:
        if not may_hide(link, tstate) and link not in running:
            order.append(link)
    if is_end_of(order, links):
        return order[0] if order else made
    for i in range(len(order) - 1, -1, -1):
        link = order[i]
        made = bind(link.owner, link.unit, link.names, link.values, made, None, link.barrier)
    return made


cdef list take_those_of(void *frame, list links, list taken):
    # Moves to `taken` those that the frame has bound, or what it delegates to; gives the others.
    cdef list others = []
    cdef Binding link
    for link in links:
        (taken if link.home.frame == frame or link.home.outermost == frame else others).append(link)
    return others


cdef list take_those_beneath(object shown, list links, list taken):
    # The same for the frames of a greenlet that waits.
    cdef list others = []
    cdef list found = []
    cdef Binding link
    cdef int depth
    for link in links:
        depth = xctx_depth_beneath(<PyObject*>shown, link.home.outermost)
        if depth:
            found.append((depth, len(found), link))
        else:
            others.append(link)
    found.sort()
    for _, _, link in found:
        taken.append(link)
    return others


cdef bint is_end_of(list order, list links):
    cdef Py_ssize_t i, skipped = len(links) - len(order)
    for i in range(len(order)):
        if order[i] is not links[skipped + i]:
            return False
    return True


cdef bint is_callers(Binding link) noexcept:
    """Whether a binding was made in the very frame that calls us, maybe by an ExitStack, and that frame is a generator's."""
    return link.home is not None and link.home.frame != NULL and link.home.frame == xctx_frame_by_hand(xctx_tstate())


# --- the home of a new binding ---------------------------------------------------------------------------------------

cdef bint find_place(Place *place, xctx_entering how) noexcept:
    """Finds from where the calling code binds. False outside of generators, and in those that bind for their caller."""
    return xctx_find_place(xctx_tstate(), how, place)


cdef int find_home(Binding made, Place *place, Binding top, PyThreadState *tstate) except -1:
    cdef Home home = None if top is None else top.home
    if place == NULL:
        made.home = home_of_code_here(top, tstate)
        return 0
    made.hides = True
    if (home is not None and not home.mixed and home.generator is not None and home.context == tstate.context
            and home.frame == place.frame and home.outermost == place.outermost and home.by_hand == place.by_hand
            and xctx_referent(<PyObject*>home.generator) == place.generator):
        made.home = home
        return 0
    made.home = new_home(PyWeakref_NewRef(<object>place.generator, None), place.code, place.frame, place.outermost,
                         tstate.context, place.by_hand, False)
    return 0


cdef Home home_of_code_here(Binding top, PyThreadState *tstate):
    # Of those in a chain, the home of the innermost generator that runs here; None if none does.
    cdef Binding link
    cdef void *frame = NULL
    if not top.home.mixed:
        return top.home if top.home.context != tstate.context or runs(top.home, tstate) else None
    while True:
        frame = xctx_next_generator(tstate, frame)
        if frame == NULL:
            return None
        link = top
        while link is not None and link.home is not None:
            if link.home.frame == frame and not is_exited(link):
                return link.home
            link = link.outer


def set_transparent(mark):
    """Sets the mark that is the last constant in the code of a generator that binds for its caller. Called once."""
    xctx_set_transparent(mark)
