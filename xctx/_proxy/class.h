/* The classes: what every proxy has, what a LocalProxy has, and the class that a LocalWrapper gets for its target.
 *
 * CPython and programs tell by the slots of a class what its objects can do. A LocalWrapper's target never changes, so
 * its class can tell the truth: LocalWrapper itself has only the slots that every object has, and each target type
 * gets a subclass of it, made once, with the slots which that type has.
 *
 *      Proxy ──┬── LocalProxy                       every slot
 *              └── LocalWrapper ──┬── LocalWrapper[int]
 *                                 ├── LocalWrapper[list]
 *                                 └── a subclass written in Python ── its own class for each target type
 *
 * The classes live in a table (_proxy/proxy.pyx) that refers to target types weakly. In front of it is a small cache, which
 * a reader compares and takes from without a lock. A class in it is borrowed: the table keeps it for as long as the
 * target type lives, and whoever asks has an object of that type in hand. */
#ifndef XCTX_PROXY_CLASS_H
#define XCTX_PROXY_CLASS_H

#include "xctx/_proxy/slots.h"
#include "xctx/_proxy/free.h"

/* The lines of the table that depend on the target's type. Bit i of a mask stands for line i, methods after slots. */
typedef struct {
    int slot;
    void *function;
} xp_line;

#define XP_SKIP(...)
#define XP_LINE(slot, family, f) {Py_##slot, (void *)xp_##slot},
static const xp_line xp_lines[] = {XP_SLOTS(XP_SKIP, XP_LINE)};
#define XP_DEF(method, call) \
    {#method, (PyCFunction)(void (*)(void))xp_m##method, METH_FASTCALL | METH_KEYWORDS, NULL},
static PyMethodDef xp_methods[] = {XP_METHODS(XP_SKIP, XP_DEF)};
#define XP_REF(method, call) &xp_n##method,
static PyObject **const xp_method_names[] = {XP_METHODS(XP_SKIP, XP_REF)};

enum {
    XP_N_LINES = sizeof(xp_lines) / sizeof(*xp_lines),
    XP_N_METHODS = sizeof(xp_methods) / sizeof(*xp_methods)
};

static int xp_has_method(PyTypeObject *type, PyObject *name) {
#ifdef Py_GIL_DISABLED
    PyObject *found = _PyType_LookupRef(type, name);
    Py_XDECREF(found);
    return found != NULL;
#else
    return _PyType_Lookup(type, name) != NULL;
#endif
}

/* What stands in tp_iternext of a class written in Python that has no __next__. */
static void *xp_no_next;

static void *xp_get_slot(PyTypeObject *type, int slot) {
    void *function = PyType_GetSlot(type, slot);
    if (slot == Py_tp_hash && function == (void *)PyObject_HashNotImplemented) return NULL;
    if (slot == Py_tp_iternext && function == xp_no_next) return NULL;
    return function;
}

static int xp_has_slot(PyTypeObject *type, int slot) { return xp_get_slot(type, slot) != NULL; }

/* int("1"), float("1"), complex("1"), os.fspath("a"): operations on a str that int and the others do themselves. */
static int xp_is_text(PyTypeObject *type) {
    return PyType_HasFeature(type, Py_TPFLAGS_UNICODE_SUBCLASS) || PyType_HasFeature(type, Py_TPFLAGS_BYTES_SUBCLASS)
        || PyType_IsSubtype(type, &PyByteArray_Type);
}

/* Slots that a type lacks although the operation works on its objects; they get no name in the class. */
static int xp_serves(PyTypeObject *type, int slot) {
    switch (slot) {
    case Py_nb_int: return xp_is_text(type) || xp_has_slot(type, Py_nb_index) || xp_has_method(type, xp_n__trunc__);
    case Py_nb_float: return xp_is_text(type) || xp_has_slot(type, Py_nb_index);
    case Py_mp_subscript: return PyType_IsSubtype(type, &PyType_Type);  /* list[int] */
    case Py_am_await: return type == &PyGen_Type;  /* types.coroutine */
    case Py_sq_inplace_concat: return xp_has_slot(type, Py_sq_concat);  /* the result is wrapped */
    case Py_sq_inplace_repeat: return xp_has_slot(type, Py_sq_repeat);
    }
    return 0;
}

/* The type of `int | str`, which isinstance() knows by itself from 3.13 on. */
static PyTypeObject *xp_union_type;

static int xp_serves_method(PyTypeObject *type, PyObject *name) {
    /* A wrapper of text has nb_float, which these would use: they have to ask the text itself. */
    if (name == xp_n__floor__ || name == xp_n__ceil__ || name == xp_n__complex__) return xp_is_text(type);
    if (name == xp_n__fspath__)
        return PyType_HasFeature(type, Py_TPFLAGS_UNICODE_SUBCLASS)
            || PyType_HasFeature(type, Py_TPFLAGS_BYTES_SUBCLASS);
    if (name == xp_n__instancecheck__ || name == xp_n__subclasscheck__)
        return PyType_HasFeature(type, Py_TPFLAGS_TUPLE_SUBCLASS) || type == xp_union_type;
    return 0;
}

/* Which lines a wrapper of an object of `type` has. */
static uint64_t xp_mask(PyTypeObject *type) {
    uint64_t mask = 0;
    int i;
    for (i = 0; i < XP_N_LINES; i++)
        if (xp_has_slot(type, xp_lines[i].slot) || xp_serves(type, xp_lines[i].slot)) mask |= (uint64_t)1 << i;
    for (i = 0; i < XP_N_METHODS; i++)
        if (xp_has_method(type, *xp_method_names[i]) || xp_serves_method(type, *xp_method_names[i]))
            mask |= (uint64_t)1 << (XP_N_LINES + i);
    return mask;
}

static int xp_add_methods(PyTypeObject *cls, PyMethodDef *def, PyObject **const *names, int n, uint64_t mask,
                          PyTypeObject *leaf) {
    for (int i = 0; i < n; i++) {
        if (!((mask >> i) & 1) || (leaf != NULL && xp_has_method(leaf, *names[i]))) continue;
        PyObject *method = PyDescr_NewMethod(cls, &def[i]);
        int done = method == NULL ? -1 : PyObject_SetAttr((PyObject *)cls, *names[i], method);
        Py_XDECREF(method);
        if (done < 0) return -1;
    }
    return 0;
}

static PyObject *xp_class_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* The class for wrappers of class `leaf` around objects of `type`. What a subclass written in Python defines itself
 * stays as it is. */
static PyObject *xp_make_class(PyTypeObject *leaf, PyTypeObject *type, uint64_t mask, const char *name) {
    PyType_Slot slots[XP_N_LINES + 8];
    PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, offsetof(xp_object, call), READONLY, NULL}, {NULL, 0, 0, 0, NULL}
    };
    PyType_Spec spec = {name, 0, 0, Py_TPFLAGS_DEFAULT, slots};
    int n = 0, i;
    spec.flags |= type->tp_flags & (Py_TPFLAGS_SEQUENCE | Py_TPFLAGS_MAPPING);  /* structural pattern matching */
    slots[n++] = (PyType_Slot){Py_tp_new, xp_class_new};
    if (leaf == xp_wrapper_type) slots[n++] = (PyType_Slot){Py_tp_dealloc, xp_dealloc};
    if (leaf->tp_hash == xp_wrapper_type->tp_hash && leaf->tp_richcompare == xp_wrapper_type->tp_richcompare) {
        /* These two are inherited together or not at all. */
        slots[n++] = (PyType_Slot){Py_tp_richcompare, xp_tp_richcompare};
        if (!xp_has_slot(type, Py_tp_hash)) slots[n++] = (PyType_Slot){Py_tp_hash, PyObject_HashNotImplemented};
    }
    for (i = 0; i < XP_N_LINES; i++) {
        int slot = xp_lines[i].slot;
        if (!((mask >> i) & 1) || !xp_has_slot(type, slot)) continue;
        if (xp_get_slot(leaf, slot) != xp_get_slot(xp_wrapper_type, slot)) continue;
        slots[n++] = (PyType_Slot){slot, xp_lines[i].function};
        if (slot == Py_tp_call) {
            spec.flags |= Py_TPFLAGS_HAVE_VECTORCALL;
            slots[n++] = (PyType_Slot){Py_tp_members, members};
        }
    }
    slots[n] = (PyType_Slot){0, NULL};
    PyObject *bases = PyTuple_Pack(1, (PyObject *)leaf);
    PyTypeObject *cls = bases != NULL ? (PyTypeObject *)PyType_FromSpecWithBases(&spec, bases) : NULL;
    Py_XDECREF(bases);
    if (cls == NULL) return NULL;
    if (xp_add_methods(cls, xp_methods, xp_method_names, XP_N_METHODS, mask >> XP_N_LINES,
                       leaf == xp_wrapper_type ? NULL : leaf) < 0) {
        Py_DECREF(cls);
        return NULL;
    }
    /* Behind the names' back, and last, for a new name in the class would compute the slots anew. */
#define XP_SERVE(suite, slot) \
    if (xp_serves(type, Py_##slot) && cls->suite->slot == NULL) cls->suite->slot = xp_##slot;
    XP_SERVE(tp_as_number, nb_int)
    XP_SERVE(tp_as_number, nb_float)
    XP_SERVE(tp_as_async, am_await)
    XP_SERVE(tp_as_mapping, mp_subscript)
    XP_SERVE(tp_as_sequence, sq_inplace_concat)
    XP_SERVE(tp_as_sequence, sq_inplace_repeat)
    return (PyObject *)cls;
}

/* ---- the cache ------------------------------------------------------------------------------------------- */

/* The table behind the cache: a new reference to the class. Set by _proxy/proxy.pyx. */
static PyObject *(*xp_find_class)(PyTypeObject *leaf, PyTypeObject *type);

/* Counts the deaths of target types: their addresses can come back with other types. */
static uint64_t xp_deaths;

typedef struct {
    PyTypeObject *type, *cls;  /* both borrowed */
    unsigned int version;      /* of type, which changes with its methods; 0 where it has none */
} xp_entry;

enum { XP_CACHE_SIZE = 128 };

/* One a thread where threads run at once, so that no entry is read while it is written. */
#ifdef Py_GIL_DISABLED
static XCTX_TLS
#else
static
#endif
struct {
    uint64_t deaths;
    xp_entry entries[XP_CACHE_SIZE];
} xp_cache;

static PyTypeObject *xp_class_missed(PyTypeObject *type, xp_entry *entry) {
    PyTypeObject *cls = (PyTypeObject *)xp_find_class(xp_wrapper_type, type);
    if (cls == NULL) return NULL;
    Py_DECREF(cls);  /* the table has one, for as long as `type` lives */
    uint64_t deaths = xctx_load_u64(&xp_deaths);
    if (xp_cache.deaths != deaths) {
        memset(xp_cache.entries, 0, sizeof(xp_cache.entries));
        xp_cache.deaths = deaths;
    }
    entry->type = type;
    entry->cls = cls;
    entry->version = type->tp_version_tag;
    return cls;
}

/* The class of a plain LocalWrapper around an object of `type`, which the caller keeps alive. Borrowed. */
static inline PyTypeObject *xp_class_of(PyTypeObject *type) {
    size_t hash = (size_t)(uintptr_t)type >> 4;
    xp_entry *entry = &xp_cache.entries[(hash ^ (hash >> 8)) % XP_CACHE_SIZE];
    if (XCTX_LIKELY(entry->type == type && entry->version == type->tp_version_tag
                    && xp_cache.deaths == xctx_load_u64(&xp_deaths)))
        return entry->cls;
    return xp_class_missed(type, entry);
}

/* A new wrapper of class `leaf` around obj. */
static PyObject *xp_wrap_new(PyTypeObject *leaf, PyObject *obj) {
    PyObject *end = obj;
    /* What a wrapper of a wrapper can do is what the innermost one can. */
    while (XCTX_UNLIKELY(xp_check(end)) && XP(end)->kind == XP_WRAPPER)
        end = XP(end)->target != NULL ? XP(end)->target : XP(end)->source;
    if (XCTX_LIKELY(leaf == xp_wrapper_type)) {
        PyTypeObject *cls = xp_class_of(Py_TYPE(end));
        return cls != NULL ? xp_wrapper_alloc(cls, obj) : NULL;
    }
    PyObject *cls = xp_find_class(leaf, Py_TYPE(end));
    if (cls == NULL) return NULL;
    PyObject *self = xp_wrapper_alloc((PyTypeObject *)cls, obj);  /* counts cls */
    Py_DECREF(cls);
    return self;
}

/* ---- LocalWrapper ---------------------------------------------------------------------------------------- */

static PyObject *xp_wrapper_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    Py_ssize_t n = PyVectorcall_NARGS(nargsf) + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
    if (XCTX_LIKELY(n == 1 && (kwnames == NULL || xp_same(PyTuple_GET_ITEM(kwnames, 0), xp_s_wrapped))))
        return xp_wrap_new((PyTypeObject *)type, args[0]);
    return PyErr_Format(PyExc_TypeError, "LocalWrapper() takes exactly one argument, wrapped (%zd given)", n);
}

/* For subclasses written in Python, whose __init__ may want more than the first argument. */
static PyObject *xp_wrapper_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *obj = PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0)
                  : kwargs != NULL ? PyDict_GetItemWithError(kwargs, xp_s_wrapped) : NULL;
    if (obj == NULL)
        return PyErr_Occurred() ? NULL
             : PyErr_Format(PyExc_TypeError, "%.100s() missing argument: wrapped", type->tp_name);
    return xp_wrap_new(type, obj);
}

/* `type(wrapper)(obj)` is another wrapper, of what class obj needs. */
static PyObject *xp_class_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    return xp_wrapper_new(type->tp_base, args, kwargs);
}

/* Nothing is left to do, whatever a subclass hands up. */
static int xp_wrapper_init(PyObject *self, PyObject *args, PyObject *kwargs) { return 0; }

static PyObject *xp_wrapper_wrapped(PyObject *self, void *closure) { return Py_NewRef(XP(self)->source); }

static PyGetSetDef xp_wrapper_getset[] = {
    {"wrapped", xp_wrapper_wrapped, NULL, "The object behind the wrapper. It never changes.", NULL},
    {NULL, NULL, NULL, NULL, NULL}
};

PyDoc_STRVAR(xp_wrapper_doc,
"LocalWrapper(wrapped)\n--\n\n"
"A transparent proxy of one object, for the thread that made it.\n\n"
"Every operation goes to the object, and on free-threaded builds leaves the object's reference count alone, so that\n"
"threads which share the object do not wait for each other. What the object is can be seen on its wrapper: callable(),\n"
"isinstance() and the abstract base classes answer as for the object. `wrapper += x` is a new wrapper where the object\n"
"does not change in place.\n\n"
"Thread-safety: a wrapper never changes. Give each thread its own, for its own reference count is not spared.\n"
"Lifetime: owns the object.");

static PyMethodDef xp_wrapper_methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations: LocalWrapper[Config]."},
    {NULL, NULL, 0, NULL}
};

static PyType_Slot xp_wrapper_slots[] = {
    {Py_tp_methods, xp_wrapper_methods},
    {Py_tp_doc, (void *)xp_wrapper_doc},
    {Py_tp_new, xp_wrapper_new},
    {Py_tp_init, xp_wrapper_init},
    {Py_tp_getset, xp_wrapper_getset},
    {0, NULL}
};
static PyType_Spec xp_wrapper_spec = {
    "xctx.LocalWrapper", sizeof(xp_object), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE, xp_wrapper_slots  /* inherits the GC's */
};

/* ---- LocalProxy ------------------------------------------------------------------------------------------ */

/* Decides once what kind of source it is. Set by _proxy/proxy.pyx. */
static int (*xp_configure)(PyObject *self, PyObject *args, PyObject *kwargs);

static PyObject *xp_local_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *self = type->tp_alloc(type, 0);  /* zeroed, and tracked: traverse takes it as it is */
    if (self == NULL) return NULL;
    XP(self)->call = xp_vectorcall;
    XP(self)->kind = XP_UNSET;
    return self;
}

static int xp_local_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    return xp_configure(self, args, kwargs != NULL ? kwargs : Py_None);
}

static PyObject *xp_local_current(PyObject *self, PyObject *unused) { return xp_resolve(self); }

PyDoc_STRVAR(xp_local_doc,
"LocalProxy(source, name=None, *, unbound_message=None)\n--\n\n"
"A transparent proxy of whatever the source yields at the time of each operation.\n\n"
"source: an xlocal, a local or another object, of which `name` is an attribute; a ContextVar; a LocalProxy; or a\n"
"callable. With the latter three, `name` is an attribute of what they yield. A name may be dotted.\n\n"
"With nothing behind it an operation raises RuntimeError with unbound_message; but bool() is False, dir() is empty and\n"
"repr() says so.\n\n"
"Thread-safety: a proxy never changes; the object it finds is held until the operation is over.\n"
"Lifetime: owns the source, and nothing of what it yields.");

static PyMethodDef xp_local_methods[] = {
    {"_get_current_object", xp_local_current, METH_NOARGS,
     "_get_current_object($self)\n--\n\nThe object behind the proxy."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations: LocalProxy[Request]."},
    {NULL, NULL, 0, NULL}
};

/* ---- the base, and everything together --------------------------------------------------------------------- */

static PyObject *xp_mro_entries(PyObject *self, PyObject *bases) {
    PyObject *target = xp_resolve(self);
    PyObject *entries = target != NULL ? PyTuple_Pack(1, target) : NULL;
    Py_XDECREF(target);
    return entries;
}

static PyMethodDef xp_base_methods[] = {
    XP_METHODS(XP_DEF, XP_SKIP)
    {"__mro_entries__", xp_mro_entries, METH_O, "A class behind a proxy can be a base of a class."},
    {NULL, NULL, 0, NULL}
};

static PyMemberDef xp_base_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(xp_object, weakrefs), READONLY, NULL},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(xp_object, call), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}
};

#define XP_SLOT(slot, family, f) {Py_##slot, (void *)xp_##slot},
static PyType_Slot xp_base_slots[] = {
    {Py_tp_doc, "What all proxies have in common: the slots that every object has."},
    {Py_tp_dealloc, xp_dealloc},
    {Py_tp_traverse, xp_traverse},
    {Py_tp_getattro, xp_getattro},
    {Py_tp_setattro, xp_setattro},
    {Py_tp_methods, xp_base_methods},
    {Py_tp_members, xp_base_members},
    XP_SLOTS(XP_SLOT, XP_SKIP)
    {0, NULL}
};
static PyType_Spec xp_base_spec = {
    "xctx._proxy.proxy.Proxy", sizeof(xp_object), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
        | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    xp_base_slots
};

static PyTypeObject *xp_make_type(PyType_Spec *spec, PyTypeObject *base) {
    PyObject *bases = base != NULL ? PyTuple_Pack(1, (PyObject *)base) : NULL;
    PyObject *type = PyType_FromSpecWithBases(spec, bases);
    Py_XDECREF(bases);
    return (PyTypeObject *)type;
}

static PyTypeObject *xp_make_local_type(void) {
    static PyMethodDef methods[XP_N_METHODS + sizeof(xp_local_methods) / sizeof(*xp_local_methods)];
    PyType_Slot slots[XP_N_LINES + 8];
    PyType_Spec spec = {
        "xctx.LocalProxy", sizeof(xp_local), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
            | Py_TPFLAGS_HAVE_VECTORCALL, slots
    };
    int n = 0, m = 0, i;
    slots[n++] = (PyType_Slot){Py_tp_doc, (void *)xp_local_doc};
    slots[n++] = (PyType_Slot){Py_tp_new, xp_local_new};
    slots[n++] = (PyType_Slot){Py_tp_init, xp_local_init};
    slots[n++] = (PyType_Slot){Py_tp_dealloc, xp_dealloc};
    slots[n++] = (PyType_Slot){Py_tp_traverse, xp_traverse};
    slots[n++] = (PyType_Slot){Py_tp_richcompare, xp_tp_richcompare};
    slots[n++] = (PyType_Slot){Py_tp_methods, methods};
    for (i = 0; i < XP_N_LINES; i++)
        if (xp_lines[i].slot != Py_tp_descr_get && xp_lines[i].slot != Py_tp_descr_set)
            slots[n++] = (PyType_Slot){xp_lines[i].slot, xp_lines[i].function};
    slots[n] = (PyType_Slot){0, NULL};
    for (i = 0; i < XP_N_METHODS; i++)
        if (strcmp(xp_methods[i].ml_name, "__set_name__") != 0) methods[m++] = xp_methods[i];
    memcpy(methods + m, xp_local_methods, sizeof(xp_local_methods));
    return xp_make_type(&spec, xp_base_type);
}

/* Once, when the module is imported. `plain` is an empty class written in Python. */
static int xp_init(PyObject *implicit_names, PyObject *plain, PyObject *union_type) {
    xp_union_type = (PyTypeObject *)Py_NewRef(union_type);
    xp_no_next = (void *)((PyTypeObject *)plain)->tp_iternext;
#define XP_INTERN(ident, text) if ((xp_s_##ident = PyUnicode_InternFromString(text)) == NULL) return -1;
    XP_NAMES(XP_INTERN)
#undef XP_INTERN
#define XP_INTERN(method, call) if ((xp_n##method = PyUnicode_InternFromString(#method)) == NULL) return -1;
    XP_METHODS(XP_INTERN, XP_INTERN)
#undef XP_INTERN
    if ((xp_default_message = PyUnicode_InternFromString("object is not bound")) == NULL) return -1;
    xp_implicit_names = Py_NewRef(implicit_names);
    xp_wrap = xp_wrap_new;
    if ((xp_base_type = xp_make_type(&xp_base_spec, NULL)) == NULL) return -1;
    if ((xp_wrapper_type = xp_make_type(&xp_wrapper_spec, xp_base_type)) == NULL) return -1;
    xp_wrapper_type->tp_vectorcall = xp_wrapper_vectorcall;
    if ((xp_local_type = xp_make_local_type()) == NULL) return -1;
#ifdef Py_GIL_DISABLED
    if ((xp_method_type = xp_make_type(&xp_method_spec, xp_base_type)) == NULL) return -1;
    if ((xp_iterator_type = xp_make_type(&xp_iterator_spec, xp_base_type)) == NULL) return -1;
    xp_immortal(xp_method_type);
    xp_immortal(xp_iterator_type);
#endif
    return 0;
}

#endif
