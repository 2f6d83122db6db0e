/* The body of a proxy: its target, its attributes, its calls and its death. body.h has the idea. */
#include "xctx/_proxy/body.h"
#include "xctx/_proxy/nogil.h"

PyObject *(*proxy_make_target)(PyObject *self);
PyTypeObject *proxy_base_type;
PyTypeObject *proxy_wrapper_type;
PyTypeObject *proxy_local_type;

#define DEFINE_NAME(ident, text) PyObject *proxy_name_##ident;
PROXY_NAMES(DEFINE_NAME)
#undef DEFINE_NAME

/* State of the process, as in body.h. */
static PyObject *default_message;
static PyObject *implicit_names;  /* a subclass that has these names has not asked for them */

int proxy_body_init(PyObject *names) {
#define INTERN(ident, text) if ((proxy_name_##ident = PyUnicode_InternFromString(text)) == NULL) return -1;
    PROXY_NAMES(INTERN)
#undef INTERN
    if ((default_message = PyUnicode_InternFromString("object is not bound")) == NULL) return -1;
    implicit_names = Py_NewRef(names);
    return 0;
}

/* ---- the target ------------------------------------------------------------------------------------------ */

/* Replaces an error that says "missing" by the one that says "unbound". Returns NULL. */
static PyObject *raise_unbound(LocalProxyObject *p) {
    PyErr_Clear();
    PyErr_SetObject(PyExc_RuntimeError, p->message != NULL ? p->message : default_message);
    return NULL;
}

/* RecursionError is a RuntimeError, but it says nothing about what is bound. */
int proxy_unbound_raised(PyObject *self) {
    while (PROXY(self)->kind == PROXY_CHAINED || (PROXY(self)->kind == PROXY_WRAPPER && proxy_check(PROXY(self)->source)))
        self = PROXY(self)->source;
    return PROXY(self)->kind != PROXY_LAZY
        && PyErr_ExceptionMatches(PyExc_RuntimeError) && !PyErr_ExceptionMatches(PyExc_RecursionError);
}

/* Follows the names of `path` from the i-th on. Consumes the reference to `o`. */
static PyObject *follow(PyObject *o, PyObject *path, Py_ssize_t i) {
    for (Py_ssize_t n = PyTuple_GET_SIZE(path); o != NULL && i < n; i++) {
        PyObject *next = PyObject_GetAttr(o, PyTuple_GET_ITEM(path, i));
        Py_DECREF(o);
        o = next;
    }
    return o;
}

/* What the source of a LocalProxy yields now. May run Python code. */
static PyObject *ask_source(LocalProxyObject *p) {
    PyObject *source = p->base.source, *found;  /* borrowed: p owns it */
    switch (p->base.kind) {
    case PROXY_CONTEXTVAR:
        if (PyContextVar_Get(source, NULL, &found) < 0) return NULL;
        if (found == NULL) return raise_unbound(p);
        break;
    case PROXY_CALL:
        found = PyObject_CallNoArgs(source);
        break;
    case PROXY_STORE:
        found = PyObject_GetAttr(source, PyTuple_GET_ITEM(p->path, 0));
        if (found != NULL && PyTuple_GET_SIZE(p->path) > 1) found = follow(found, p->path, 1);
        if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) return raise_unbound(p);
        return found;
    case PROXY_STACK:
        found = PyObject_GetAttr(source, proxy_name_top);
        if (found == Py_None) {
            Py_DECREF(found);
            return raise_unbound(p);
        }
        break;
    case PROXY_CHAINED:
        found = proxy_resolve(source);
        if (found == NULL && p->message != NULL && proxy_unbound_raised(source)) return raise_unbound(p);
        break;
    default:
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__() was not called", Py_TYPE(p)->tp_name);
        return NULL;
    }
    return found != NULL && p->path != NULL ? follow(found, p->path, 0) : found;
}

/* How many C frames it takes to ask a source for its object. */
enum { FRAMES_OF_A_STEP = 8 };

/* As step(), of any proxy but the most common one. */
static XCTX_NOINLINE PyObject *other_step(PyObject *self) {
    ProxyObject *p = PROXY(self);
    PyObject *found;
    if (p->kind == PROXY_WRAPPER) return Py_NewRef(p->source);
    if (p->kind == PROXY_LAZY) {
        found = xctx_load_ptr((void **)&LAZY(self)->made);  /* borrowed: `self` owns it until nobody can use `self` */
        if (found != NULL) return Py_NewRef(found);
        if (XCTX_UNLIKELY(xctx_enter_recursion(FRAMES_OF_A_STEP, " while a lazy LocalWrapper is made"))) return NULL;
        found = proxy_make_target(self);
        xctx_leave_recursion(FRAMES_OF_A_STEP);
        return found;
    }
#ifdef Py_GIL_DISABLED
    if (p->kind == PROXY_METHOD) return proxy_method_real(self);
    if (p->kind == PROXY_ITERATOR) return proxy_iterator_real(self);
#endif
    if (XCTX_UNLIKELY(xctx_enter_recursion(FRAMES_OF_A_STEP, " while asking a LocalProxy for its object"))) return NULL;
    found = ask_source(LOCAL_PROXY(p));
    xctx_leave_recursion(FRAMES_OF_A_STEP);
    return found;
}

/* What a proxy without a target of its own yields now, which may be a proxy again. A new reference. */
static inline PyObject *step(PyObject *self) {
    ProxyObject *p = PROXY(self);
    PyObject *found;
    if (XCTX_LIKELY(p->kind == PROXY_CONTEXTVAR && LOCAL_PROXY(p)->path == NULL)) {
        /* Runs no Python code, so it cannot recurse. */
        if (PyContextVar_Get(p->source, NULL, &found) < 0) return NULL;
        return XCTX_LIKELY(found != NULL) ? found : raise_unbound(LOCAL_PROXY(p));
    }
    return other_step(self);
}

/* The target that a proxy has of its own: borrowed, or NULL. Another thread may give it one meanwhile, if it is lazy. */
static inline PyObject *proxy_target(PyObject *self) { return xctx_load_ptr((void **)&PROXY(self)->target); }

static inline PyObject *target_or_step(PyObject *self) {
    PyObject *target = proxy_target(self);
    return target != NULL ? Py_NewRef(target) : step(self);
}

/* Follows proxies to the object behind them. Consumes the reference to the first one. */
static XCTX_NOINLINE PyObject *follow_proxies(PyObject *found) {
    for (int depth = 0; found != NULL && XCTX_UNLIKELY(proxy_check(found)); depth++) {
        PyObject *outer = found;  /* owned until the next one is */
        if (depth == 1000) {
            Py_DECREF(outer);
            PyErr_SetString(PyExc_RecursionError, "proxies lead to each other in a circle");
            return NULL;
        }
        found = target_or_step(outer);
        Py_DECREF(outer);
    }
    return found;
}

static inline PyObject *resolve(PyObject *self) {
    PyObject *found = target_or_step(self);
    return XCTX_LIKELY(found != NULL && !proxy_suspect(found)) ? found : follow_proxies(found);
}

PyObject *proxy_resolve(PyObject *self) { return resolve(self); }

PyObject *proxy_hold_counted(PyObject *self, PyObject **owned) {
    PyObject *target = proxy_target(self);  /* of a lazy wrapper, or NULL */
    *owned = NULL;
    if (target == NULL) {
        *owned = target = resolve(self);
        if (XCTX_UNLIKELY(target == NULL) || XCTX_LIKELY(proxy_forwards_nothing(target))) return target;
    }
    if (XCTX_UNLIKELY(xctx_enter_recursion(PROXY_FRAMES, " in an operation on a proxy"))) {
        Py_CLEAR(*owned);
        return NULL;
    }
    *owned = (PyObject *)((uintptr_t)*owned | PROXY_COUNTED);
    return target;
}

void proxy_publish_target(PyObject *self, PyObject *made) {
    /* A LocalProxy, and a lazy wrapper that has no target yet, are asked each time. */
    PyObject *target = proxy_check(made) ? proxy_target(made) : made;
    xctx_store_ptr((void **)&LAZY(self)->made, made);
    xctx_store_ptr((void **)&PROXY(self)->target, target);
    if (target != NULL && proxy_forwards_nothing(target)) xctx_store_ptr((void **)&PROXY(self)->direct, target);
}

/* ---- attributes ------------------------------------------------------------------------------------------ */

/* Whether `type` has `name`, and `base` does not have the very same object under it. */
static int defines(PyTypeObject *type, PyTypeObject *base, PyObject *name) {
    PyObject *found = xctx_find_in_type(type, name), *inherited = xctx_find_in_type(base, name);
    int result = found != NULL && found != inherited;
    Py_XDECREF(found);
    Py_XDECREF(inherited);
    return result && PySet_Contains(implicit_names, name) == 0;
}

/* Whether `name` belongs to the proxy and not to its target: one of the drop-in names, or one that a subclass written in
 * Python defines. */
static int own_name(PyObject *self, PyObject *name) {
    PyTypeObject *type = Py_TYPE(self);
    switch (PROXY(self)->kind) {
    case PROXY_METHOD: return 0;
#ifdef Py_GIL_DISABLED
    case PROXY_ITERATOR: return defines(proxy_iterator_type, proxy_base_type, name);
#endif
    case PROXY_WRAPPER: case PROXY_LAZY:
        return proxy_same_name(name, proxy_name_wrapped)
            || (type->tp_base != proxy_wrapper_type && defines(type->tp_base, proxy_wrapper_type, name));
    default:
        return proxy_same_name(name, proxy_name_current)
            || (type != proxy_local_type && defines(type, proxy_local_type, name));
    }
}

/* The slots can be called with any object as the name, as in `type(proxy).__getattribute__(proxy, 5)`. */
static int check_name(PyObject *name) {
    if (PyUnicode_Check(name)) return 0;
    PyErr_Format(PyExc_TypeError, "attribute name must be string, not '%.200s'", Py_TYPE(name)->tp_name);
    return -1;
}

/* The few names that a LocalProxy answers with nothing behind it, as in werkzeug. Called with the error set. */
static PyObject *get_unbound(PyObject *self, PyObject *name) {
    if (!proxy_unbound_raised(self)) return NULL;
    PyObject *type, *value, *traceback, *found = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    if (proxy_same_name(name, proxy_name_class_)) found = Py_NewRef((PyObject *)Py_TYPE(self));
    else if (proxy_same_name(name, proxy_name_doc)) found = PyObject_GetAttr((PyObject *)Py_TYPE(self), name);
    else if (proxy_same_name(name, proxy_name_dunder_wrapped)) found = Py_XNewRef(PROXY(self)->source);
    else if (proxy_same_name(name, proxy_name_repr) || proxy_same_name(name, proxy_name_bool_)
             || proxy_same_name(name, proxy_name_dir))
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

/* Called with the error set. A class behind a proxy can be a base of a new class, which CPython asks of the proxy; types
 * themselves do not have __mro_entries__, so this comes after the failure to find it. */
static XCTX_NOINLINE PyObject *get_missing(PyObject *self, PyObject *target, PyObject *name) {
    if (PyType_Check(target) && proxy_same_name(name, proxy_name_mro_entries)
            && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return PyObject_GenericGetAttr(self, name);
    }
    return NULL;
}

/* Calls the type's own function: PyObject_GetAttr would check the name once more. */
static inline PyObject *get_of(PyObject *target, PyObject *name) {
    getattrofunc get = Py_TYPE(target)->tp_getattro;
    return XCTX_LIKELY(get != NULL) ? get(target, name) : PyObject_GetAttr(target, name);
}

/* Also where the target may forward that: see proxy_hold_counted in body.h. */
static XCTX_NOINLINE PyObject *get_counted(PyObject *target, PyObject *name) {
    if (proxy_forwards_nothing(target)) return get_of(target, name);
    if (xctx_enter_recursion(PROXY_FRAMES, " in an operation on a proxy")) return NULL;
    PyObject *found = get_of(target, name);
    xctx_leave_recursion(PROXY_FRAMES);
    return found;
}

/* Every other case: a name that belongs to the proxy, a LocalProxy, an error. */
static XCTX_NOINLINE PyObject *get_slowly(PyObject *self, PyObject *name) {
    PyObject *owned, *target, *found;
    if (check_name(name) < 0) return NULL;
    if (proxy_same_name(name, proxy_name_reduce_ex) || proxy_same_name(name, proxy_name_reduce) || own_name(self, name))
        return PyObject_GenericGetAttr(self, name);
    target = proxy_hold(self, &owned);
    if (target == NULL) return get_unbound(self, name);
    found = get_of(target, name);
    if (found == NULL) found = get_missing(self, target, name);
    proxy_drop(owned);
    return found;
}

#ifdef Py_GIL_DISABLED
/* CPython's bound method would hold the target, and count it. This one holds the proxy, which its thread owns. */
#  define bind_method proxy_method_new
#else
/* The bound method of the target. Most of the time it is the one that was last asked for, and to make and drop one costs
 * a third of a call. Consumes the reference to `function`. */
static inline PyObject *bind_method(PyObject *self, PyObject *function) {
    ProxyObject *p = PROXY(self);
    if (XCTX_LIKELY(p->function == function)) {
        Py_DECREF(function);  /* p owns one */
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
    Py_XDECREF(old_function);  /* last: both may run Python code, which then finds the new ones in place */
    Py_XDECREF(old_bound);
    return bound;
}
#endif

PyObject *proxy_getattro(PyObject *self, PyObject *name) {
    PyObject *target = proxy_target(self), *found;
    if (XCTX_UNLIKELY(!proxy_interned(name) || name == proxy_name_reduce_ex || name == proxy_name_reduce))
        return get_slowly(self, name);
    if (target != NULL) {
        if (XCTX_UNLIKELY(name == proxy_name_wrapped || Py_TYPE(self)->tp_base != proxy_wrapper_type))
            return get_slowly(self, name);
        int counted = XCTX_UNLIKELY(proxy_direct(self) == NULL) && !proxy_reads_itself(target);
        if (counted && xctx_enter_recursion(PROXY_FRAMES, " in an operation on a proxy")) return NULL;
        found = NULL;
        int is_method = xctx_get_method(target, name, &found);
        if (counted) xctx_leave_recursion(PROXY_FRAMES);
        if (is_method) return bind_method(self, found);
        return XCTX_LIKELY(found != NULL) ? found : get_missing(self, target, name);
    }
    if (PROXY(self)->kind == PROXY_CONTEXTVAR && LOCAL_PROXY(self)->path == NULL && Py_TYPE(self) == proxy_local_type
            && name != proxy_name_current) {
        /* Owned until the operation ends: the variable can be set meanwhile. */
        if (PyContextVar_Get(PROXY(self)->source, NULL, &target) < 0) return NULL;
        int direct = target != NULL && XCTX_LIKELY(proxy_reads_itself(target));   /* no proxy does */
        if (direct || (target != NULL && !proxy_suspect(target))) {
            found = XCTX_LIKELY(direct) ? get_of(target, name) : get_counted(target, name);
            if (XCTX_UNLIKELY(found == NULL)) found = get_missing(self, target, name);
            Py_DECREF(target);
            return found;
        }
        Py_XDECREF(target);
    }
    return get_slowly(self, name);
}

int proxy_setattro(PyObject *self, PyObject *name, PyObject *value) {
    PyObject *owned, *target = proxy_direct(self);
    int result;
    if (XCTX_LIKELY(target != NULL && proxy_interned(name) && name != proxy_name_wrapped
                    && Py_TYPE(self)->tp_base == proxy_wrapper_type)) {
        setattrofunc set = Py_TYPE(target)->tp_setattro;  /* the name has been checked */
        if (XCTX_LIKELY(set != NULL)) return set(target, name, value);
        return PyObject_SetAttr(target, name, value);
    }
    if (check_name(name) < 0) return -1;
    if (XCTX_UNLIKELY(own_name(self, name))) return PyObject_GenericSetAttr(self, name, value);
    target = proxy_hold(self, &owned);
    if (target == NULL) return -1;
    result = PyObject_SetAttr(target, name, value);
    proxy_drop(owned);
    return result;
}

/* ---- calls ----------------------------------------------------------------------------------------------- */

PyObject *proxy_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    PyObject *owned, *target = proxy_hold(self, &owned), *result;
    if (target == NULL) return NULL;
    result = PyObject_Vectorcall(target, args, nargsf, kwnames);
    proxy_drop(owned);
    return result;
}

/* ---- life and death -------------------------------------------------------------------------------------- */

int proxy_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(PROXY(self)->source);
    if (PROXY(self)->kind >= PROXY_UNSET) {
        Py_VISIT(LOCAL_PROXY(self)->path);
        Py_VISIT(LOCAL_PROXY(self)->message);
    }
    else if (PROXY(self)->kind == PROXY_LAZY) Py_VISIT(LAZY(self)->made);
#ifndef Py_GIL_DISABLED
    Py_VISIT(PROXY(self)->function);
    Py_VISIT(PROXY(self)->bound);
#endif
    return 0;
}

void proxy_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    XCTX_TRASHCAN_BEGIN(self, proxy_dealloc)
    if (xctx_load_ptr((void **)&PROXY(self)->weakrefs) != NULL) PyObject_ClearWeakRefs(self);  /* one may die meanwhile */
    PyObject *source = PROXY(self)->source, *path = NULL, *message = NULL, *made = NULL;
    if (PROXY(self)->kind >= PROXY_UNSET) {
        path = LOCAL_PROXY(self)->path;
        message = LOCAL_PROXY(self)->message;
    }
    else if (PROXY(self)->kind == PROXY_LAZY) made = LAZY(self)->made;
#ifdef Py_GIL_DISABLED
    if (PROXY(self)->spare != NULL) proxy_method_free(PROXY(self)->spare);
#else
    PyObject *function = PROXY(self)->function, *bound = PROXY(self)->bound;
#endif
    type->tp_free(self);
    /* Last: each of these may run Python code, which must not find half a proxy. */
#ifndef Py_GIL_DISABLED
    Py_XDECREF(function);
    Py_XDECREF(bound);
#endif
    Py_XDECREF(path);
    Py_XDECREF(message);
    Py_XDECREF(made);
    Py_XDECREF(source);
    Py_DECREF(type);
    XCTX_TRASHCAN_END
}
