/* The types: what every proxy has, what a LocalProxy has, and the class that a LocalWrapper gets for its target.
 *
 * CPython and programs infer from the slots of a class what its objects can do. A LocalWrapper's target never changes, so its
 * class can be exact: LocalWrapper itself has only the slots that every object has, and each target type gets a
 * subclass of it, made once, with the slots that the target type has.
 *
 *      Proxy --+-- LocalProxy                       every slot
 *              +-- LocalWrapper --+-- LocalWrapper[int]
 *                                 +-- LocalWrapper[list]
 *                                 +-- a subclass written in Python -- its own class for each target type
 *
 * The classes live in a table (proxy.pyx) that refers to target types weakly. In front of the table is a small cache, which
 * is read without a lock. A class in the cache is borrowed: the table keeps it as long as the target type lives, and a
 * caller that asks for it holds an object of that type. */
#include "xctx/_proxy/class.h"
#include "xctx/_proxy/nogil.h"
#include "xctx/_proxy/slots.h"
#include <structmember.h>

PyObject *(*proxy_find_class)(PyTypeObject *leaf, PyTypeObject *type);
int (*proxy_configure)(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *(*proxy_new_factory)(PyObject *factory);
uint64_t proxy_type_deaths;

/* State of the process, made by proxy_init(). */
static PyTypeObject *proxy_lazy_type;
static PyTypeObject *union_type;  /* of `int | str`, which isinstance() recognises by itself from 3.13 on */
static void *no_iternext;         /* what a class written in Python without __next__ has in tp_iternext */

/* The bits of the mask: one for each line of the table, and these. */
enum {
    BIT_METHODS = PROXY_N_IF_SLOTS,
    BIT_DATACLASS = PROXY_N_IF_SLOTS + PROXY_N_IF_METHODS,  /* the decorator may come after the first wrapper */
    N_BITS
};
_Static_assert(N_BITS <= 64, "each line needs a bit of its own in the mask");

/* ---- what a type can do ---------------------------------------------------------------------------------- */

static void *get_slot(PyTypeObject *type, int slot) {
    void *function = PyType_GetSlot(type, slot);
    if (slot == Py_tp_hash && function == (void *)PyObject_HashNotImplemented) return NULL;
    if (slot == Py_tp_iternext && function == no_iternext) return NULL;
    return function;
}

static int has_slot(PyTypeObject *type, int slot) { return get_slot(type, slot) != NULL; }

/* int("1"), float("1"), complex("1"), os.fspath("a"): int() and the others treat text themselves, without a slot. */
static int is_text(PyTypeObject *type) {
    return PyType_HasFeature(type, Py_TPFLAGS_UNICODE_SUBCLASS) || PyType_HasFeature(type, Py_TPFLAGS_BYTES_SUBCLASS)
        || PyType_IsSubtype(type, &PyByteArray_Type);
}

/* Slots that a type lacks although the operation works on its objects. The class gets them without a name. */
static int serves_slot(PyTypeObject *type, int slot) {
    switch (slot) {
    case Py_nb_int:
        return is_text(type) || has_slot(type, Py_nb_index)
            || xctx_type_has(type, proxy_if_method_names[PROXY_METHOD__trunc__]);
    case Py_nb_float: return is_text(type) || has_slot(type, Py_nb_index);
    case Py_mp_subscript: return PyType_IsSubtype(type, &PyType_Type);  /* list[int] */
    case Py_am_await: return type == &PyGen_Type;  /* types.coroutine */
    case Py_sq_inplace_concat: return has_slot(type, Py_sq_concat);  /* the result is wrapped */
    case Py_sq_inplace_repeat: return has_slot(type, Py_sq_repeat);
    }
    return 0;
}

/* Methods that a type lacks although the operation works on its objects. */
static int serves_method(PyTypeObject *type, int method) {
    switch (method) {
    /* A wrapper of text has nb_float, which these would use: they have to ask the text itself. */
    case PROXY_METHOD__floor__: case PROXY_METHOD__ceil__: case PROXY_METHOD__complex__: return is_text(type);
    case PROXY_METHOD__fspath__:
        return PyType_HasFeature(type, Py_TPFLAGS_UNICODE_SUBCLASS)
            || PyType_HasFeature(type, Py_TPFLAGS_BYTES_SUBCLASS);
    case PROXY_METHOD__instancecheck__: case PROXY_METHOD__subclasscheck__:
        return PyType_HasFeature(type, Py_TPFLAGS_TUPLE_SUBCLASS) || type == union_type;
    }
    return 0;
}

uint64_t proxy_mask(PyTypeObject *type) {
    uint64_t mask = 0;
    for (int i = 0; i < PROXY_N_IF_SLOTS; i++) {
        int slot = proxy_if_slots[i].slot;
        if (has_slot(type, slot) || serves_slot(type, slot)) mask |= (uint64_t)1 << i;
    }
    for (int i = 0; i < PROXY_N_IF_METHODS; i++)
        if (xctx_type_has(type, proxy_if_method_names[i]) || serves_method(type, i))
            mask |= (uint64_t)1 << (BIT_METHODS + i);
    if (xctx_type_has(type, proxy_name_dataclass_fields)) mask |= (uint64_t)1 << BIT_DATACLASS;
    return mask;
}

/* ---- the class for a target's type ----------------------------------------------------------------------- */

static PyObject *class_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* The slots of a proxy whose object is not known beforehand. Returns how many they are. */
static int slots_of_any_object(PyType_Slot *slots) {
    int n = 0;
    for (int i = 0; i < PROXY_N_IF_SLOTS; i++)
        switch (proxy_if_slots[i].slot) {
        case Py_tp_descr_get: case Py_tp_descr_set: case Py_bf_getbuffer: break;  /* see slots.h */
        default: slots[n++] = proxy_if_slots[i];
        }
    return n;
}

/* Adds the methods of `mask` to `cls`, except those that `leaf` defines. */
static int add_methods(PyTypeObject *cls, uint64_t mask, PyTypeObject *leaf) {
    for (int i = 0; i < PROXY_N_IF_METHODS; i++) {
        PyObject *name = proxy_if_method_names[i];
        if (!((mask >> (BIT_METHODS + i)) & 1)) continue;
        if (leaf != proxy_wrapper_type && xctx_type_has(leaf, name)) continue;
        PyObject *method = PyDescr_NewMethod(cls, &proxy_if_methods[i]);
        int done = method == NULL ? -1 : PyObject_SetAttr((PyObject *)cls, name, method);
        Py_XDECREF(method);
        if (done < 0) return -1;
    }
    return 0;
}

/* What a subclass written in Python defines itself stays as it is. */
PyObject *proxy_make_class(PyTypeObject *leaf, PyTypeObject *type, uint64_t mask, const char *name) {
    PyType_Slot slots[PROXY_N_IF_SLOTS + 8];
    PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, offsetof(ProxyObject, call), READONLY, NULL}, {NULL, 0, 0, 0, NULL}
    };
    PyType_Spec spec = {name, 0, 0, Py_TPFLAGS_DEFAULT, slots};
    int n = 0;
    spec.flags |= type->tp_flags & (Py_TPFLAGS_SEQUENCE | Py_TPFLAGS_MAPPING);  /* structural pattern matching */
    slots[n++] = (PyType_Slot){Py_tp_new, (void *)class_new};
    if (leaf == proxy_wrapper_type) slots[n++] = (PyType_Slot){Py_tp_dealloc, (void *)proxy_dealloc};
    if (leaf->tp_hash == proxy_wrapper_type->tp_hash && leaf->tp_richcompare == proxy_wrapper_type->tp_richcompare) {
        /* A type inherits these two together or not at all. */
        slots[n++] = (PyType_Slot){Py_tp_richcompare, proxy_slot(Py_tp_richcompare)};
        if (!has_slot(type, Py_tp_hash)) slots[n++] = (PyType_Slot){Py_tp_hash, (void *)PyObject_HashNotImplemented};
    }
    for (int i = 0; i < PROXY_N_IF_SLOTS; i++) {
        PyType_Slot line = proxy_if_slots[i];
        if (!((mask >> i) & 1) || !has_slot(type, line.slot)) continue;
        if (get_slot(leaf, line.slot) != get_slot(proxy_wrapper_type, line.slot)) continue;
        slots[n++] = line;
        if (line.slot == Py_tp_call) {
            spec.flags |= Py_TPFLAGS_HAVE_VECTORCALL;
            slots[n++] = (PyType_Slot){Py_tp_members, members};
        }
    }
    slots[n] = (PyType_Slot){0, NULL};
    PyTypeObject *cls = proxy_make_type(&spec, leaf);
    if (cls == NULL) return NULL;
    if (add_methods(cls, mask, leaf) < 0) {
        Py_DECREF(cls);
        return NULL;
    }
    /* Directly, and last: a new name in the class would make CPython compute its slots again. */
#define SERVE(suite, slot, Function) \
    if (serves_slot(type, Py_##slot) && cls->suite->slot == NULL) cls->suite->slot = (Function)proxy_slot(Py_##slot);
    SERVE(tp_as_number, nb_int, unaryfunc)
    SERVE(tp_as_number, nb_float, unaryfunc)
    SERVE(tp_as_async, am_await, unaryfunc)
    SERVE(tp_as_mapping, mp_subscript, binaryfunc)
    SERVE(tp_as_sequence, sq_inplace_concat, binaryfunc)
    SERVE(tp_as_sequence, sq_inplace_repeat, ssizeargfunc)
#undef SERVE
    return (PyObject *)cls;
}

/* ---- the cache in front of the table --------------------------------------------------------------------- */

typedef struct {
    PyTypeObject *type, *cls;  /* both borrowed */
    unsigned int version;      /* of `type`, which changes with its methods; 0 where it has none */
} ClassEntry;

enum { CLASS_CACHE_SIZE = 128 };

/* State of the thread where threads run at once, so that no entry is read while it is written; else of the process,
 * guarded by the GIL. */
#ifdef Py_GIL_DISABLED
static XCTX_TLS
#else
static
#endif
struct {
    uint64_t deaths;  /* proxy_type_deaths when the entries were last emptied */
    ClassEntry entries[CLASS_CACHE_SIZE];
} class_cache;

static PyTypeObject *class_missed(PyTypeObject *type, ClassEntry *entry) {
    PyTypeObject *cls = (PyTypeObject *)proxy_find_class(proxy_wrapper_type, type);
    if (cls == NULL) return NULL;
    Py_DECREF(cls);  /* the table owns one as long as `type` lives */
    uint64_t deaths = xctx_load_u64(&proxy_type_deaths);
    if (class_cache.deaths != deaths) {
        memset(class_cache.entries, 0, sizeof(class_cache.entries));
        class_cache.deaths = deaths;
    }
    entry->type = type;
    entry->cls = cls;
    entry->version = xctx_type_version(type);
    return cls;
}

/* The class of a plain LocalWrapper around an object of `type`, which the caller keeps alive. Borrowed. */
static inline PyTypeObject *class_for(PyTypeObject *type) {
    size_t hash = (size_t)(uintptr_t)type >> 4;
    ClassEntry *entry = &class_cache.entries[(hash ^ (hash >> 8)) % CLASS_CACHE_SIZE];
    if (XCTX_LIKELY(entry->type == type && entry->version == xctx_type_version(type)
                    && class_cache.deaths == xctx_load_u64(&proxy_type_deaths)))
        return entry->cls;
    return class_missed(type, entry);
}

/* ---- LocalWrapper ---------------------------------------------------------------------------------------- */

/* A new LocalWrapper of class `type`, which was made for objects of obj's type. */
static PyObject *wrapper_alloc(PyTypeObject *type, PyObject *obj) {
    ProxyObject *self;
    if (XCTX_LIKELY(type->tp_base == proxy_wrapper_type)) {
        self = PyObject_GC_New(ProxyObject, type);  /* counts the type */
        if (self == NULL) return NULL;
        self->weakrefs = NULL;
#ifdef Py_GIL_DISABLED
        self->spare = NULL;
#else
        self->function = self->bound = NULL;
#endif
    }
    else {
        self = (ProxyObject *)type->tp_alloc(type, 0);
        if (self == NULL) return NULL;
        PyObject_GC_UnTrack(self);
    }
    /* A wrapper never changes, so its final target is known now, unless a LocalProxy has to be asked for it each time, or a
     * lazy wrapper, which can be cleared before this one. */
    self->target = XCTX_LIKELY(!proxy_check(obj)) ? obj : PROXY(obj)->kind != PROXY_LAZY ? PROXY(obj)->target : NULL;
    self->source = Py_NewRef(obj);
    self->call = proxy_vectorcall;
    self->kind = PROXY_WRAPPER;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

PyObject *proxy_wrap(PyTypeObject *leaf, PyObject *obj) {
    PyObject *end = obj;
    /* What a wrapper of a wrapper can do is what the innermost one can do. */
    while (XCTX_UNLIKELY(proxy_check(end)) && PROXY(end)->kind == PROXY_WRAPPER)
        end = PROXY(end)->target != NULL ? PROXY(end)->target : PROXY(end)->source;
    if (XCTX_UNLIKELY(proxy_check(end)) && PROXY(end)->kind == PROXY_LAZY && PROXY(end)->target != NULL)
        end = PROXY(end)->target;
    if (XCTX_LIKELY(leaf == proxy_wrapper_type)) {
        PyTypeObject *cls = class_for(Py_TYPE(end));
        return cls != NULL ? wrapper_alloc(cls, obj) : NULL;
    }
    PyObject *cls = proxy_find_class(leaf, Py_TYPE(end));
    if (cls == NULL) return NULL;
    PyObject *self = wrapper_alloc((PyTypeObject *)cls, obj);  /* counts cls */
    Py_DECREF(cls);
    return self;
}

static PyObject *wrapper_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    Py_ssize_t n = PyVectorcall_NARGS(nargsf) + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
    if (XCTX_LIKELY(n == 1 && (kwnames == NULL || proxy_same_name(PyTuple_GET_ITEM(kwnames, 0), proxy_name_wrapped))))
        return proxy_wrap((PyTypeObject *)type, args[0]);
    return PyErr_Format(PyExc_TypeError, "LocalWrapper() takes exactly one argument, wrapped (%zd given)", n);
}

/* Used by subclasses written in Python, whose __init__ may take more than the first argument. */
static PyObject *wrapper_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *obj = PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0)
                  : kwargs != NULL ? PyDict_GetItemWithError(kwargs, proxy_name_wrapped) : NULL;
    if (obj == NULL)
        return PyErr_Occurred() ? NULL
             : PyErr_Format(PyExc_TypeError, "%.100s() missing argument: wrapped", type->tp_name);
    return proxy_wrap(type, obj);
}

/* `type(wrapper)(obj)` is another wrapper, of the class that obj needs. */
static PyObject *class_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    return wrapper_new(type->tp_base, args, kwargs);
}

/* Accepts what the __init__ of a subclass passes up: wrapper_new() has done everything. */
static int wrapper_init(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs)) { return 0; }

static PyObject *wrapper_wrapped(PyObject *self, void *Py_UNUSED(closure)) {
    if (PROXY(self)->kind != PROXY_LAZY) return Py_NewRef(PROXY(self)->source);
    PyObject *made = xctx_load_ptr((void **)&LAZY(self)->made);
    return made != NULL ? Py_NewRef(made) : proxy_make_target(self);
}

static PyGetSetDef wrapper_getset[] = {
    {"wrapped", wrapper_wrapped, NULL, "The object behind the wrapper. It never changes.", NULL},
    {NULL, NULL, NULL, NULL, NULL}
};

PyDoc_STRVAR(wrapper_doc,
"LocalWrapper(wrapped)\n--\n\n"
"A transparent proxy of one object, for the thread that made it.\n\n"
"Every operation goes to the object. On free-threaded builds an operation leaves the object's reference count alone, so\n"
"that threads which share the object do not slow each other down. The wrapper can do just what the object can do:\n"
"callable(), isinstance() and the abstract base classes answer as for the object. If the object cannot change in place,\n"
"`wrapper += x` gives a new wrapper.\n\n"
"Args:\n"
"    wrapped: the object.\n\n"
"Thread-safety: a wrapper never changes. Give each thread a wrapper of its own, because threads that share one all write\n"
"its reference count.\n"
"Lifetime: owns the object.");

static PyObject *wrapper_lazy(PyObject *cls, PyObject *factory) {
    if ((PyTypeObject *)cls != proxy_wrapper_type)
        return PyErr_Format(PyExc_TypeError, "lazy() is for LocalWrapper itself, and %.100s is a class derived from it",
                            ((PyTypeObject *)cls)->tp_name);
    PyObject *source = proxy_new_factory(factory);
    PyObject *self = source != NULL ? proxy_lazy_type->tp_alloc(proxy_lazy_type, 0) : NULL;
    if (self == NULL) {
        Py_XDECREF(source);
        return NULL;
    }
    PROXY(self)->source = source;
    PROXY(self)->call = proxy_vectorcall;
    PROXY(self)->kind = PROXY_LAZY;
    return self;
}

static PyMethodDef wrapper_methods[] = {
    {"lazy", wrapper_lazy, METH_O | METH_CLASS,
     "lazy($type, factory, /)\n--\n\n"
     "A wrapper of the object that `factory()` returns, which is called for the first operation that needs the object.\n\n"
     "The factory runs once: other threads and greenlets that need the object meanwhile wait for it. Where the factory\n"
     "raises, so does the operation, and the next operation calls it again. repr() does not call it. Because nobody knows\n"
     "beforehand what the object can do, the class of a lazy wrapper has every special method, as that of a LocalProxy.\n\n"
     "Args:\n"
     "    factory: a callable without arguments. It is released when it has returned.\n\n"
     "Raises:\n"
     "    TypeError: `factory` is not callable; or this is called on a class derived from LocalWrapper.\n"
     "    RuntimeError: by an operation: the factory itself uses the wrapper.\n\n"
     "Thread-safety: may be used by any thread."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations: LocalWrapper[Config]."},
    {NULL, NULL, 0, NULL}
};

static PyType_Slot wrapper_slots[] = {
    {Py_tp_methods, wrapper_methods},
    {Py_tp_doc, (void *)wrapper_doc},
    {Py_tp_new, (void *)wrapper_new},
    {Py_tp_init, (void *)wrapper_init},
    {Py_tp_getset, wrapper_getset},
    {0, NULL}
};
static PyType_Spec wrapper_spec = {
    "xctx.LocalWrapper", sizeof(ProxyObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE, wrapper_slots  /* inherits the GC's flag */
};

/* ---- lazy wrappers --------------------------------------------------------------------------------------- */

static int lazy_clear(PyObject *self) {
    PyObject *made = LAZY(self)->made;
    PROXY(self)->target = Py_None;  /* first: what is dropped below may run code that uses this */
    LAZY(self)->made = NULL;
#ifndef Py_GIL_DISABLED
    Py_CLEAR(PROXY(self)->function);
    Py_CLEAR(PROXY(self)->bound);
#endif
    Py_XDECREF(made);
    return 0;
}

/* Logs, debuggers and error reports show what there is; they must not call the factory. */
static PyObject *lazy_repr(PyObject *self) {
    PyObject *made = xctx_load_ptr((void **)&LAZY(self)->made);  /* borrowed: see step() in body.c */
    if (made == NULL) return PyObject_Repr(PROXY(self)->source);
    Py_INCREF(made);
    PyObject *shown = PyObject_Repr(made);
    Py_DECREF(made);
    return shown;
}

/* Has everything that a wrapper can have, as LocalProxy has, because what the object can do is not known yet. */
static PyTypeObject *make_lazy_type(void) {
    PyType_Slot slots[PROXY_N_IF_SLOTS + 8];
    PyType_Spec spec = {
        "xctx.LocalWrapper[lazy]", sizeof(LazyObject), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, slots
    };
    int n = 0;
    slots[n++] = (PyType_Slot){Py_tp_new, (void *)class_new};
    slots[n++] = (PyType_Slot){Py_tp_dealloc, (void *)proxy_dealloc};
    slots[n++] = (PyType_Slot){Py_tp_traverse, (void *)proxy_traverse};
    slots[n++] = (PyType_Slot){Py_tp_clear, (void *)lazy_clear};
    slots[n++] = (PyType_Slot){Py_tp_repr, (void *)lazy_repr};
    slots[n++] = (PyType_Slot){Py_tp_richcompare, proxy_slot(Py_tp_richcompare)};
    n += slots_of_any_object(slots + n);
    slots[n] = (PyType_Slot){0, NULL};
    PyTypeObject *cls = proxy_make_type(&spec, proxy_wrapper_type);
    for (int i = 0; cls != NULL && i < PROXY_N_IF_METHODS; i++) {
        if (i == PROXY_METHOD__set_name__) continue;
        PyObject *method = PyDescr_NewMethod(cls, &proxy_if_methods[i]);
        if (method == NULL || PyObject_SetAttr((PyObject *)cls, proxy_if_method_names[i], method) < 0) Py_CLEAR(cls);
        Py_XDECREF(method);
    }
    return cls;
}

/* ---- LocalProxy ------------------------------------------------------------------------------------------ */

static PyObject *local_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs)) {
    PyObject *self = type->tp_alloc(type, 0);  /* zeroed and tracked; proxy_traverse() can meet it like this */
    if (self == NULL) return NULL;
    PROXY(self)->call = proxy_vectorcall;
    PROXY(self)->kind = PROXY_UNSET;
    return self;
}

static int local_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    return proxy_configure(self, args, kwargs != NULL ? kwargs : Py_None);
}

static PyObject *local_current(PyObject *self, PyObject *Py_UNUSED(unused)) { return proxy_resolve(self); }

PyDoc_STRVAR(local_doc,
"LocalProxy(source, name=None, *, unbound_message=None)\n--\n\n"
"A transparent proxy of the object that the source yields at the time of each operation.\n\n"
"Args:\n"
"    source: an xlocal, a local or another object, of which `name` is an attribute; or a ContextVar, a LocalProxy or a\n"
"        callable, which yields the object itself, or an object of which `name` is an attribute.\n"
"    name: the attribute; a dotted name leads to an attribute of an attribute.\n"
"    unbound_message: what the RuntimeError says when there is no object.\n\n"
"Raises:\n"
"    TypeError: `source` is something else, or a store without a `name`; `name` is not a str.\n\n"
"If there is no object, an operation raises RuntimeError; but bool() is False, dir() is empty and repr() says so.\n\n"
"Thread-safety: a proxy never changes; the object that it finds is held until the operation is over.\n"
"Lifetime: owns the source, and not the object that the source yields.");

static PyMethodDef local_methods[] = {
    {"_get_current_object", local_current, METH_NOARGS,
     "_get_current_object($self)\n--\n\nThe object behind the proxy."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations: LocalProxy[Request]."},
    {NULL, NULL, 0, NULL}
};

enum { N_LOCAL_METHODS = sizeof(local_methods) / sizeof(*local_methods) };

static PyTypeObject *make_local_type(void) {
    static PyMethodDef methods[PROXY_N_IF_METHODS + N_LOCAL_METHODS];  /* the type refers to it */
    PyType_Slot slots[PROXY_N_IF_SLOTS + 12];
    PyType_Spec spec = {
        "xctx.LocalProxy", sizeof(LocalProxyObject), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
            | Py_TPFLAGS_HAVE_VECTORCALL, slots
    };
    int n = 0, m = 0;
    slots[n++] = (PyType_Slot){Py_tp_doc, (void *)local_doc};
    slots[n++] = (PyType_Slot){Py_tp_new, (void *)local_new};
    slots[n++] = (PyType_Slot){Py_tp_init, (void *)local_init};
    slots[n++] = (PyType_Slot){Py_tp_dealloc, (void *)proxy_dealloc};
    slots[n++] = (PyType_Slot){Py_tp_traverse, (void *)proxy_traverse};
    slots[n++] = (PyType_Slot){Py_tp_richcompare, proxy_slot(Py_tp_richcompare)};
    slots[n++] = (PyType_Slot){Py_tp_methods, methods};
    /* Inherited already, but a class written in Python takes `+` and `*` from what `__add__` and `__mul__` wrap in the first
     * class that has them. Without these lines that would be this class, with what sequences do. */
    slots[n++] = (PyType_Slot){Py_nb_add, proxy_slot(Py_nb_add)};
    slots[n++] = (PyType_Slot){Py_nb_multiply, proxy_slot(Py_nb_multiply)};
    slots[n++] = (PyType_Slot){Py_nb_inplace_add, proxy_slot(Py_nb_inplace_add)};
    slots[n++] = (PyType_Slot){Py_nb_inplace_multiply, proxy_slot(Py_nb_inplace_multiply)};
    n += slots_of_any_object(slots + n);
    slots[n] = (PyType_Slot){0, NULL};
    for (int i = 0; i < PROXY_N_IF_METHODS; i++)
        if (i != PROXY_METHOD__set_name__) methods[m++] = proxy_if_methods[i];
    memcpy(methods + m, local_methods, sizeof(local_methods));
    return proxy_make_type(&spec, proxy_base_type);
}

/* ---- the base, and everything together ------------------------------------------------------------------- */

static PyObject *mro_entries(PyObject *self, PyObject *Py_UNUSED(bases)) {
    PyObject *target = proxy_resolve(self);
    PyObject *entries = target != NULL ? PyTuple_Pack(1, target) : NULL;
    Py_XDECREF(target);
    return entries;
}

/* inspect.getattr_static, and so isinstance() with a protocol that has data members, looks there for what the object has. Every
 * other access to `__dict__` goes through tp_getattro. */
static PyObject *base_dict(PyObject *self, void *Py_UNUSED(closure)) {
    PyObject *target = proxy_resolve(self);
    PyObject *names = target != NULL ? PyObject_GetAttrString(target, "__dict__") : NULL;
    Py_XDECREF(target);
    if (names != NULL && !PyDict_Check(names)) {  /* that of a class is a mappingproxy, which is not what is looked for there */
        Py_CLEAR(names);
        PyErr_SetString(PyExc_AttributeError, "__dict__");
    }
    return names;
}

static PyGetSetDef base_getset[] = {
    {"__dict__", base_dict, NULL, "The attributes of the object behind the proxy.", NULL},
    {NULL, NULL, NULL, NULL, NULL}
};

static PyMemberDef base_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ProxyObject, weakrefs), READONLY, NULL},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(ProxyObject, call), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}
};

PyTypeObject *proxy_make_type(PyType_Spec *spec, PyTypeObject *base) {
    PyObject *bases = base != NULL ? PyTuple_Pack(1, (PyObject *)base) : NULL;
    if (base != NULL && bases == NULL) return NULL;
    PyObject *type = PyType_FromSpecWithBases(spec, bases);
    if (type == NULL && !PyErr_Occurred()) PyErr_NoMemory();  /* it does not always set an error itself */
    Py_XDECREF(bases);
    return (PyTypeObject *)type;
}

static PyTypeObject *make_base_type(void) {
    static PyMethodDef methods[PROXY_N_ALWAYS_METHODS + 2];  /* the type refers to it */
    PyType_Slot slots[PROXY_N_ALWAYS_SLOTS + 9];
    PyType_Spec spec = {
        "xctx._proxy.proxy.Proxy", sizeof(ProxyObject), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
            | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots
    };
    int n = 0;
    memcpy(methods, proxy_always_methods, sizeof(proxy_always_methods));
    methods[PROXY_N_ALWAYS_METHODS] = (PyMethodDef){
        "__mro_entries__", mro_entries, METH_O, "A class behind a proxy can be a base of a class."
    };
    slots[n++] = (PyType_Slot){Py_tp_doc, "What all proxies have in common: the slots that every object has."};
    slots[n++] = (PyType_Slot){Py_tp_dealloc, (void *)proxy_dealloc};
    slots[n++] = (PyType_Slot){Py_tp_traverse, (void *)proxy_traverse};
    slots[n++] = (PyType_Slot){Py_tp_getattro, (void *)proxy_getattro};
    slots[n++] = (PyType_Slot){Py_tp_setattro, (void *)proxy_setattro};
    slots[n++] = (PyType_Slot){Py_tp_methods, methods};
    slots[n++] = (PyType_Slot){Py_tp_members, base_members};
    slots[n++] = (PyType_Slot){Py_tp_getset, base_getset};
    memcpy(slots + n, proxy_always_slots, sizeof(proxy_always_slots));
    slots[n + PROXY_N_ALWAYS_SLOTS] = (PyType_Slot){0, NULL};
    return proxy_make_type(&spec, NULL);
}

int proxy_init(PyObject *implicit_names, PyObject *plain, PyObject *type_of_unions) {
    union_type = (PyTypeObject *)Py_NewRef(type_of_unions);
    no_iternext = (void *)((PyTypeObject *)plain)->tp_iternext;
    if (proxy_body_init(implicit_names) < 0 || proxy_slots_init() < 0) return -1;
    if ((proxy_base_type = make_base_type()) == NULL) return -1;
    if ((proxy_wrapper_type = proxy_make_type(&wrapper_spec, proxy_base_type)) == NULL) return -1;
    proxy_wrapper_type->tp_vectorcall = wrapper_vectorcall;
    if ((proxy_lazy_type = make_lazy_type()) == NULL) return -1;
    if ((proxy_local_type = make_local_type()) == NULL) return -1;
#ifdef Py_GIL_DISABLED
    if (proxy_nogil_init() < 0) return -1;
#endif
    return 0;
}
