/* What the compiled rooms need of CPython beyond its stable API, behind names that hold for all versions. */
#ifndef XCTX_CPYTHON_H
#define XCTX_CPYTHON_H

#include "xctx/_runtime/platform.h"

/* The current thread state. Every caller runs with one attached, so the check of PyThreadState_Get is not needed. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_tstate PyThreadState_GetUnchecked
#else
#  define xctx_tstate _PyThreadState_UncheckedGet
#endif

/* Whether the interpreter is ending: modules may be gone, and asking for them is fatal then. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_is_finalizing Py_IsFinalizing
#else
#  define xctx_is_finalizing _Py_IsFinalizing
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

/* Setting a context variable, with no code of anybody run in the midst of it. CPython builds the new mapping from one that it
 * does not hold, and 3.11 collects garbage whenever it allocates: a finaliser that sets a variable then frees the mapping
 * that is being read. (Nothing dies of the setting itself: the token holds the old value.) */
#if PY_VERSION_HEX < 0x030C0000
static inline PyObject *xctx_var_set(PyObject *var, PyObject *value) {
    int collects = PyGC_Disable();
    PyObject *token = PyContextVar_Set(var, value);
    if (collects) PyGC_Enable();
    return token;
}
static inline int xctx_var_reset(PyObject *var, PyObject *token) {
    int collects = PyGC_Disable();
    int done = PyContextVar_Reset(var, token);
    if (collects) PyGC_Enable();
    return done;
}
#else
#  define xctx_var_set PyContextVar_Set
#  define xctx_var_reset PyContextVar_Reset
#endif

/* Looking into a dict that other threads change. Cython's own get() and setdefault() borrow from it for a moment, in which
 * another thread may take out and free what was found. Both give a new reference; the first, or Py_None. */
static inline PyObject *xctx_shared_get(PyObject *dict, PyObject *key) {
    PyObject *found;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyDict_GetItemRef(dict, key, &found) < 0) return NULL;
#else
    found = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    if (found == NULL && PyErr_Occurred()) return NULL;
#endif
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

/* A module that the program has imported: a new reference, or NULL with no exception where it has not. */
static inline PyObject *xctx_loaded_module(PyObject *name) {
    PyObject *modules = PyImport_GetModuleDict(), *found = NULL;   /* borrowed from the interpreter */
    if (modules == NULL) return NULL;
#if PY_VERSION_HEX >= 0x030D0000
    (void)PyDict_GetItemRef(modules, name, &found);
    return found;
#else
    found = PyDict_GetItemWithError(modules, name);
    return Py_XNewRef(found);
#endif
}

/* For Cython, which takes the result of a function that gives an object to be a new reference: takes over this one. */
#define xctx_taken(reference) (reference)

/* Whether a type or one of its bases has the name; no exception. */
static inline int xctx_type_has(PyTypeObject *type, PyObject *name) {
#ifdef Py_GIL_DISABLED
    PyObject *found = _PyType_LookupRef(type, name);
    Py_XDECREF(found);
    return found != NULL;
#else
    return _PyType_Lookup(type, name) != NULL;
#endif
}

/* Gives a type made by Cython, which takes no attributes afterwards, one more; before anything derives from it. */
static inline int xctx_type_put(PyObject *type, PyObject *name, PyObject *value) {
    if (PyDict_SetItem(((PyTypeObject *)type)->tp_dict, name, value)) return -1;
    PyType_Modified((PyTypeObject *)type);
    return 0;
}

/* Looking up `name` in a type and its bases, as the interpreter looks for special methods: a new reference, or NULL with no
 * error set. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_find_in_type _PyType_LookupRef
#else
static inline PyObject *xctx_find_in_type(PyTypeObject *type, PyObject *name) {
    return Py_XNewRef(_PyType_Lookup(type, name));
}
#endif

/* xctx_get_method(obj, name, &method): 1 where `name` is a method that a call can hand `obj` to, and *method is the unbound
 * one; otherwise 0, and *method is the attribute, or NULL with an error set. *method must be NULL before. Every CPython
 * exports it, but from 3.13 on only its internal headers declare it. */
PyAPI_FUNC(int) _PyObject_GetMethod(PyObject *obj, PyObject *name, PyObject **method);
#define xctx_get_method _PyObject_GetMethod

/* Py_EnterRecursiveCall for code whose one step takes several C frames. CPython 3.12 and 3.13 allow 10,000 nested C calls
 * however deep the stack is by then, so there a step has to count as several levels. `where` begins with a space. */
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
static inline int xctx_enter_recursion(int Py_UNUSED(levels), const char *where) { return Py_EnterRecursiveCall(where); }
static inline void xctx_leave_recursion(int Py_UNUSED(levels)) { Py_LeaveRecursiveCall(); }
#endif

#ifdef Py_GIL_DISABLED
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

#endif
