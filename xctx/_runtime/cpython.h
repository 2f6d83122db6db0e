/* What the compiled rooms need of CPython and of greenlet beyond what is documented as stable: behind names that hold in
 * every version, each with what it relies on and where that was checked.
 *
 * Rooms use these names, so a new version of CPython is added here: docs/porting.rst tells how, and lists the exceptions.
 * "Checked" names the versions whose headers were read and with which the tests ran; t is the free-threaded build. A group
 * without that word was checked with 3.11, 3.12, 3.13, 3.13t, 3.14 and 3.15. Of 3.14t only the headers were read, which are
 * the same as those of 3.14. */
#ifndef XCTX_CPYTHON_H
#define XCTX_CPYTHON_H

#include "xctx/_runtime/platform.h"

#if PY_VERSION_HEX < 0x030B0000
#  error "xctx needs CPython 3.11 or later"
#elif PY_VERSION_HEX >= 0x03100000 && !defined(XCTX_ALLOW_UNKNOWN_PYTHON)
#  error "xctx was not checked with this version of CPython: see docs/porting.rst, or define XCTX_ALLOW_UNKNOWN_PYTHON"
#endif

/* Where a keyword argument's name is a str that equals a parameter's but has another hash, Cython's parser of arguments fails
 * with no exception set. It only asserts that there is one. So here is one. */
static inline void xctx_assert_error(void) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a keyword argument has a name that equals another, and differs");
}
#undef assert
#ifdef NDEBUG
#  define XCTX_ASSERT(condition, text) ((void)0)
#else
#  define XCTX_ASSERT(condition, text) ((condition) ? (void)0 : Py_FatalError("assertion failed: " text))
#endif
#define assert(condition) \
    (strcmp(#condition, "PyErr_Occurred()") == 0 ? xctx_assert_error() : XCTX_ASSERT(condition, #condition))

/* --- the thread state -------------------------------------------------------------------------------------------------- */

/* The current thread state. Every caller runs with one attached, so the check of PyThreadState_Get is not needed.
 *
 * xctx uses three of its fields, which cpython/pystate.h shows but no document promises:
 *   id            counts up from 1; no two thread states of an interpreter ever have the same.
 *   context       the PyContext that is current, or NULL where none was needed yet. Owned by the thread state.
 *   context_ver   begins with 1, and counts up whenever a context is entered or left, so that context variables know that
 *                 what they have cached may be wrong. greenlet counts it up at each switch for the same reason. It is not
 *                 counted when a thread gets its first context, nor when a thread that ends loses its last one: for these
 *                 xctx_count_contexts in state.h counts it. xctx also counts it where it exchanges the context itself, in
 *                 xctx_swap_context, which writes `context` too. */
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
#elif PY_VERSION_HEX < 0x030C0000
static inline int xctx_enter_recursion(int Py_UNUSED(levels), const char *where) {
    /* As Py_EnterRecursiveCall does it, which is no inline function here. The collector is held off where it raises: finalizers
     * that ran then could go no deeper than fifty levels, where CPython ends the process ("Cannot recover"). */
    PyThreadState *tstate = xctx_tstate();
    int collects;
    if (XCTX_LIKELY(tstate->recursion_remaining > 0)) {
        tstate->recursion_remaining--;
        return 0;
    }
    collects = PyGC_Disable();
    PyErr_Format(PyExc_RecursionError, "maximum recursion depth exceeded%s", where);
    if (collects) PyGC_Enable();
    return -1;
}
static inline void xctx_leave_recursion(int Py_UNUSED(levels)) { xctx_tstate()->recursion_remaining++; }
#else
static inline int xctx_enter_recursion(int Py_UNUSED(levels), const char *where) { return Py_EnterRecursiveCall(where); }
static inline void xctx_leave_recursion(int Py_UNUSED(levels)) { Py_LeaveRecursiveCall(); }
#endif

/* The ident of a thread in which this context is the current one now, for debugging; 0 where there is none. The caller holds
 * the GIL. Without a GIL the states of other threads cannot be read, so the answer is 0. */
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

/* --- looking at the whole interpreter ----------------------------------------------------------------------------------- */

/* Calls `visit` with each object that the collector knows, until that returns 0. Meanwhile nothing else of the interpreter runs:
 * the caller has the GIL, or CPython stops the world. So `visit` may take references, and does nothing that could run code or
 * wait for another thread. Returns -1 with an exception where it cannot begin. */
#if PY_VERSION_HEX >= 0x030C0000
static inline int xctx_visit_objects(int (*visit)(PyObject *, void *), void *arg) {
    PyUnstable_GC_VisitObjects(visit, arg);
    return 0;
}
#else
static inline int xctx_visit_objects(int (*visit)(PyObject *, void *), void *arg) {
    PyObject *collector = PyImport_ImportModule("gc");
    PyObject *objects = collector == NULL ? NULL : PyObject_CallMethod(collector, "get_objects", NULL);
    Py_ssize_t i;
    Py_XDECREF(collector);
    if (objects == NULL) return -1;
    for (i = 0; i < PyList_GET_SIZE(objects) && visit(PyList_GET_ITEM(objects, i), arg); i++);
    Py_DECREF(objects);   /* no other code has run since, so this ends the life of none of them */
    return 0;
}
#endif

/* The threads of this interpreter, from the youngest to the oldest. In `visit` of the function above, or with the GIL. */
static inline PyThreadState *xctx_first_thread(void) { return PyInterpreterState_ThreadHead(xctx_tstate()->interp); }
static inline PyThreadState *xctx_next_thread(PyThreadState *each) { return PyThreadState_Next(each); }
/* Zero until a thread that is being started notes it, which it may do at this very time. */
static inline unsigned long xctx_thread_ident(PyThreadState *each) { return each->thread_id; }

/* --- critical sections ------------------------------------------------------------------------------------------------- */

/* --- context variables ------------------------------------------------------------------------------------------------- */

/* 3.11 may collect garbage whenever it allocates an object, and so run finalisers, which may do anything; from 3.12 on it is
 * collected between instructions only. Between a call of the first and one of the second no garbage is collected. What the
 * first returns is the argument of the second. */
#if PY_VERSION_HEX < 0x030C0000
#  define xctx_hold_collector() PyGC_Disable()
#  define xctx_release_collector(collects) do { if (collects) PyGC_Enable(); } while (0)
#else
#  define xctx_hold_collector() 0
#  define xctx_release_collector(collects) ((void)(collects))
#endif

/* Setting a context variable, copying the current context, and iterating over a context, so that no other code runs in the
 * middle. CPython allocates while it holds no reference to the mapping that it is about to copy or to read, and a finaliser
 * that sets a variable would free the mapping. (The old value of a variable does not die when a new one is set, because the
 * token holds it. An iterator, once it is made, holds the mapping.) The last two give new references. */
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

/* Makes a context the current one, without entering it, and returns the one that was. Takes over one reference, and returns the
 * other. It is counted, so that what this thread has cached of the one context is not taken for the other's. */
static inline PyObject *xctx_swap_context(PyObject *context) {
    PyThreadState *tstate = xctx_tstate();
    PyObject *before = tstate->context;
    tstate->context = context;
    tstate->context_ver++;
    return before;
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

/* How struct _pycontextvarobject of internal/pycore_context.h begins. With a GIL a variable caches the value that was last found
 * for it, borrowed from the mapping. The value is right for as long as the thread state has this id and this context_ver. */
typedef struct {
    PyObject_HEAD
    PyObject *name;
    PyObject *otherwise;
#ifndef Py_GIL_DISABLED
    PyObject *cached;
    uint64_t cached_tsid;
    uint64_t cached_tsver;
#endif
} xctx_var_begin;

/* Must be called for each change to what the current context maps a variable to, with NULL if the variable has no value then. */
static inline void xctx_var_changed(const PyThreadState *tstate, PyObject *var, PyObject *value) {
#ifndef Py_GIL_DISABLED
    xctx_var_begin *begin = (xctx_var_begin *)var;
    begin->cached = value;
    begin->cached_tsid = tstate->id;
    begin->cached_tsver = tstate->context_ver;
#else
    (void)tstate;
    (void)var;
    (void)value;
#endif
}

/* Whether the variable has cached that its value in the current context is this one. If not, it may be the value all the same. */
static inline int xctx_var_is(const PyThreadState *tstate, PyObject *var, PyObject *value) {
#ifndef Py_GIL_DISABLED
    const xctx_var_begin *begin = (const xctx_var_begin *)var;
    return begin->cached == value && begin->cached_tsver == tstate->context_ver && begin->cached_tsid == tstate->id;
#else
    (void)tstate;
    (void)var;
    (void)value;
    return 0;
#endif
}

/* Exchanges the mapping of the current context: takes over the reference to the new one, and returns the reference to the
 * old one. The caller must call xctx_var_changed for each variable in which the two differ, before any other code runs, and so
 * before it releases the old one.
 *
 * CPython replaces the mapping by the same store when it sets a variable, with the GIL or without. So a copy of this context
 * has one of the two mappings, whole, and keeps it. */
static inline PyObject *xctx_swap_vars(PyThreadState *tstate, PyObject *vars) {
    xctx_context_begin *context = (xctx_context_begin *)tstate->context;
    PyObject *before = context->vars;
    context->vars = vars;
    return before;
}

/* Two methods that mappings have in every version: set(key, value) and delete(key) return another mapping. */
typedef struct {
    PyCFunction set;      /* METH_VARARGS */
    PyCFunction without;  /* METH_O; the same mapping where it has no such key */
} xctx_mapping_methods;

static inline int xctx_find_mapping_methods(xctx_mapping_methods *found) {
    PyObject *context = PyContext_New();
    const PyMethodDef *each;
    if (context == NULL) return -1;
    for (each = Py_TYPE(xctx_context_vars(context))->tp_methods; each != NULL && each->ml_name != NULL; each++) {
        if (each->ml_flags == METH_VARARGS && strcmp(each->ml_name, "set") == 0) found->set = each->ml_meth;
        if (each->ml_flags == METH_O && strcmp(each->ml_name, "delete") == 0) found->without = each->ml_meth;
    }
    Py_DECREF(context);
    if (found->set != NULL && found->without != NULL) return 0;
    PyErr_SetString(PyExc_SystemError, "the mapping of a context has not the methods that xctx uses");
    return -1;
}

/* Makes a mapping that differs from another one in one variable: a new reference, or NULL with an error. `set` only unpacks
 * its arguments, so the tuple of them is on the stack: to allocate one would take a sixth of the time. */
static inline PyObject *xctx_mapping_with(const xctx_mapping_methods *methods, PyObject *vars, PyObject *var, PyObject *value) {
    struct {
        PyTupleObject tuple;
        PyObject *second;
    } args = {0};
    Py_SET_TYPE(&args.tuple, &PyTuple_Type);
    Py_SET_REFCNT((PyObject *)&args.tuple, 1);
    Py_SET_SIZE((PyVarObject *)&args.tuple, 2);
    args.tuple.ob_item[0] = var;
    args.second = value;
    return methods->set(vars, (PyObject *)&args.tuple);
}

/* Sets a context variable in the current context, which is made if there is none; or unsets it, if `value` is NULL. Returns 0,
 * or -1 with an error, and then nothing has changed. PyContextVar_Set does the same and makes a token, for which it may find
 * no memory when the variable is set already.
 *
 * No other code runs before the variable is set and all is consistent. Then the old mapping is released, which may run any
 * code; unless `kept` is not NULL: that gets the reference to it. */
static inline int xctx_var_put(const xctx_mapping_methods *methods, PyThreadState *tstate, PyObject *var, PyObject *value,
                               PyObject **kept) {
    int collects = xctx_hold_collector();
    PyObject *before = NULL, *vars = NULL;
    if (XCTX_UNLIKELY(tstate->context == NULL)) {
        PyObject *copy = PyContext_CopyCurrent();   /* makes a context */
        if (copy == NULL) goto end;
        Py_DECREF(copy);
    }
    before = xctx_context_vars(tstate->context);
    vars = value == NULL ? methods->without(before, var) : xctx_mapping_with(methods, before, var, value);
    if (XCTX_LIKELY(vars != NULL)) {
        before = xctx_swap_vars(tstate, vars);
        xctx_var_changed(tstate, var, value);
    }
end:
    xctx_release_collector(collects);
    if (XCTX_UNLIKELY(vars == NULL)) return -1;
    if (kept == NULL) Py_DECREF(before);
    else *kept = before;
    return 0;
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

/* Whether a type or one of its bases has the name. Sets no error. */
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

/* Whether a type may get other methods later, as classes written in Python may. */
static inline int xctx_is_mutable_type(PyTypeObject *type) { return !PyType_HasFeature(type, Py_TPFLAGS_IMMUTABLETYPE); }

/* Adds an attribute to a type made by Cython, which refuses that to Python code. To be called before anything derives from
 * the type. Writes tp_dict, which such a type has on every version (from 3.12 on the interpreter's own types have none). */
static inline int xctx_type_put(PyObject *type, PyObject *name, PyObject *value) {
    if (PyDict_SetItem(((PyTypeObject *)type)->tp_dict, name, value)) return -1;
    PyType_Modified((PyTypeObject *)type);
    return 0;
}

/* Forbids making instances of a type, except for the module that defines it: what Cython generates for __new__ there does
 * not use these fields. */
static inline int xctx_forbid_instances(PyTypeObject *type) {
    type->tp_new = NULL;
    type->tp_vectorcall = NULL;
    type->tp_flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
    if (PyDict_DelItemString(type->tp_dict, "__new__")) return -1;
    PyType_Modified(type);
    return 0;
}

/* For a type whose metatype has no tp_new, such as Cython's type of coroutines: CPython calls that field without looking, for
 * `type(name, (type,), {})`. */
static inline void xctx_mend_metatype(PyTypeObject *type) {
    if (Py_TYPE(type)->tp_new == NULL) Py_TYPE(type)->tp_new = PyType_Type.tp_new;
}

/* An attribute in the type's own dict: borrowed from the type, or NULL, perhaps with an error. */
static inline PyObject *xctx_own_attribute(PyTypeObject *type, PyObject *name) {
    return PyDict_GetItemWithError(type->tp_dict, name);
}

/* Replaces a type's __getattribute__ by another function, before anything derives from the type. Returns the old function, or
 * NULL with an error. A subclass takes its slot from the wrapper (PyWrapperDescrObject, cpython/descrobject.h) in the type's
 * dict, so the wrapper is changed as well. */
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

/* Makes the __get__ of a type call another function where Python code calls it by its name. The interpreter goes on calling the
 * slot, wherever it binds an attribute itself. To be called before anything derives from the type. 0, or -1 with an error. */
static inline int xctx_replace_named_get(PyTypeObject *type, descrgetfunc function) {
    PyObject *wrapper = PyDict_GetItemString(type->tp_dict, "__get__");   /* borrowed */
    if (wrapper == NULL || !Py_IS_TYPE(wrapper, &PyWrapperDescr_Type)) {
        PyErr_SetString(PyExc_SystemError, "a type that was to be given another __get__ has none of its own");
        return -1;
    }
    ((PyWrapperDescrObject *)wrapper)->d_wrapped = (void *)function;
    return 0;
}

/* The definition of a method that takes its arguments as an array (METH_FASTCALL | METH_KEYWORDS); NULL, with no error, for
 * anything else. `method` comes from a type's dict: a PyMethodDescrObject (cpython/descrobject.h). */
static inline const PyMethodDef *xctx_fast_method(PyObject *method) {
    if (!Py_IS_TYPE(method, &PyMethodDescr_Type)) return NULL;
    const PyMethodDef *def = ((PyMethodDescrObject *)method)->d_method;
    return def->ml_flags == (METH_FASTCALL | METH_KEYWORDS) ? def : NULL;
}

/* Gives a type that Cython makes the vectorcall protocol, so that a call needs no tuple and no dict. `offset`: where an object
 * has its vectorcallfunc. Writes tp_vectorcall_offset and tp_flags of a type that is ready, before anything derives from it. */
static inline void xctx_give_vectorcall(PyTypeObject *type, Py_ssize_t offset) {
    type->tp_vectorcall_offset = offset;
    type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
}

/* Makes a class derived in Python be called the same way, unless it has a __call__ of its own. From 3.12 on the interpreter does
 * this itself, and undoes it if the class is given another __call__ afterwards. */
static inline void xctx_inherit_vectorcall(PyTypeObject *type, PyTypeObject *base) {
#if PY_VERSION_HEX < 0x030C0000
    if (type->tp_call == base->tp_call) type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
#else
    (void)type;
    (void)base;
#endif
}

/* --- frames and generators ------------------------------------------------------------------------------------------------ */

/* The innermost frame, even if it stands for C code: where a walk along all frames begins. */
static inline struct _PyInterpreterFrame *xctx_innermost_frame(const PyThreadState *tstate) {
#if PY_VERSION_HEX >= 0x030D0000
    return tstate->current_frame;
#else
    return tstate->cframe->current_frame;
#endif
}

/* For a C file that defines XCTX_USES_FRAMES before it includes anything: the frames on this thread's stack, from the one
 * that runs outwards, and the generators that own some of them. The structs are in CPython's internal headers, whose warnings
 * are not ours.
 *
 * A generator (async generator, coroutine) has its frame within itself, at the same address as long as it lives. While the
 * frame runs, the frame of the code that resumed it is its `previous`; while it is suspended it has none. There is one more
 * case: a generator that delegates is closed, or gets an exception thrown in. Then CPython runs the inner generator without
 * putting the outer one's frame on the stack: the outer one's state says that it runs, and its frame has no `previous`. */
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

static inline xctx_frame *xctx_caller_frame(const xctx_frame *frame) { return xctx_real_frame(frame->previous); }

/* The next frame outwards, of any kind. */
static inline xctx_frame *xctx_previous_frame(const xctx_frame *frame) { return frame->previous; }

/* The frame that a frame object shows. */
static inline xctx_frame *xctx_shown_frame(PyObject *frame) { return ((PyFrameObject *)frame)->f_frame; }

/* Whether the frame lies in a generator, async generator or coroutine. */
static inline int xctx_is_generators(const xctx_frame *frame) { return frame->owner == FRAME_OWNED_BY_GENERATOR; }

/* The code of a real frame: borrowed. */
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

/* The offset of a frame's instruction in its code, as PyCode_GetCode gives that. */
static inline Py_ssize_t xctx_offset_in_code(xctx_frame *frame) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyUnstable_InterpreterFrame_GetLasti(frame);
#else
    return _PyInterpreterFrame_LASTI(frame) * (Py_ssize_t)sizeof(_Py_CODEUNIT);
#endif
}

/* The generator that a frame lies in, borrowed; and the frame that lies in a generator. */
static inline PyObject *xctx_generator_of(const xctx_frame *frame) {
    return (PyObject *)((char *)frame - offsetof(PyGenObject, gi_iframe));
}
static inline xctx_frame *xctx_frame_of(PyObject *generator) {
    return (xctx_frame *)((char *)generator + offsetof(PyGenObject, gi_iframe));
}

/* Whether the generator runs, in whatever thread or greenlet; also while only a generator that it delegates to runs. */
static inline int xctx_is_executing(PyObject *generator) {
    return ((PyGenObject *)generator)->gi_frame_state == FRAME_EXECUTING;
}
#endif

/* --- how objects live and die ------------------------------------------------------------------------------------------ */

/* Around the body of a tp_dealloc, after PyObject_GC_UnTrack, so that objects nested to any depth are freed on a shallow
 * stack. From 3.14 on the interpreter does this itself, and these are empty. */
#define XCTX_TRASHCAN_BEGIN(op, dealloc) Py_TRASHCAN_BEGIN(op, dealloc)
#define XCTX_TRASHCAN_END Py_TRASHCAN_END

/* Whether the tp_dealloc of an object, whose memory is not freed yet, has begun. Without the GIL that cannot be told, and the
 * answer is yes, to be safe. */
#ifdef Py_GIL_DISABLED
static inline int xctx_is_dying(PyObject *Py_UNUSED(op)) { return 1; }
#else
static inline int xctx_is_dying(PyObject *op) { return Py_REFCNT(op) == 0; }
#endif

#ifdef Py_GIL_DISABLED
/* On free-threaded builds an object says which thread owns it (ob_tid), and has one count for that thread (ob_ref_local)
 * and one for the others (ob_ref_shared). Checked: 3.13t, and the headers of 3.14 and 3.15. */

/* Whether this thread made the object. */
static inline int xctx_made_here(PyObject *op) {
    return _Py_atomic_load_uintptr_relaxed(&op->ob_tid) == _Py_ThreadId();
}

/* Whether no other thread has ever counted a reference to an object that this thread made. */
static inline int xctx_never_shared(PyObject *op) {
    return _Py_atomic_load_ssize_relaxed(&op->ob_ref_shared) == 0;
}

/* Gives one reference to a dead object that was never shared, whose memory is to be a new object. */
static inline void xctx_revive(PyObject *op) { op->ob_ref_local = 1; }

/* For a type that lives as long as the process, before any other thread sees it. */
static inline void xctx_make_immortal(PyObject *op) {
    op->ob_tid = 0;
    op->ob_ref_local = _Py_IMMORTAL_REFCNT_LOCAL;
    op->ob_ref_shared = 0;
}
#endif

/* xctx_promote(op): from now on threads do not write the count of references of this object, which several of them use all the
 * time. Does nothing where there is a GIL. From 3.14 on the interpreter defers the counting, and still collects the object. 3.13
 * has only one remedy, which it uses for its own functions and classes once a second thread runs: the object becomes immortal.
 * So promote only objects that are used very often, and document it.
 *
 * The thread that owns the object counts its references with plain loads and stores. A store from another thread could fall
 * between the two, and be overwritten after a third thread has read it; that thread would then leave out an increment but not
 * the decrement. So either the owner makes the object immortal, or another thread does while the world is stopped. Walking the
 * objects of the collector is the public way to stop the world, and the walk ends at its first object. Call it by
 * xctx_promote_store of state.h alone, which has no thread stop the world while the interpreter ends. */
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000
#define XCTX_PROMOTING_STOPS_THE_WORLD 1
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
#define XCTX_PROMOTING_STOPS_THE_WORLD 0
static inline void xctx_promote(PyObject *op) { (void)PyUnstable_Object_EnableDeferredRefcount(op); }
#else
#define XCTX_PROMOTING_STOPS_THE_WORLD 0
static inline void xctx_promote(PyObject *op) { (void)op; }
#endif

/* The object of a weak reference, or NULL once it is dead. With the GIL the reference is borrowed; without the GIL the pointer
 * may only be compared. (PyWeakReference.wr_object, cpython/weakrefobject.h) */
static inline PyObject *xctx_referent(PyObject *reference) {
    PyObject *found = ((PyWeakReference *)reference)->wr_object;
    return found == Py_None ? NULL : found;
}

/* A unit is a weak reference: `class Unit(ReferenceType)` in _runtime/units.pxd extends struct _PyWeakReference
 * (cpython/weakrefobject.h). Only its size is relied on, which the compiler sees, and that the callback runs before the
 * memory of the object is used again. */

/* Turns a pointer into an object for Cython, which takes over the reference, as it does with each function that returns an
 * object. */
#define xctx_taken(reference) (reference)

/* --- references that are read without a lock ----------------------------------------------------------------------------- */

/* What is there. It may only be compared, unless it is set once: then it is borrowed, as long as the object has it. */
static inline PyObject *xctx_published(PyObject **where) { return (PyObject *)xctx_load_ptr((void **)where); }

/* Sets a field, and drops what was there. The caller holds the lock that guards it. A thread that finds it set sees all of
 * `value`. */
static inline void xctx_publish(PyObject **where, PyObject *value) {
    PyObject *before = *where;
    Py_INCREF(value);
    xctx_store_ptr((void **)where, value);
    Py_XDECREF(before);
}

/* Sets a global variable that is NULL, and leaves any other alone: what it has is kept for ever. Gives what it has, borrowed. */
static inline PyObject *xctx_keep(PyObject **where, PyObject *value) {
    Py_INCREF(value);
    if (!xctx_cas_ptr((void **)where, NULL, value)) Py_DECREF(value);
    return xctx_published(where);
}

/* Where a field is: Cython gives no address of one that refers to an object. */
#define XCTX_AT(o, field) ((PyObject **)&(o)->field)

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

/* In the place of Cython's own get() and setdefault(), which borrow from the dict for a moment in which another thread may
 * remove and free the value. Both give a new reference; the first gives Py_None where the key is not there. */
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

/* A module that the program has imported: a new reference; or NULL if it has not been imported, or with an error. */
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

/* greenlet's C API is a table of pointers in the capsule greenlet._C_API. These are the positions that its header gives them.
 * Checked: greenlet 2.0, 3.0, 3.5. The table of 1.x does not have the last three, so scheduling.pyx refuses versions before 2.0.
 * That greenlet counts up context_ver at each switch is tested in tests/core. */
enum {
    XCTX_GREENLET_GETCURRENT = 4,   /* a new reference, or NULL with an error once greenlet has shut down */
    XCTX_GREENLET_IS_MAIN = 8,
    XCTX_GREENLET_STARTED = 9,
    XCTX_GREENLET_ACTIVE = 10
};

#endif
