/* The body of a proxy: where its target comes from, how long it is held, and how attributes are reached.
 *
 * One object layout serves every proxy. An operation asks for the target with xp_hold():
 *
 *      LocalWrapper ── target ──> object          borrowed: the wrapper owns it and never changes it, and whoever
 *                                                 runs an operation on the wrapper keeps the wrapper alive
 *      LocalProxy ── source ──> what it yields    owned until the operation is over: the source can be rebound
 *                                                 by the operation itself, or by another thread
 *
 * so no slot knows which kind it serves, and nothing on the way to a LocalWrapper's target touches the target's
 * reference count, which on a free-threaded build would be written by every thread that reads it.
 *
 * The slots themselves are a table: _proxy/slots.h. The class of a LocalWrapper is made once for each target type,
 * with the slots that this type has: _proxy/class.h.
 *
 * Thread-safety: every field is written before the object is published and never again, but for the memory of the
 * last method.
 * Lifetime: no tp_clear. What a proxy refers to is fixed at birth, so every cycle through it goes through something
 * mutable too, which breaks it; and no operation can meet a proxy that lost its target. */
#ifndef XCTX_PROXY_H
#define XCTX_PROXY_H

#include "xctx/_runtime/compat.h"
#include <structmember.h>

typedef enum {
    XP_WRAPPER,     /* LocalWrapper: target, or, where that is NULL, the proxy in source */
    XP_METHOD,      /* a method of a LocalWrapper's target (free-threaded builds) */
    XP_ITERATOR,    /* an iterator over a LocalWrapper's target (free-threaded builds) */
    XP_UNSET,       /* LocalProxy that __init__ has not reached: from here on the layout is xp_local */
    XP_CONTEXTVAR,  /* source is a ContextVar */
    XP_CALL,        /* source() */
    XP_STORE,       /* source has attributes; the first name of path is one, and it may be missing */
    XP_STACK,       /* source.top, where None means nothing */
    XP_PROXY        /* source is a LocalProxy */
} xp_kind;

typedef struct {
    PyObject_HEAD
    PyObject *target;     /* borrowed from source; NULL: ask source. Never changes */
    PyObject *source;     /* owned. Never changes once set */
    PyObject *weakrefs;   /* guarded by the interpreter */
    vectorcallfunc call;  /* never changes */
    xp_kind kind;         /* never changes, but for XP_UNSET, once */
#ifdef Py_GIL_DISABLED
    PyObject *spare;      /* memory of a dead xp_method for the next one; touched only by the thread that owns this */
#else
    PyObject *function;   /* owned: the method that was last asked for, and */
    PyObject *bound;      /* owned: what it became, bound to target; see xp_bind. Guarded by the GIL */
#endif
} xp_object;

typedef struct {
    xp_object base;
    PyObject *path;     /* owned tuple of interned names, or NULL. Never changes once set */
    PyObject *message;  /* owned, or NULL for the default one. Never changes once set */
} xp_local;

#define XP(o) ((xp_object *)(o))
#define XP_LOCAL(o) ((xp_local *)(o))

/* The types, made once by xp_init and immortal from then on. */
static PyTypeObject *xp_base_type;
static PyTypeObject *xp_wrapper_type;
static PyTypeObject *xp_local_type;
#ifdef Py_GIL_DISABLED
static PyTypeObject *xp_method_type;
static PyTypeObject *xp_iterator_type;
#endif

/* Names compared by identity, which is enough for interned ones; see xp_same. */
#define XP_NAMES(X) \
    X(wrapped, "wrapped") X(current, "_get_current_object") X(top, "top") \
    X(reduce, "__reduce__") X(reduce_ex, "__reduce_ex__") X(class_, "__class__") X(doc, "__doc__") \
    X(dunder_wrapped, "__wrapped__") X(repr, "__repr__") X(bool_, "__bool__") X(dir, "__dir__") \
    X(mro_entries, "__mro_entries__") X(setstate, "__setstate__")
#define XP_NAME(ident, text) static PyObject *xp_s_##ident;
XP_NAMES(XP_NAME)
#undef XP_NAME

static PyObject *xp_default_message;

/* What the compiler puts into every class: a subclass that has these has not asked for them. A frozenset. */
static PyObject *xp_implicit_names;

static PyObject *xp_getattro(PyObject *self, PyObject *name);
/* Exported by every CPython, but from 3.13 on declared in its internal headers: whether `name` is a method that a call
 * can hand `obj` to (1: the unbound one) or another attribute (0). *method must be NULL before. */
PyAPI_FUNC(int) _PyObject_GetMethod(PyObject *obj, PyObject *name, PyObject **method);
#ifdef Py_GIL_DISABLED
static PyObject *xp_method_new(PyObject *wrapper, PyObject *function);
static PyObject *xp_method_real(PyObject *self);
static void xp_method_free(PyObject *spare);
static PyObject *xp_iterator_real(PyObject *self);
#endif

/* May this be a proxy? One load, and no for nearly every object: proxies alone keep weak references at this place. */
static inline int xp_suspect(PyObject *o) {
    return Py_TYPE(o)->tp_weaklistoffset == (Py_ssize_t)offsetof(xp_object, weakrefs);
}

/* Is this a proxy? */
static inline int xp_check(PyObject *o) {
    return XCTX_UNLIKELY(xp_suspect(o))
        && (Py_TYPE(o)->tp_getattro == xp_getattro || PyType_IsSubtype(Py_TYPE(o), xp_base_type));
}

/* ---- the target ------------------------------------------------------------------------------------------ */

static PyObject *xp_resolve(PyObject *self);

/* Replaces an error that says "missing" by the one that says "unbound". Returns NULL. */
static PyObject *xp_unbound(xp_local *p) {
    PyErr_Clear();
    PyErr_SetObject(PyExc_RuntimeError, p->message != NULL ? p->message : xp_default_message);
    return NULL;
}

/* RecursionError is a RuntimeError, but says nothing about what is bound. */
static int xp_unbound_raised(void) {
    return PyErr_ExceptionMatches(PyExc_RuntimeError) && !PyErr_ExceptionMatches(PyExc_RecursionError);
}

/* Follows the names of path, from the i-th on, from o, which it takes over. */
static PyObject *xp_follow(PyObject *o, PyObject *path, Py_ssize_t i) {
    for (Py_ssize_t n = PyTuple_GET_SIZE(path); o != NULL && i < n; i++) {
        PyObject *next = PyObject_GetAttr(o, PyTuple_GET_ITEM(path, i));
        Py_DECREF(o);
        o = next;
    }
    return o;
}

static PyObject *xp_ask(xp_local *p) {
    PyObject *source = p->base.source, *found;  /* borrowed: p owns it */
    switch (p->base.kind) {
    case XP_CONTEXTVAR:
        if (PyContextVar_Get(source, NULL, &found) < 0) return NULL;
        if (found == NULL) return xp_unbound(p);
        break;
    case XP_CALL:
        found = PyObject_CallNoArgs(source);
        break;
    case XP_STORE:
        found = PyObject_GetAttr(source, PyTuple_GET_ITEM(p->path, 0));
        if (found != NULL && PyTuple_GET_SIZE(p->path) > 1) found = xp_follow(found, p->path, 1);
        if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) return xp_unbound(p);
        return found;
    case XP_STACK:
        found = PyObject_GetAttr(source, xp_s_top);
        if (found == Py_None) {
            Py_DECREF(found);
            return xp_unbound(p);
        }
        break;
    case XP_PROXY:
        found = xp_resolve(source);
        if (found == NULL && p->message != NULL && xp_unbound_raised()) return xp_unbound(p);
        break;
    default:
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__() was not called", Py_TYPE(p)->tp_name);
        return NULL;
    }
    return found != NULL && p->path != NULL ? xp_follow(found, p->path, 0) : found;
}

/* One level of recursion counts as eight on 3.12 and 3.13, which allow 10,000 nested C calls however deep the stack is
 * by then: this one takes eight frames. */
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000
enum { XP_WEIGHT = 8 };
static inline int xp_enter(void) {
    PyThreadState *tstate = xctx_tstate();
    if (XCTX_LIKELY(tstate->c_recursion_remaining > XP_WEIGHT)) {
        tstate->c_recursion_remaining -= XP_WEIGHT;
        return 0;
    }
    PyErr_SetString(PyExc_RecursionError, "maximum recursion depth exceeded while asking a LocalProxy for its object");
    return -1;
}
static inline void xp_leave(void) { xctx_tstate()->c_recursion_remaining += XP_WEIGHT; }
#else
static inline int xp_enter(void) { return Py_EnterRecursiveCall(" while asking a LocalProxy for its object"); }
static inline void xp_leave(void) { Py_LeaveRecursiveCall(); }
#endif

/* What a proxy without a target of its own yields now, which may be a proxy again. New reference. */
static PyObject *xp_step(PyObject *self) {
    xp_object *p = XP(self);
    PyObject *found;
    if (XCTX_LIKELY(p->kind == XP_CONTEXTVAR && XP_LOCAL(p)->path == NULL)) {
        /* Runs no Python code, so it cannot recurse. */
        if (PyContextVar_Get(p->source, NULL, &found) < 0) return NULL;
        return XCTX_LIKELY(found != NULL) ? found : xp_unbound(XP_LOCAL(p));
    }
    if (p->kind == XP_WRAPPER) return Py_NewRef(p->source);
#ifdef Py_GIL_DISABLED
    if (p->kind < XP_UNSET) return p->kind == XP_METHOD ? xp_method_real(self) : xp_iterator_real(self);
#endif
    if (XCTX_UNLIKELY(xp_enter())) return NULL;
    found = xp_ask(XP_LOCAL(p));
    xp_leave();
    return found;
}

/* The object at the end of a chain of proxies. New reference: a source can be rebound while the object is in use. */
static PyObject *xp_resolve(PyObject *self) {
    PyObject *found = XP(self)->target != NULL ? Py_NewRef(XP(self)->target) : xp_step(self);
    for (int depth = 0; found != NULL && XCTX_UNLIKELY(xp_check(found)); depth++) {
        PyObject *outer = found;  /* owned until the next one is */
        if (depth == 1000) {
            Py_DECREF(outer);
            PyErr_SetString(PyExc_RecursionError, "proxies lead to each other in a circle");
            return NULL;
        }
        found = XP(outer)->target != NULL ? Py_NewRef(XP(outer)->target) : xp_step(outer);
        Py_DECREF(outer);
    }
    return found;
}

/* The target for the length of one operation, and in *owned the reference to drop afterwards, if there is one. */
static inline PyObject *xp_hold(PyObject *self, PyObject **owned) {
    PyObject *target = XP(self)->target;
    if (XCTX_LIKELY(target != NULL)) {
        *owned = NULL;
        return target;
    }
    return *owned = xp_resolve(self);
}

/* The same for an operand, which need not be a proxy. */
static inline PyObject *xp_operand(PyObject *o, PyObject **owned) {
    *owned = NULL;
    return xp_check(o) ? xp_hold(o, owned) : o;
}

/* ---- attributes ------------------------------------------------------------------------------------------ */

/* Is `name` the interned `text`? Names from the compiler are interned; others are compared. */
static inline int xp_same(PyObject *name, PyObject *text) {
    if (name == text) return 1;
    return XCTX_UNLIKELY(!PyUnicode_CHECK_INTERNED(name)) && PyUnicode_Compare(name, text) == 0;
}

/* Borrowed on builds with a GIL, so it only tells whether, never what: 1 where `type` has `name` and
 * `except` has not the same. */
static int xp_defines(PyTypeObject *type, PyTypeObject *except, PyObject *name) {
#ifdef Py_GIL_DISABLED
    PyObject *found = _PyType_LookupRef(type, name), *there = _PyType_LookupRef(except, name);
    int result = found != NULL && found != there;
    Py_XDECREF(found);
    Py_XDECREF(there);
#else
    PyObject *found = _PyType_Lookup(type, name);
    int result = found != NULL && found != _PyType_Lookup(except, name);
#endif
    return result && PySet_Contains(xp_implicit_names, name) == 0;
}

/* Does `name` belong to the proxy and not to its target? Beyond the drop-in names that is what a subclass written in
 * Python defines. */
static int xp_own(PyObject *self, PyObject *name) {
    PyTypeObject *type = Py_TYPE(self);
    switch (XP(self)->kind) {
    case XP_METHOD: return 0;
#ifdef Py_GIL_DISABLED
    case XP_ITERATOR: return xp_defines(xp_iterator_type, xp_base_type, name);
#endif
    case XP_WRAPPER:
        return xp_same(name, xp_s_wrapped)
            || (type->tp_base != xp_wrapper_type && xp_defines(type->tp_base, xp_wrapper_type, name));
    default:
        return xp_same(name, xp_s_current) || (type != xp_local_type && xp_defines(type, xp_local_type, name));
    }
}

/* The few names that a LocalProxy answers with nothing behind it, as in werkzeug. Called with the error set. */
static PyObject *xp_getattr_unbound(PyObject *self, PyObject *name) {
    if (!xp_unbound_raised()) return NULL;
    PyObject *type, *value, *traceback, *found = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    if (xp_same(name, xp_s_class_)) found = Py_NewRef((PyObject *)Py_TYPE(self));
    else if (xp_same(name, xp_s_doc)) found = PyObject_GetAttr((PyObject *)Py_TYPE(self), name);
    else if (xp_same(name, xp_s_dunder_wrapped)) found = Py_XNewRef(XP(self)->source);
    else if (xp_same(name, xp_s_repr) || xp_same(name, xp_s_bool_) || xp_same(name, xp_s_dir))
        found = PyObject_GenericGetAttr(self, name);
    if (found == NULL) {
        PyErr_Restore(type, value, traceback);
        return NULL;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return found;
}

/* A class in the bases of a new class. Types do not have __mro_entries__, so this is asked only after a failure. */
static XCTX_NOINLINE PyObject *xp_getattr_missing(PyObject *self, PyObject *target, PyObject *name) {
    if (PyType_Check(target) && PyUnicode_Check(name) && PyUnicode_Compare(name, xp_s_mro_entries) == 0
            && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return PyObject_GenericGetAttr(self, name);
    }
    return NULL;
}

/* The type's own function: PyObject_GetAttr would only check the name, which was checked on the way here. */
static inline PyObject *xp_getattr_of(PyObject *target, PyObject *name) {
    getattrofunc get = Py_TYPE(target)->tp_getattro;
    return XCTX_LIKELY(get != NULL) ? get(target, name) : PyObject_GetAttr(target, name);
}

/* Every other case: a name of the proxy's own, a LocalProxy, an error. */
static XCTX_NOINLINE PyObject *xp_getattr_slow(PyObject *self, PyObject *name) {
    PyObject *owned, *target, *found;
    if (xp_same(name, xp_s_reduce_ex) || xp_same(name, xp_s_reduce) || xp_own(self, name))
        return PyObject_GenericGetAttr(self, name);
    target = xp_hold(self, &owned);
    if (target == NULL) return xp_getattr_unbound(self, name);
    found = xp_getattr_of(target, name);
    if (found == NULL) found = xp_getattr_missing(self, target, name);
    Py_XDECREF(owned);
    return found;
}

#ifdef Py_GIL_DISABLED
/* A bound method would hold the target, and count it. This one holds the proxy, which its thread owns. */
#  define xp_bind xp_method_new
#else
/* The bound method of target, which most of the time is the one that was asked for before: to make one and throw it
 * away is a third of the cost of a call. Takes over function. */
static inline PyObject *xp_bind(PyObject *self, PyObject *function) {
    xp_object *p = XP(self);
    if (XCTX_LIKELY(p->function == function)) {
        Py_DECREF(function);  /* p has one */
        return Py_NewRef(p->bound);
    }
    PyObject *bound = Py_TYPE(function)->tp_descr_get(function, p->target, (PyObject *)Py_TYPE(p->target));
    if (bound == NULL) {
        Py_DECREF(function);
        return NULL;
    }
    PyObject *old_function = p->function, *old_bound = p->bound;
    p->function = function;
    p->bound = Py_NewRef(bound);
    Py_XDECREF(old_function);  /* both may run Python code, and find the new ones in place */
    Py_XDECREF(old_bound);
    return bound;
}
#endif

static PyObject *xp_getattro(PyObject *self, PyObject *name) {
    PyObject *target = XP(self)->target, *found;
    if (XCTX_UNLIKELY(!PyUnicode_CHECK_INTERNED(name) || name == xp_s_reduce_ex || name == xp_s_reduce))
        return xp_getattr_slow(self, name);
    if (target != NULL) {
        if (XCTX_UNLIKELY(name == xp_s_wrapped || Py_TYPE(self)->tp_base != xp_wrapper_type))
            return xp_getattr_slow(self, name);
        found = NULL;
        if (_PyObject_GetMethod(target, name, &found)) return xp_bind(self, found);
        return XCTX_LIKELY(found != NULL) ? found : xp_getattr_missing(self, target, name);
    }
    if (XP(self)->kind == XP_CONTEXTVAR && XP_LOCAL(self)->path == NULL && Py_TYPE(self) == xp_local_type
            && name != xp_s_current) {
        /* Held until the operation is over: the variable can be set meanwhile. */
        if (PyContextVar_Get(XP(self)->source, NULL, &target) < 0) return NULL;
        if (XCTX_LIKELY(target != NULL && !xp_check(target))) {
            found = xp_getattr_of(target, name);
            if (XCTX_UNLIKELY(found == NULL)) found = xp_getattr_missing(self, target, name);
            Py_DECREF(target);
            return found;
        }
        Py_XDECREF(target);
    }
    return xp_getattr_slow(self, name);
}

static int xp_setattro(PyObject *self, PyObject *name, PyObject *value) {
    PyObject *owned, *target;
    int result;
    if (XCTX_LIKELY(XP(self)->target != NULL && PyUnicode_CHECK_INTERNED(name) && name != xp_s_wrapped
                    && Py_TYPE(self)->tp_base == xp_wrapper_type)) {
        setattrofunc set = Py_TYPE(XP(self)->target)->tp_setattro;  /* the name was checked on the way here */
        if (XCTX_LIKELY(set != NULL)) return set(XP(self)->target, name, value);
        return PyObject_SetAttr(XP(self)->target, name, value);
    }
    if (XCTX_UNLIKELY(xp_own(self, name))) return PyObject_GenericSetAttr(self, name, value);
    target = xp_hold(self, &owned);
    if (target == NULL) return -1;
    result = PyObject_SetAttr(target, name, value);
    Py_XDECREF(owned);
    return result;
}

/* ---- calls ----------------------------------------------------------------------------------------------- */

static PyObject *xp_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    PyObject *owned, *target = xp_hold(self, &owned), *result;
    if (target == NULL) return NULL;
    result = PyObject_Vectorcall(target, args, nargsf, kwnames);
    Py_XDECREF(owned);
    return result;
}

/* ---- life and death -------------------------------------------------------------------------------------- */

static int xp_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(XP(self)->source);
#ifndef Py_GIL_DISABLED
    Py_VISIT(XP(self)->function);
    Py_VISIT(XP(self)->bound);
#endif
    return 0;
}

static void xp_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, xp_dealloc)
    if (XP(self)->weakrefs != NULL) PyObject_ClearWeakRefs(self);
    PyObject *source = XP(self)->source;
    if (XP(self)->kind >= XP_UNSET) {
        Py_CLEAR(XP_LOCAL(self)->path);
        Py_CLEAR(XP_LOCAL(self)->message);
    }
#ifdef Py_GIL_DISABLED
    if (XP(self)->spare != NULL) xp_method_free(XP(self)->spare);
#else
    PyObject *function = XP(self)->function, *bound = XP(self)->bound;
#endif
    type->tp_free(self);
    /* Last: the death of the target may run Python code, and must not find half a proxy. */
#ifndef Py_GIL_DISABLED
    Py_XDECREF(function);
    Py_XDECREF(bound);
#endif
    Py_XDECREF(source);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/* A new LocalWrapper of class `type`, made for objects of obj's type. */
static PyObject *xp_wrapper_alloc(PyTypeObject *type, PyObject *obj) {
    xp_object *self;
    if (XCTX_LIKELY(type->tp_base == xp_wrapper_type)) {
        self = PyObject_GC_New(xp_object, type);  /* counts the type */
        if (self == NULL) return NULL;
        self->weakrefs = NULL;
#ifdef Py_GIL_DISABLED
        self->spare = NULL;
#else
        self->function = self->bound = NULL;
#endif
    }
    else {
        self = (xp_object *)type->tp_alloc(type, 0);
        if (self == NULL) return NULL;
        PyObject_GC_UnTrack(self);
    }
    /* A wrapper never changes, so what it leads to in the end is known now, or it is a LocalProxy's affair. */
    self->target = XCTX_UNLIKELY(xp_check(obj)) ? XP(obj)->target : obj;
    self->source = Py_NewRef(obj);
    self->call = xp_vectorcall;
    self->kind = XP_WRAPPER;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

#endif
