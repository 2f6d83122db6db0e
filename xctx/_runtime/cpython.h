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

/* Gives a type made by Cython, which takes no attributes afterwards, one more; before anything derives from it. */
static inline int xctx_type_put(PyObject *type, PyObject *name, PyObject *value) {
    if (PyDict_SetItem(((PyTypeObject *)type)->tp_dict, name, value)) return -1;
    PyType_Modified((PyTypeObject *)type);
    return 0;
}

#endif
