/* Proxies: the layout of every proxy, and how an operation finds the proxy's target.
 *
 * All proxies share one layout. An operation asks for its target with proxy_hold(), so it need not know which kind of
 * proxy it serves:
 *
 *      LocalWrapper -- target --> object           Borrowed. The wrapper owns it and never changes it, and the caller of
 *                                                  an operation keeps the wrapper alive.
 *      LocalProxy   -- source --> what it yields   Owned until the operation ends, because the operation itself or another
 *                                                  thread may rebind the source.
 *      lazy wrapper -- source --> a _LazyFactory    Called for the first operation that needs the target. From then on the
 *                                                  wrapper is like any other: it owns what the factory made, and `target`
 *                                                  borrows it.
 *
 * Nothing on the way to a LocalWrapper's target touches the target's reference count. On a free-threaded build every
 * thread that used the object would otherwise write that count.
 *
 *      body.c    finds the target, reads and sets attributes, calls, frees
 *      slots.h   the table of all other operations; slots.c defines their functions
 *      class.c   the types, and the class that a LocalWrapper gets for its target's type
 *      nogil.c   the bound methods and iterators that a LocalWrapper gives out on free-threaded builds
 *      proxy.pyx decides what kind of source a LocalProxy has, and keeps the table of classes
 *
 * Thread-safety: each field is written before the object is published and never afterwards, except for the memory of the
 * last method, and the target of a lazy wrapper.
 * Lifetime: only lazy wrappers have a tp_clear. What any other proxy refers to is fixed when it is made, so a cycle through
 * it also goes through something mutable, whose tp_clear breaks the cycle; and no operation can meet a proxy without its
 * target. A lazy wrapper that was cleared stands for None. */
#ifndef XCTX_PROXY_BODY_H
#define XCTX_PROXY_BODY_H

#include "xctx/_runtime/cpython.h"

/* Only this extension uses the names below. Hidden ones are reached directly, without the dynamic linker's tables. */
#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* ---- layout ---------------------------------------------------------------------------------------------- */

typedef enum {
    PROXY_WRAPPER,     /* a LocalWrapper: `target`, or the proxy in `source` where `target` is NULL */
    PROXY_LAZY,        /* a lazy LocalWrapper; `source` is its _LazyFactory. This kind and the one above are LocalWrappers */
    PROXY_METHOD,      /* a method of a LocalWrapper's target (free-threaded builds) */
    PROXY_ITERATOR,    /* an iterator over a LocalWrapper's target (free-threaded builds) */
    PROXY_UNSET,       /* a LocalProxy whose __init__ has not run. This kind and those below are LocalProxyObjects */
    PROXY_CONTEXTVAR,  /* `source` is a ContextVar */
    PROXY_CALL,        /* the target is source() */
    PROXY_STORE,       /* the target is an attribute of `source`, the first name of `path`; it may be missing */
    PROXY_STACK,       /* the target is source.top, where None stands for nothing */
    PROXY_CHAINED      /* `source` is a LocalProxy */
} ProxyKind;

typedef struct {
    PyObject_HEAD
    PyObject *target;     /* borrowed from `source`, or from `made` of a lazy wrapper; NULL where the source has to be asked.
                             Never changes, except once from NULL in a lazy wrapper, and to None in its tp_clear */
    PyObject *source;     /* owned. Never changes once it is set */
    PyObject *weakrefs;   /* guarded by the interpreter */
    vectorcallfunc call;  /* never changes */
    PyObject *direct;     /* `target`, where no operation on that is counted (see proxy_hold_counted); otherwise NULL. Changes
                             with `target`, after it */
    ProxyKind kind;       /* never changes, except once from PROXY_UNSET */
#ifdef Py_GIL_DISABLED
    PyObject *spare;      /* memory of a dead bound method, for the next one; touched only by this object's thread */
#else
    PyObject *function;   /* owned: the method that was last asked for, and */
    PyObject *bound;      /* owned: that method bound to `target`; see bind_method(). Guarded by the GIL */
#endif
} ProxyObject;

typedef struct {
    ProxyObject base;
    PyObject *path;     /* owned: a tuple of interned names, or NULL. Never changes once it is set */
    PyObject *message;  /* owned: what to say when nothing is bound, or NULL for the default. Never changes once set */
} LocalProxyObject;

typedef struct {
    ProxyObject base;
    PyObject *made;     /* owned: what the factory made. NULL before, and after tp_clear */
} LazyObject;

#define PROXY(o) ((ProxyObject *)(o))
#define LAZY(o) ((LazyObject *)(o))
#define LOCAL_PROXY(o) ((LocalProxyObject *)(o))

/* ---- state of the process, made by proxy_init() and never changed afterwards ------------------------------ */

extern PyTypeObject *proxy_base_type;
extern PyTypeObject *proxy_wrapper_type;
extern PyTypeObject *proxy_local_type;

/* Interned names, which are compared by identity; see proxy_same_name(). */
#define PROXY_NAMES(X) \
    X(wrapped, "wrapped") X(current, "_get_current_object") X(top, "top") \
    X(reduce, "__reduce__") X(reduce_ex, "__reduce_ex__") X(class_, "__class__") X(doc, "__doc__") \
    X(dunder_wrapped, "__wrapped__") X(repr, "__repr__") X(bool_, "__bool__") X(dir, "__dir__") \
    X(mro_entries, "__mro_entries__") X(setstate, "__setstate__") X(dataclass_fields, "__dataclass_fields__")
#define PROXY_DECLARE_NAME(ident, text) extern PyObject *proxy_name_##ident;
PROXY_NAMES(PROXY_DECLARE_NAME)
#undef PROXY_DECLARE_NAME

/* Makes the names. `implicit_names` is a frozenset of the names that the compiler puts into every class. */
int proxy_body_init(PyObject *implicit_names);

/* ---- what body.c defines --------------------------------------------------------------------------------- */

PyObject *proxy_getattro(PyObject *self, PyObject *name);
int proxy_setattro(PyObject *self, PyObject *name, PyObject *value);
PyObject *proxy_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames);
int proxy_traverse(PyObject *self, visitproc visit, void *arg);
void proxy_dealloc(PyObject *self);

/* The object at the end of a chain of proxies. A new reference, because a source can be rebound while it is in use. */
PyObject *proxy_resolve(PyObject *self);

/* What the factory of a lazy wrapper makes, at its first use. A new reference. proxy.pyx sets it to its own function. */
extern PyObject *(*proxy_make_target)(PyObject *self);

/* Publishes what the factory made. Consumes the reference. The caller lets one thread do so. */
void proxy_publish_target(PyObject *self, PyObject *made);

/* Whether the exception that is set says that nothing is bound behind `self`. A factory's own errors never do. */
int proxy_unbound_raised(PyObject *self);

/* ---- hot paths -------------------------------------------------------------------------------------------- */

/* Whether `o` may be a proxy. One load says no for nearly every object: only proxies keep weak references here. */
static inline int proxy_suspect(PyObject *o) {
    return Py_TYPE(o)->tp_weaklistoffset == (Py_ssize_t)offsetof(ProxyObject, weakrefs);
}

static inline int proxy_check(PyObject *o) {
    return XCTX_UNLIKELY(proxy_suspect(o))
        && (Py_TYPE(o)->tp_getattro == proxy_getattro || PyType_IsSubtype(Py_TYPE(o), proxy_base_type));
}

/* At most so many C frames are taken by an operation that comes back to its proxy through one object written in C. */
enum { PROXY_FRAMES = 4 };

/* For a proxy whose target may refer to it: CPython counts no level where a tuple, a weak proxy or a view of a mapping forwards
 * an operation, so it is counted here; but not where a list, a dict, a str, an int or bytes does all itself. A class derived from
 * these may have a callable written in C for a special method, such as `__bool__ = partial(bool, proxy)`. The target of a
 * LocalWrapper is older than the wrapper, so no operation comes back to that by way of objects that never change. */
PyObject *proxy_hold_counted(PyObject *self, PyObject **owned);
#define PROXY_COUNTED 1   /* the lowest bit of what is to be dropped: the operation was counted */
static inline int proxy_forwards_nothing(PyObject *target) {
    unsigned long flags = Py_TYPE(target)->tp_flags;
    return (flags & (Py_TPFLAGS_LIST_SUBCLASS | Py_TPFLAGS_DICT_SUBCLASS | Py_TPFLAGS_UNICODE_SUBCLASS
                     | Py_TPFLAGS_LONG_SUBCLASS | Py_TPFLAGS_BYTES_SUBCLASS))
        && !(flags & Py_TPFLAGS_HEAPTYPE);
}

/* Whether the target itself answers where an attribute is read, and forwards that to no other object, as a weak proxy does, and
 * a property whose __isabstractmethod__ is read. It does if its class is derived from object alone, as most classes written in
 * Python are. */
static inline int proxy_reads_itself(PyObject *target) {
    const PyTypeObject *type = Py_TYPE(target);
    return type->tp_getattro == PyObject_GenericGetAttr && type->tp_base == &PyBaseObject_Type
        && (type->tp_flags & Py_TPFLAGS_HEAPTYPE);
}

/* `direct`, borrowed. Another thread may set it meanwhile, if the wrapper is lazy. */
static inline PyObject *proxy_direct(PyObject *self) { return xctx_load_ptr((void **)&PROXY(self)->direct); }

/* The target for the length of one operation. *owned is what to drop afterwards. */
static inline PyObject *proxy_hold(PyObject *self, PyObject **owned) {
    PyObject *direct = proxy_direct(self);
    if (XCTX_LIKELY(direct != NULL)) {
        *owned = NULL;
        return direct;
    }
    return proxy_hold_counted(self, owned);
}

static inline void proxy_drop(PyObject *owned) {
    if ((uintptr_t)owned & PROXY_COUNTED) {
        xctx_leave_recursion(PROXY_FRAMES);
        owned = (PyObject *)((uintptr_t)owned - PROXY_COUNTED);
    }
    Py_XDECREF(owned);
}

/* The same for an operand, which need not be a proxy. */
static inline PyObject *proxy_operand(PyObject *o, PyObject **owned) {
    *owned = NULL;
    return proxy_check(o) ? proxy_hold(o, owned) : o;
}

/* Only exact strings are interned. */
static inline int proxy_interned(PyObject *name) {
    return PyUnicode_CheckExact(name) && PyUnicode_CHECK_INTERNED(name);
}

/* Whether `name`, a str, equals the interned `text`. The compiler interns names, so few have to be compared. */
static inline int proxy_same_name(PyObject *name, PyObject *text) {
    if (name == text) return 1;
    return XCTX_UNLIKELY(!PyUnicode_CHECK_INTERNED(name)) && PyUnicode_Compare(name, text) == 0;
}

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
