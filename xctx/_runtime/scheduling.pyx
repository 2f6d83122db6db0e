# cython: language_level=3, freethreading_compatible=True, binding=False
# cython: embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What runs here, and what it can wait with: the running greenlet, task, event loop and hub, as greenlet, gevent, eventlet,
asyncio and trio know them. No other file looks these up.

None of these libraries is ever imported from here: greenlet may switch on the GIL of a free-threaded build, and each takes
time to import. They are found among the modules that the program has imported. A module may be found in the middle
of its import, when some of its names are missing: then it is treated as if it were not there.

Thread-safety: all functions may be called from any thread. What was found of a library once never changes.
"""
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid

from xctx._runtime.python cimport (xctx_is_finalizing, xctx_keep, xctx_loaded_module, xctx_monotonic, xctx_published,
                                   xctx_store_ptr, xctx_taken)
from xctx._runtime.runtime cimport connect, xctx_greenlet_api, xctx_the_process

cdef extern from "xctx/_runtime/cpython.h":
    int GETCURRENT "XCTX_GREENLET_GETCURRENT", IS_MAIN "XCTX_GREENLET_IS_MAIN"
    int STARTED "XCTX_GREENLET_STARTED", ACTIVE "XCTX_GREENLET_ACTIVE"

connect()


cpdef double monotonic() noexcept nogil:
    """Seconds since some moment, by the clock that all rooms use."""
    return xctx_monotonic()


cdef object loaded(str module, str name):
    """An attribute of a module that the program has imported, or None."""
    cdef PyObject *found
    if xctx_is_finalizing():   # there may be no sys.modules any more, and asking for it is fatal then
        return None
    found = xctx_loaded_module(<PyObject*>module)
    return None if found == NULL else getattr(xctx_taken(found), name, None)


cdef PyObject *kept(PyObject **where, str module, str name) except? NULL:
    """The same, borrowed; NULL where there is none. `where` keeps for ever what was found first."""
    cdef PyObject *known = xctx_published(where)
    if known == NULL:
        found = loaded(module, name)
        if found is not None:
            known = xctx_keep(where, <PyObject*>found)
    return known


# --- greenlet --------------------------------------------------------------------------------------------------------

cdef str GREENLET = "greenlet"


cdef bint find_greenlet() except -1:
    """Whether the program has imported greenlet. If so, notes greenlet's C API."""
    cdef xctx_greenlet_api *api = &xctx_the_process.greenlet
    cdef PyObject *found = xctx_loaded_module(<PyObject*>GREENLET)
    cdef void **table
    if found == NULL:   # this case must be quick: without greenlet it comes after each switch of contexts
        return False
    module = xctx_taken(found)
    capsule = getattr(module, "_C_API", None)
    if not PyCapsule_IsValid(capsule, "greenlet._C_API"):
        return False
    check_version(getattr(module, "__version__", None))
    table = <void**>PyCapsule_GetPointer(capsule, "greenlet._C_API")
    (<void**>&api.is_main)[0] = table[IS_MAIN]
    (<void**>&api.started)[0] = table[STARTED]
    (<void**>&api.active)[0] = table[ACTIVE]
    xctx_store_ptr(<void**>&api.getcurrent, table[GETCURRENT])   # last: a thread that finds it set uses the others
    return True


cdef int check_version(object version) except -1:
    major = str(version).partition(".")[0]
    if major.isdigit() and int(major) < 2:
        raise ImportError(f"xctx works with greenlet 2.0 or later, and this program has imported greenlet {version}",
                          name="greenlet")
    return 0


cdef bint greenlet_is_dead(object thing) except -1:
    """Whether a greenlet was started and has finished; False for None."""
    cdef xctx_greenlet_api *api = &xctx_the_process.greenlet
    return (thing is not None and api.getcurrent != NULL
            and api.started(<PyObject*>thing) and not api.active(<PyObject*>thing))


# --- gevent and eventlet ---------------------------------------------------------------------------------------------

cpdef object current_hub():
    """gevent's hub, where this greenlet can wait by switching to it; otherwise None.

    None in the hub itself, and if the hub has been destroyed or has finished, because it would never switch back.
    """
    find_hub = loaded("gevent._hub_local", "get_hub_if_exists")
    hub = None if find_hub is None else find_hub()
    if hub is None or hub.loop is None or hub.dead:
        return None
    running = running_greenlet(True)
    return None if running is None or running is hub else hub


cpdef bint runs_eventlet() except -1:
    """Whether eventlet's hub runs the greenlets of this thread. xctx does not know how to wait with it."""
    hubs = loaded("eventlet.hubs", "_threadlocal")
    return getattr(getattr(hubs, "hub", None), "running", False) is True


cpdef object unpatched(str name):
    """A function of `_thread` as it was before gevent or eventlet patched it: it works with threads of the system."""
    import _thread
    found = loaded("__original_module__thread", name)   # where eventlet keeps it, whatever it has patched since
    if found is not None:
        return found
    original = loaded("gevent.monkey", "get_original")
    return getattr(_thread, name) if original is None else original("_thread", name)


def start_system_thread(function, args=()):
    """Starts a thread of the system and gives its ident, even if gevent or eventlet has patched the standard library.

    The end of the interpreter does not wait for it, as for a daemon thread.
    """
    return unpatched("start_new_thread")(function, args)


# --- asyncio and trio ------------------------------------------------------------------------------------------------

# Interpreter: functions of the libraries, once the program has imported them. Set once, and kept for ever.
cdef PyObject *asyncio_loop = NULL   # asyncio._get_running_loop
cdef PyObject *asyncio_task = NULL   # asyncio.current_task
cdef PyObject *trio_task = NULL      # trio.lowlevel.current_task
cdef PyObject *in_trio_task = NULL   # trio.lowlevel.in_trio_task: versions before 0.23 have none


cpdef object current_loop():
    """The asyncio event loop that runs in this thread, or None."""
    cdef PyObject *find = kept(&asyncio_loop, "asyncio.events", "_get_running_loop")
    return None if find == NULL else (<object>find)()


cpdef object running_task():
    """The asyncio or trio task that runs here, or None."""
    cdef PyObject *find
    cdef PyObject *runs_trio
    loop = current_loop()
    if loop is not None:
        find = kept(&asyncio_task, "asyncio.tasks", "current_task")
        running = None if find == NULL else (<object>find)(loop)
        if running is not None:
            return running
    find = xctx_published(&trio_task)
    if find == NULL:
        kept(&in_trio_task, "trio.lowlevel", "in_trio_task")   # first: who finds the other has this one, if there is any
        find = kept(&trio_task, "trio.lowlevel", "current_task")
    runs_trio = xctx_published(&in_trio_task)
    if find != NULL and (runs_trio == NULL or (<object>runs_trio)()):
        try:
            return (<object>find)()
        except RuntimeError:   # not in trio
            pass
    return None


find_greenlet()   # so that the import of xctx raises if greenlet is too old
