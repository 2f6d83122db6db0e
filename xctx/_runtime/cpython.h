/* What the compiled rooms need of CPython and of greenlet beyond what is documented as stable: behind names that hold in
 * every version, each with what it relies on and where that was checked.
 *
 * Rooms use these names alone, so a new version of CPython is entered here: docs/porting.rst tells how. "Checked" names the
 * versions whose headers were read and with which the tests ran; t is the free-threaded build. Where a group says nothing
 * else it is: 3.11, 3.12, 3.13, 3.13t, 3.14, 3.15. For 3.14t the headers were read, which are the same as those of 3.14. */
#ifndef XCTX_CPYTHON_H
#define XCTX_CPYTHON_H

#include "xctx/_runtime/platform.h"

#if PY_VERSION_HEX < 0x030B0000
#  error "xctx needs CPython 3.11 or later"
#elif PY_VERSION_HEX >= 0x03100000 && !defined(XCTX_ALLOW_UNKNOWN_PYTHON)
#  error "xctx was not checked with this version of CPython: see docs/porting.rst, or define XCTX_ALLOW_UNKNOWN_PYTHON"
#endif

/* --- the thread state -------------------------------------------------------------------------------------------------- */

/* The current thread state. Every caller runs with one attached, so the check of PyThreadState_Get is not needed.
 *
 * xctx reads three of its fields, which cpython/pystate.h shows but no document promises:
 *   id            counts up from 1; no two thread states of an interpreter ever have the same.
 *   context       the PyContext that is current, or NULL where none was needed yet. Owned by the thread state.
 *   context_ver   begins with 1, and counts up whenever a context is entered or left, so that context variables know that
 *                 what they have cached may be wrong. greenlet counts it up at each switch for the same reason. It is not
 *                 counted when a thread gets its first context, nor when a thread that ends loses its last one: see
 *                 xctx_count_contexts in state.h, the only place where xctx writes it. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_tstate PyThreadState_GetUnchecked
#else
#  define xctx_tstate _PyThreadState_UncheckedGet   /* exported, declared in cpython/pystate.h; renamed in 3.13 */
#endif

/* Whether the interpreter is ending: modules may be gone, and asking for them is fatal then. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_is_finalizing Py_IsFinalizing
#else
#  define xctx_is_finalizing _Py_IsFinalizing
#endif

/* Py_EnterRecursiveCall for code whose one step takes several C frames. CPython 3.12 and 3.13 allow 10,000 nested C calls
 * however deep the stack is by then, so there a step has to count as several levels: it writes c_recursion_remaining, a
 * field that only these two have. 3.14 looks at the stack itself. `where` begins with a space. */
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000
static inline int xctx_enter_recursion(int levels, const char *where) {
    PyThreadState *tstate = xctx_tstate();
    if (XCTX_LIKELY(tstate->c_recursion_remaining > levels)) {
        tstate->c_recursion_remaining -= levels;
        return 0;
    }
    PyErr_Format(PyExc_RecursionError, "maximum recursion depth exceeded%s", where);
    return -1;
}
static inline void xctx_leave_recursion(int levels) { xctx_tstate()->c_recursion_remaining += levels; }
#else
static inline int xctx_enter_recursion(int Py_UNUSED(levels), const char *where) {
    return Py_EnterRecursiveCall(where) ? -1 : 0;   /* 3.11 gives 1 where it raises */
}
static inline void xctx_leave_recursion(int Py_UNUSED(levels)) { Py_LeaveRecursiveCall(); }
#endif

/* The ident of a thread in which this context is the current one now, for debugging; 0 where there is none. Another thread's
 * state can be read only where there is a GIL, and the caller holds it. */
static inline unsigned long xctx_thread_in_context(PyObject *context) {
#ifndef Py_GIL_DISABLED
    PyThreadState *each = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    for (; each != NULL; each = PyThreadState_Next(each)) {
        if (context != NULL && each->context == context) return each->thread_id;
    }
#else
    (void)context;
#endif
    return 0;
}

/* --- context variables ------------------------------------------------------------------------------------------------- */

/* 3.11 collects garbage whenever it allocates, and so runs finalisers, which may do anything; from 3.12 on garbage is
 * collected between instructions only. Between these two nothing is collected. The first gives what the second takes. */
#if PY_VERSION_HEX < 0x030C0000
#  define xctx_hold_collector() PyGC_Disable()
#  define xctx_release_collector(collects) do { if (collects) PyGC_Enable(); } while (0)
#else
#  define xctx_hold_collector() 0
#  define xctx_release_collector(collects) ((void)(collects))
#endif

/* Setting a context variable, copying the current context, and iterating over a context: with no foreign code run in the
 * middle. CPython allocates while it does not hold the mapping that it is about to copy or to read, and a finaliser that
 * sets a variable would free it. (The old value of a variable does not die of being set: the token holds it. An iterator,
 * once it is made, holds the mapping.) The last two give new references. */
static inline PyObject *xctx_var_set(PyObject *var, PyObject *value) {
    int collects = xctx_hold_collector();
    PyObject *token = PyContextVar_Set(var, value);
    xctx_release_collector(collects);
    return token;
}
static inline int xctx_var_reset(PyObject *var, PyObject *token) {
    int collects = xctx_hold_collector();
    int done = PyContextVar_Reset(var, token);
    xctx_release_collector(collects);
    return done;
}
static inline PyObject *xctx_copy_context(void) {
    int collects = xctx_hold_collector();
    PyObject *copy = PyContext_CopyCurrent();
    xctx_release_collector(collects);
    return copy;
}
static inline PyObject *xctx_iterate_context(PyObject *context) {
    int collects = xctx_hold_collector();
    PyObject *iterator = PyObject_GetIter(context);
    xctx_release_collector(collects);
    return iterator;
}

/* What a context maps its variables to: an immutable mapping, which each change replaces by another one. This is how
 * struct _pycontextobject of internal/pycore_context.h begins. */
typedef struct {
    PyObject_HEAD
    PyObject *prev;
    PyObject *vars;   /* owned */
} xctx_context_begin;

/* Borrowed from the context. */
static inline PyObject *xctx_context_vars(PyObject *context) { return ((xctx_context_begin *)context)->vars; }

/* Has the current context map as another one did: takes the reference over, and returns the one to what was there. Counted
 * like a switch of contexts, so that no variable takes what it has cached for right. */
static inline PyObject *xctx_swap_vars(PyThreadState *tstate, PyObject *vars) {
    xctx_context_begin *context = (xctx_context_begin *)tstate->context;
    PyObject *before = context->vars;
    context->vars = vars;
    tstate->context_ver++;
    return before;
}

/* --- types ------------------------------------------------------------------------------------------------------------- */

/* Looking up `name` in a type and its bases, as the interpreter looks for special methods: a new reference, or NULL with no
 * error set. Both functions are exported and declared in cpython/object.h, with no promise. _PyType_Lookup gives a borrowed
 * reference, which on a free-threaded build may be gone by the time it is looked at. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_find_in_type _PyType_LookupRef
#else
static inline PyObject *xctx_find_in_type(PyTypeObject *type, PyObject *name) {
    return Py_XNewRef(_PyType_Lookup(type, name));
}
#endif

/* Whether a type or one of its bases has the name; no error. */
static inline int xctx_type_has(PyTypeObject *type, PyObject *name) {
#ifdef Py_GIL_DISABLED
    PyObject *found = _PyType_LookupRef(type, name);
    Py_XDECREF(found);
    return found != NULL;
#else
    return _PyType_Lookup(type, name) != NULL;
#endif
}

/* xctx_get_method(obj, name, &method): 1 where `name` is a method that a call can hand `obj` to, and *method is the unbound
 * one; otherwise 0, and *method is the attribute, or NULL with an error set. *method must be NULL before. Every CPython
 * exports it, but from 3.13 on only internal/pycore_object.h declares it; the declaration here is the same. */
PyAPI_FUNC(int) _PyObject_GetMethod(PyObject *obj, PyObject *name, PyObject **method);
#define xctx_get_method _PyObject_GetMethod

/* The number that the interpreter gives to a state of a type when it looks attributes up, and never to another state. A
 * change of the type sets it to 0, which stands until the next look-up; and for ever once all numbers are given out. */
static inline unsigned int xctx_type_version(PyTypeObject *type) { return type->tp_version_tag; }

/* Whether a type may get other methods, as a class that is written in Python. */
static inline int xctx_is_mutable_type(PyTypeObject *type) { return !PyType_HasFeature(type, Py_TPFLAGS_IMMUTABLETYPE); }

/* Gives a type made by Cython, which takes no attributes afterwards, one more; before anything derives from it. Writes
 * tp_dict, which belongs to the interpreter's own types only from 3.12 on to each interpreter. */
static inline int xctx_type_put(PyObject *type, PyObject *name, PyObject *value) {
    if (PyDict_SetItem(((PyTypeObject *)type)->tp_dict, name, value)) return -1;
    PyType_Modified((PyTypeObject *)type);
    return 0;
}

/* Has a type made by Cython no instances but those that its own module makes, which does not go by these. */
static inline int xctx_forbid_instances(PyTypeObject *type) {
    type->tp_new = NULL;
    type->tp_vectorcall = NULL;
    type->tp_flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
    if (PyDict_DelItemString(type->tp_dict, "__new__")) return -1;
    PyType_Modified(type);
    return 0;
}

/* A type whose metatype makes no types: CPython asks it for one all the same, for `type(name, (type,), {})`. Cython's type of
 * coroutines is one. */
static inline void xctx_mend_metatype(PyTypeObject *type) {
    if (Py_TYPE(type)->tp_new == NULL) Py_TYPE(type)->tp_new = PyType_Type.tp_new;
}

/* What stands in the type's own dict: borrowed from the type, or NULL, perhaps with an error. */
static inline PyObject *xctx_own_attribute(PyTypeObject *type, PyObject *name) {
    return PyDict_GetItemWithError(type->tp_dict, name);
}

/* Puts another function in the place of a type's __getattribute__, before anything derives from the type: the old one, or
 * NULL with an error. A subclass takes its slot from the wrapper (PyWrapperDescrObject, cpython/descrobject.h) in the type's
 * dict, so that is changed as well. */
static inline getattrofunc xctx_replace_getattro(PyTypeObject *type, getattrofunc function) {
    PyObject *wrapper = PyDict_GetItemString(type->tp_dict, "__getattribute__");   /* borrowed */
    getattrofunc old = type->tp_getattro;
    if (wrapper == NULL || !Py_IS_TYPE(wrapper, &PyWrapperDescr_Type)) {
        PyErr_SetString(PyExc_SystemError, "a type that was to be given another __getattribute__ has none of its own");
        return NULL;
    }
    type->tp_getattro = function;
    ((PyWrapperDescrObject *)wrapper)->d_wrapped = (void *)function;
    PyType_Modified(type);
    return old;
}

/* The definition of a method that takes its arguments as they come (METH_FASTCALL | METH_KEYWORDS); NULL, with no error,
 * for anything else. `method` is what stands in a type's dict, a PyMethodDescrObject (cpython/descrobject.h). */
static inline const PyMethodDef *xctx_fast_method(PyObject *method) {
    if (!Py_IS_TYPE(method, &PyMethodDescr_Type)) return NULL;
    const PyMethodDef *def = ((PyMethodDescrObject *)method)->d_method;
    return def->ml_flags == (METH_FASTCALL | METH_KEYWORDS) ? def : NULL;
}

/* Types that Cython makes, given the vectorcall protocol: calls without a tuple or a dict. `offset`: where an object has its
 * vectorcallfunc. Writes tp_vectorcall_offset and tp_flags of a type that is ready, before anything derives from it. */
static inline void xctx_give_vectorcall(PyTypeObject *type, Py_ssize_t offset) {
    type->tp_vectorcall_offset = offset;
    type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
}

/* A class derived in Python is called the same way, unless it has a __call__ of its own. From 3.12 on the interpreter does
 * this itself, and undoes it should the class be given another __call__ afterwards. */
static inline void xctx_inherit_vectorcall(PyTypeObject *type, PyTypeObject *base) {
#if PY_VERSION_HEX < 0x030C0000
    if (type->tp_call == base->tp_call) type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
#else
    (void)type;
    (void)base;
#endif
}

/* --- frames and generators ------------------------------------------------------------------------------------------------ */

/* For a C file that defines XCTX_USES_FRAMES before it includes anything: the frames on this thread's stack, from the one
 * that runs outwards, and the generators that own some of them. The structs are in CPython's internal headers, whose warnings
 * are not ours.
 *
 * A generator (async generator, coroutine) has its frame within itself, at the same address as long as it lives. While the
 * frame runs, the frame of the code that resumed it is its `previous`; while it is suspended it has none. There is one more
 * case: a generator that delegates is closed, or gets an exception thrown in. Then CPython has what it delegates to run
 * without putting the frame on the stack: the generator's state says that it runs, and its frame has no `previous`. */
#ifdef XCTX_USES_FRAMES
#  if defined(__GNUC__)
#    pragma GCC diagnostic push
#    pragma GCC diagnostic ignored "-Wextra"
#    pragma GCC diagnostic ignored "-Wall"
#    pragma GCC diagnostic ignored "-Wpedantic"
#    pragma GCC diagnostic ignored "-Wunused-parameter"
#    pragma GCC diagnostic ignored "-Wunused-function"
#    pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#    pragma GCC diagnostic ignored "-Wsign-compare"
#  endif
#  ifndef Py_BUILD_CORE
#    define Py_BUILD_CORE 1
#  endif
#  if PY_VERSION_HEX >= 0x030E0000
#    include "internal/pycore_interpframe.h"
#    include "internal/pycore_genobject.h"
#  endif
#  include "internal/pycore_frame.h"
#  include <opcode.h>   /* SEND, RESUME and CACHE */
#  if defined(__GNUC__)
#    pragma GCC diagnostic pop
#  endif

typedef struct _PyInterpreterFrame xctx_frame;

/* From 3.12 on there are frames that stand for C code, and some that the interpreter makes for itself. */
static inline xctx_frame *xctx_real_frame(xctx_frame *frame) {
#if PY_VERSION_HEX >= 0x030E0000
    while (frame != NULL && frame->owner >= FRAME_OWNED_BY_INTERPRETER) frame = frame->previous;
#elif PY_VERSION_HEX >= 0x030C0000
    while (frame != NULL && frame->owner >= FRAME_OWNED_BY_CSTACK) frame = frame->previous;
#endif
    return frame;
}

/* The frame that runs Python code here, or NULL. */
static inline xctx_frame *xctx_current_frame(const PyThreadState *tstate) {
#if PY_VERSION_HEX >= 0x030D0000
    return xctx_real_frame(tstate->current_frame);
#else
    return xctx_real_frame(tstate->cframe->current_frame);
#endif
}

/* The frame that runs, also where it stands for C code: for walking along all of them. */
static inline xctx_frame *xctx_innermost_frame(const PyThreadState *tstate) {
#if PY_VERSION_HEX >= 0x030D0000
    return tstate->current_frame;
#else
    return tstate->cframe->current_frame;
#endif
}

static inline xctx_frame *xctx_caller_frame(const xctx_frame *frame) { return xctx_real_frame(frame->previous); }

/* The next frame outwards, of any kind. */
static inline xctx_frame *xctx_previous_frame(const xctx_frame *frame) { return frame->previous; }

/* The frame that a frame object shows. */
static inline xctx_frame *xctx_shown_frame(PyObject *frame) { return ((PyFrameObject *)frame)->f_frame; }

/* Whether it is within a generator, async generator or coroutine. */
static inline int xctx_is_generators(const xctx_frame *frame) { return frame->owner == FRAME_OWNED_BY_GENERATOR; }

/* Of a real frame: borrowed. */
static inline PyCodeObject *xctx_code_of(const xctx_frame *frame) {
#if PY_VERSION_HEX >= 0x030E0000
    return (PyCodeObject *)PyStackRef_AsPyObjectBorrow(frame->f_executable);
#elif PY_VERSION_HEX >= 0x030D0000
    return (PyCodeObject *)frame->f_executable;
#else
    return frame->f_code;
#endif
}
static inline PyObject *xctx_globals_of(const xctx_frame *frame) { return frame->f_globals; }

/* Where in its code, as PyCode_GetCode gives it, a frame is. */
static inline Py_ssize_t xctx_offset_in_code(xctx_frame *frame) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyUnstable_InterpreterFrame_GetLasti(frame);
#else
    return _PyInterpreterFrame_LASTI(frame) * (Py_ssize_t)sizeof(_Py_CODEUNIT);
#endif
}

/* The generator that a frame is within: borrowed. And the other way round. */
static inline PyObject *xctx_generator_of(const xctx_frame *frame) {
    return (PyObject *)((char *)frame - offsetof(PyGenObject, gi_iframe));
}
static inline xctx_frame *xctx_frame_of(PyObject *generator) {
    return (xctx_frame *)((char *)generator + offsetof(PyGenObject, gi_iframe));
}

/* Whether it runs, in whatever thread or greenlet, or has what it delegates to run. */
static inline int xctx_is_executing(PyObject *generator) {
    return ((PyGenObject *)generator)->gi_frame_state == FRAME_EXECUTING;
}
#endif

/* --- how objects live and die ------------------------------------------------------------------------------------------ */

/* Around the body of a tp_dealloc, after PyObject_GC_UnTrack: objects within objects of any depth are freed without a stack
 * as deep. From 3.14 on the interpreter does this itself and these are empty. */
#define XCTX_TRASHCAN_BEGIN(op, dealloc) Py_TRASHCAN_BEGIN(op, dealloc)
#define XCTX_TRASHCAN_END Py_TRASHCAN_END

/* Whether tp_dealloc has begun, of an object whose memory is there. Without the GIL nobody can tell: yes, to be safe. */
#ifdef Py_GIL_DISABLED
static inline int xctx_is_dying(PyObject *Py_UNUSED(op)) { return 1; }
#else
static inline int xctx_is_dying(PyObject *op) { return Py_REFCNT(op) == 0; }
#endif

#ifdef Py_GIL_DISABLED
/* On free-threaded builds an object says which thread owns it (ob_tid), and has one count for that thread (ob_ref_local)
 * and one for the others (ob_ref_shared). Checked: 3.13t, and the headers of 3.14 and 3.15. */

/* Whether this thread made the object. */
static inline int xctx_made_here(PyObject *op) { return op->ob_tid == _Py_ThreadId(); }

/* Whether no other thread has ever counted a reference to an object that this thread made. */
static inline int xctx_never_shared(PyObject *op) { return op->ob_ref_shared == 0; }

/* A new object in the place of a dead one that was never shared, with one reference. */
static inline void xctx_revive(PyObject *op) { op->ob_ref_local = 1; }

/* For a type that lives as long as the process, before any other thread sees it. */
static inline void xctx_make_immortal(PyObject *op) {
    op->ob_tid = 0;
    op->ob_ref_local = _Py_IMMORTAL_REFCNT_LOCAL;
    op->ob_ref_shared = 0;
}
#endif

/* xctx_promote(op): takes the traffic off the count of references of an object that several threads use all the time.
 * Nothing where there is a GIL. From 3.14 on the interpreter defers the counting, and still collects the object.
 * 3.13 knows only one remedy, the one that it takes for its own functions and classes once a second thread runs:
 * the object becomes immortal, so promote only what is hot, and say so.
 *
 * The owner counts its references with plain loads and stores. A store from another thread could fall between the
 * two and be undone after somebody saw it, who would then leave out an increment but not the decrement. So either
 * the owner does it, or it is done while the world stands still; walking the objects of the collector is the public
 * way to have that, and the walk ends at the first of them. */
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000
static int xctx_promote_visit(PyObject *Py_UNUSED(first), void *arg) {
    PyObject *op = (PyObject *)arg;
    _Py_atomic_store_uint32_relaxed(&op->ob_ref_local, _Py_IMMORTAL_REFCNT_LOCAL);
    return 0;
}
static inline void xctx_promote(PyObject *op) {
    if (_Py_IsImmortal(op)) return;
    if (_Py_IsOwnedByCurrentThread(op)) xctx_promote_visit(NULL, op);
    else PyUnstable_GC_VisitObjects(xctx_promote_visit, op);
}
#elif defined(Py_GIL_DISABLED)
static inline void xctx_promote(PyObject *op) { (void)PyUnstable_Object_EnableDeferredRefcount(op); }
#else
static inline void xctx_promote(PyObject *op) { (void)op; }
#endif

/* The object of a weak reference, NULL where it is dead. With the GIL it is borrowed; without it is good for nothing but to
 * be compared. (PyWeakReference.wr_object, cpython/weakrefobject.h) */
static inline PyObject *xctx_referent(PyObject *reference) {
    PyObject *found = ((PyWeakReference *)reference)->wr_object;
    return found == Py_None ? NULL : found;
}

/* A unit is a weak reference: `class Unit(ReferenceType)` in _runtime/units.pxd extends struct _PyWeakReference
 * (cpython/weakrefobject.h). Only its size is relied on, which the compiler sees, and that the callback runs before the
 * memory of the object is used again. */

/* For Cython, which takes the result of a function that gives an object to be a new reference: takes over this one. */
#define xctx_taken(reference) (reference)

/* --- dicts that other threads change, and modules ------------------------------------------------------------------------ */

/* 1, and a new reference in *found; 0 and NULL where the key is not there; -1 and NULL with an error. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_dict_get PyDict_GetItemRef
#else
static inline int xctx_dict_get(PyObject *dict, PyObject *key, PyObject **found) {
    *found = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    return *found ? 1 : PyErr_Occurred() ? -1 : 0;
}
#endif

/* Cython's own get() and setdefault() borrow from the dict for a moment, in which another thread may take out and free what
 * was found. Both of these give a new reference; the first, or Py_None. */
static inline PyObject *xctx_shared_get(PyObject *dict, PyObject *key) {
    PyObject *found;
    if (xctx_dict_get(dict, key, &found) < 0) return NULL;
    return found != NULL ? found : Py_NewRef(Py_None);
}
static inline PyObject *xctx_shared_setdefault(PyObject *dict, PyObject *key, PyObject *value) {
    PyObject *found;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyDict_SetDefaultRef(dict, key, value, &found) < 0) return NULL;
    return found;
#else
    found = PyDict_SetDefault(dict, key, value);
    return Py_XNewRef(found);
#endif
}

/* A module that the program has imported: a new reference, or NULL where it has not, perhaps with an error. */
static inline PyObject *xctx_loaded_module(PyObject *name) {
    PyObject *modules = PyImport_GetModuleDict(), *found;   /* borrowed from the interpreter */
    if (modules == NULL) return NULL;
#if PY_VERSION_HEX >= 0x030D0000
    (void)PyDict_GetItemRef(modules, name, &found);
#else
    found = Py_XNewRef(PyDict_GetItemWithError(modules, name));
#endif
    return found;
}

/* --- greenlet ---------------------------------------------------------------------------------------------------------- */

/* greenlet's C API is a table of pointers in the capsule greenlet._C_API. These are the places that its header gives them:
 * Checked: greenlet 2.0, 3.0, 3.5. The table of 1.x ends before the last three, so older versions are refused by their
 * number (_runtime/scheduling.pyx). That greenlet counts up context_ver at each switch is tested for in tests/core. */
enum {
    XCTX_GREENLET_GETCURRENT = 4,   /* a new reference, or NULL with an error once greenlet has shut down */
    XCTX_GREENLET_IS_MAIN = 8,
    XCTX_GREENLET_STARTED = 9,
    XCTX_GREENLET_ACTIVE = 10
};

#endif
