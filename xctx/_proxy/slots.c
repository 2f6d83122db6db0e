/* The functions of the table in slots.h: one definition for each family of slots, and the special methods. */
#include "xctx/_proxy/slots.h"
#include "xctx/_proxy/class.h"
#include "xctx/_proxy/nogil.h"

/* ---- holding the target ---------------------------------------------------------------------------------- */

/* Declares `target`, and the reference `owned` that DROP() releases at the end of the operation. */
#define HOLD(self, target, error) \
    PyObject *owned, *target = proxy_hold(self, &owned); \
    if (XCTX_UNLIKELY(target == NULL)) return error;
#define DROP() proxy_drop(owned)

/* Nearly every call goes this way, which leaves nothing to do afterwards: the proxy has a target of its own, and the other
 * operand is not a proxy. */
#define STRAIGHT(self, call) { \
        PyObject *direct = proxy_direct(self); \
        if (XCTX_LIKELY(direct != NULL)) return call; \
    }
#define STRAIGHT_WITH(self, b, call) \
    if (XCTX_LIKELY(!proxy_suspect(b))) STRAIGHT(self, call)

/* What `proxy op= other` leaves in the variable: the proxy where the target changed itself, otherwise the result. A
 * LocalWrapper wraps the result, because its own target never changes. Consumes the reference to `result`. */
static PyObject *rebind(PyObject *self, PyObject *target, PyObject *result) {
    if (result == target) {
        Py_DECREF(result);
        return Py_NewRef(self);
    }
    if (result != NULL && result != Py_NotImplemented && PROXY(self)->kind <= PROXY_LAZY && !proxy_check(result)) {
        PyObject *wrapper = proxy_wrap(Py_TYPE(self)->tp_base, result);
        Py_DECREF(result);
        return wrapper;
    }
    return result;
}

/* ---- operators ------------------------------------------------------------------------------------------- */

#define DEFINE_UNARY(slot, f) \
    static PyObject *slot_##slot(PyObject *self) { \
        STRAIGHT(self, f(direct)) \
        HOLD(self, target, NULL) \
        PyObject *result = f(target); \
        DROP(); \
        return result; \
    }

/* Either operand may be the proxy, or both. */
#define DEFINE_BINARY(slot, f) \
    static PyObject *slot_##slot(PyObject *a, PyObject *b) { \
        STRAIGHT_WITH(a, b, f(direct, b)) /* b is not a proxy, so a is */ \
        PyObject *owned_a, *owned_b, *result = NULL; \
        a = proxy_operand(a, &owned_a); \
        if (XCTX_UNLIKELY(a == NULL)) return NULL; \
        b = proxy_operand(b, &owned_b); \
        if (XCTX_LIKELY(b != NULL)) result = f(a, b); \
        proxy_drop(owned_b); \
        proxy_drop(owned_a); \
        return result; \
    }

/* CPython calls the slot of the left operand only, so self is the proxy; f asks the right one for its reflected method. */
#define DEFINE_INPLACE(slot, f) \
    static PyObject *slot_##slot(PyObject *self, PyObject *b) { \
        HOLD(self, target, NULL) \
        PyObject *owned_b, *result = NULL; \
        b = proxy_operand(b, &owned_b); \
        if (XCTX_LIKELY(b != NULL)) result = rebind(self, target, f(target, b)); \
        proxy_drop(owned_b); \
        DROP(); \
        return result; \
    }

#define DEFINE_POWER(slot, f) \
    static PyObject *slot_##slot(PyObject *a, PyObject *b, PyObject *c) { \
        PyObject *owned_a, *owned_b = NULL, *owned_c = NULL, *result = NULL; \
        a = proxy_operand(a, &owned_a); \
        if (a != NULL) b = proxy_operand(b, &owned_b); \
        if (a != NULL && b != NULL) c = proxy_operand(c, &owned_c); \
        if (a != NULL && b != NULL && c != NULL) result = f(a, b, c); \
        proxy_drop(owned_c); \
        proxy_drop(owned_b); \
        proxy_drop(owned_a); \
        return result; \
    }

#define DEFINE_INPLACE_POWER(slot, f) \
    static PyObject *slot_##slot(PyObject *self, PyObject *b, PyObject *c) { \
        HOLD(self, target, NULL) \
        PyObject *owned_b, *owned_c = NULL, *result = NULL; \
        b = proxy_operand(b, &owned_b); \
        if (b != NULL) c = proxy_operand(c, &owned_c); \
        if (b != NULL && c != NULL) result = rebind(self, target, f(target, b, c)); \
        proxy_drop(owned_c); \
        proxy_drop(owned_b); \
        DROP(); \
        return result; \
    }

/* An unbound proxy compares by identity, as in werkzeug: before 3.14, an object of a class written in Python whose __eq__ cannot
 * be looked up does so too. From 3.14 on the error of such a look-up is raised, and so it is here. */
#if PY_VERSION_HEX >= 0x030E0000
#  define COMPARES_UNBOUND(op) 0
#else
#  define COMPARES_UNBOUND(op) (((op) == Py_EQ || (op) == Py_NE) && proxy_unbound_raised(self))
#endif

/* Before 3.13 weakref.proxy() leads here without a reference to what it stands for, on either side. */
#if PY_VERSION_HEX >= 0x030D0000
#  define HOLD_BOTH(self, b)
#  define DROP_BOTH(self, b)
#else
#  define HOLD_BOTH(self, b) Py_INCREF(self); Py_INCREF(b);
#  define DROP_BOTH(self, b) Py_DECREF(self); Py_DECREF(b);
#endif

#define DEFINE_COMPARE(slot, f) \
    static inline PyObject *compare_##slot(PyObject *self, PyObject *b, int op) { \
        STRAIGHT_WITH(self, b, f(direct, b, op)) \
        PyObject *owned, *target = proxy_hold(self, &owned); \
        if (target == NULL) { \
            if (!COMPARES_UNBOUND(op)) return NULL; \
            PyErr_Clear(); \
            return Py_NewRef(Py_NotImplemented); \
        } \
        PyObject *owned_b, *result = NULL; \
        b = proxy_operand(b, &owned_b); \
        if (XCTX_LIKELY(b != NULL)) result = f(target, b, op); \
        proxy_drop(owned_b); \
        DROP(); \
        return result; \
    } \
    static PyObject *slot_##slot(PyObject *self, PyObject *b, int op) { \
        HOLD_BOTH(self, b) \
        PyObject *result = compare_##slot(self, b, op); \
        DROP_BOTH(self, b) \
        return result; \
    }

/* ---- hash, truth, repr ----------------------------------------------------------------------------------- */

#define DEFINE_HASH(slot, f) \
    static Py_hash_t slot_##slot(PyObject *self) { \
        STRAIGHT(self, f(direct)) \
        HOLD(self, target, -1) \
        Py_hash_t result = f(target); \
        DROP(); \
        return result; \
    }

/* An unbound proxy is false, and has a repr. */
#define DEFINE_BOOL(slot, f) \
    static int slot_##slot(PyObject *self) { \
        PyObject *owned, *target = proxy_hold(self, &owned); \
        if (target == NULL) { \
            if (!proxy_unbound_raised(self)) return -1; \
            PyErr_Clear(); \
            return 0; \
        } \
        int result = f(target); \
        DROP(); \
        return result; \
    }

#define DEFINE_REPR(slot, f) \
    static PyObject *slot_##slot(PyObject *self) { \
        PyObject *owned, *target = proxy_hold(self, &owned); \
        if (target == NULL) { \
            if (!proxy_unbound_raised(self)) return NULL; \
            PyErr_Clear(); \
            const char *type = strrchr(Py_TYPE(self)->tp_name, '.'); \
            return PyUnicode_FromFormat("<%s unbound>", type != NULL ? type + 1 : Py_TYPE(self)->tp_name); \
        } \
        PyObject *result = f(target); \
        DROP(); \
        return result; \
    }

/* ---- containers ------------------------------------------------------------------------------------------ */

/* Looks first into the slot where PyObject_Size would look first. */
static inline Py_ssize_t size_of(PyObject *target) {
    PySequenceMethods *m = Py_TYPE(target)->tp_as_sequence;
    return XCTX_LIKELY(m != NULL && m->sq_length != NULL) ? m->sq_length(target) : PyObject_Size(target);
}

#define DEFINE_LENGTH(slot, f) \
    static Py_ssize_t slot_##slot(PyObject *self) { \
        STRAIGHT(self, f(direct)) \
        HOLD(self, target, -1) \
        Py_ssize_t result = f(target); \
        DROP(); \
        return result; \
    }

#define DEFINE_KEY(slot, f) \
    static PyObject *slot_##slot(PyObject *self, PyObject *key) { \
        PyObject *borrowed = XCTX_LIKELY(!proxy_suspect(key)) ? proxy_direct(self) : NULL; \
        if (XCTX_LIKELY(borrowed != NULL)) { \
            PyMappingMethods *m = Py_TYPE(borrowed)->tp_as_mapping;  /* where f would look first */ \
            if (XCTX_LIKELY(m != NULL && m->mp_subscript != NULL)) return m->mp_subscript(borrowed, key); \
            return f(borrowed, key); \
        } \
        HOLD(self, target, NULL) \
        PyObject *owned_key, *result = NULL; \
        key = proxy_operand(key, &owned_key); \
        if (XCTX_LIKELY(key != NULL)) result = f(target, key); \
        proxy_drop(owned_key); \
        DROP(); \
        return result; \
    }

#define DEFINE_SET_KEY(slot, f) \
    static int slot_##slot(PyObject *self, PyObject *key, PyObject *value) { \
        HOLD(self, target, -1) \
        PyObject *owned_key; \
        int result = -1; \
        key = proxy_operand(key, &owned_key); \
        if (XCTX_LIKELY(key != NULL)) result = value != NULL ? f(target, key, value) : PyObject_DelItem(target, key); \
        proxy_drop(owned_key); \
        DROP(); \
        return result; \
    }

#define DEFINE_CONTAINS(slot, f) \
    static int slot_##slot(PyObject *self, PyObject *item) { \
        STRAIGHT_WITH(self, item, f(direct, item)) \
        HOLD(self, target, -1) \
        PyObject *owned_item; \
        int result = -1; \
        item = proxy_operand(item, &owned_item); \
        if (XCTX_LIKELY(item != NULL)) result = f(target, item); \
        proxy_drop(owned_item); \
        DROP(); \
        return result; \
    }

#define DEFINE_REPEAT(slot, f) \
    static PyObject *slot_##slot(PyObject *self, Py_ssize_t n) { \
        HOLD(self, target, NULL) \
        PyObject *result = f(target, n); \
        DROP(); \
        return result; \
    }

#define DEFINE_INPLACE_REPEAT(slot, f) \
    static PyObject *slot_##slot(PyObject *self, Py_ssize_t n) { \
        HOLD(self, target, NULL) \
        PyObject *result = rebind(self, target, f(target, n)); \
        DROP(); \
        return result; \
    }

/* Straight to the target's slot. The caller has added the length to a negative index already, and PySequence_GetItem
 * would add it again. */
#define DEFINE_INDEX(slot, f) \
    static PyObject *slot_##slot(PyObject *self, Py_ssize_t i) { \
        HOLD(self, target, NULL) \
        PySequenceMethods *m = Py_TYPE(target)->tp_as_sequence; \
        PyObject *result = m != NULL && m->f != NULL ? m->f(target, i) : PySequence_GetItem(target, i); \
        DROP(); \
        return result; \
    }

#define DEFINE_SET_INDEX(slot, f) \
    static int slot_##slot(PyObject *self, Py_ssize_t i, PyObject *value) { \
        HOLD(self, target, -1) \
        PySequenceMethods *m = Py_TYPE(target)->tp_as_sequence; \
        int result = m != NULL && m->f != NULL ? m->f(target, i, value) \
                   : value != NULL ? PySequence_SetItem(target, i, value) : PySequence_DelItem(target, i); \
        DROP(); \
        return result; \
    }

/* view->obj becomes the target, which outlives the view. */
#define DEFINE_BUFFER(slot, f) \
    static int slot_##slot(PyObject *self, Py_buffer *view, int flags) { \
        PyObject *owned, *target = proxy_hold(self, &owned); \
        if (target == NULL) { \
            view->obj = NULL; \
            return -1; \
        } \
        int result = f(target, view, flags); \
        DROP(); \
        return result; \
    }

/* ---- iteration and coroutines ---------------------------------------------------------------------------- */

#ifdef Py_GIL_DISABLED
/* CPython's own iterator would hold what it iterates over, and count it. */
#  define DEFINE_ITER(slot, f) \
    static PyObject *slot_##slot(PyObject *self) { \
        HOLD(self, target, NULL) \
        PyObject *result = owned == NULL ? proxy_iterator_new(self, target) : f(target); \
        DROP(); \
        return result; \
    }
#else
#  define DEFINE_ITER DEFINE_UNARY
#endif

/* The end of an iteration is NULL without an error. */
#define DEFINE_NEXT(slot, f) \
    static PyObject *slot_##slot(PyObject *self) { \
        HOLD(self, target, NULL) \
        PyObject *result = NULL; \
        if (XCTX_LIKELY(Py_TYPE(target)->f != NULL)) result = Py_TYPE(target)->f(target); \
        else PyErr_Format(PyExc_TypeError, "'%.200s' object is not an iterator", Py_TYPE(target)->tp_name); \
        DROP(); \
        return result; \
    }

#define DEFINE_ASYNC(slot, f) \
    static PyObject *slot_##slot(PyObject *self) { \
        HOLD(self, target, NULL) \
        PyAsyncMethods *m = Py_TYPE(target)->tp_as_async; \
        PyObject *result = NULL; \
        if (XCTX_LIKELY(m != NULL && m->f != NULL)) result = m->f(target); \
        else PyErr_Format(PyExc_TypeError, "'%.200s' object does not have " #f, Py_TYPE(target)->tp_name); \
        DROP(); \
        return result; \
    }

/* Whether `target` is a generator that types.coroutine made awaitable. */
static int awaitable_generator(PyObject *target) {
    if (!PyGen_CheckExact(target)) return 0;
    PyObject *code = PyObject_GetAttrString(target, "gi_code");
    int result = 0;
    if (code == NULL) PyErr_Clear();
    else result = PyCode_Check(code) && (((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE);
    Py_XDECREF(code);
    return result;
}

/* CPython awaits such a generator as it is, but does not accept one as the result of __await__, which must be a plain
 * iterator: a wrapper of the generator is one. */
#define DEFINE_AWAIT(slot, f) \
    static PyObject *slot_##slot(PyObject *self) { \
        HOLD(self, target, NULL) \
        PyAsyncMethods *m = Py_TYPE(target)->tp_as_async; \
        PyObject *result = NULL; \
        if (XCTX_LIKELY(m != NULL && m->f != NULL)) result = m->f(target); \
        else if (awaitable_generator(target)) result = proxy_wrap(proxy_wrapper_type, target); \
        else PyErr_Format(PyExc_TypeError, "'%.200s' object does not have " #f, Py_TYPE(target)->tp_name); \
        DROP(); \
        return result; \
    }

#define DEFINE_SEND(slot, f) \
    static PySendResult slot_##slot(PyObject *self, PyObject *value, PyObject **result) { \
        PyObject *owned, *target = proxy_hold(self, &owned); \
        *result = NULL; \
        if (target == NULL) return PYGEN_ERROR; \
        PySendResult kind = f(target, value, result); \
        DROP(); \
        return kind; \
    }

/* ---- calls and descriptors ------------------------------------------------------------------------------- */

#define DEFINE_CALL(slot, f) \
    static PyObject *slot_##slot(PyObject *self, PyObject *args, PyObject *kwargs) { return f(self, args, kwargs); }

#define DEFINE_DESCR_GET(slot, f) \
    static PyObject *slot_##slot(PyObject *self, PyObject *obj, PyObject *type) { \
        HOLD(self, target, NULL) \
        descrgetfunc get = Py_TYPE(target)->f; \
        PyObject *result = get != NULL ? get(target, obj, type) : Py_NewRef(self); \
        DROP(); \
        return result; \
    }

#define DEFINE_DESCR_SET(slot, f) \
    static int slot_##slot(PyObject *self, PyObject *obj, PyObject *value) { \
        HOLD(self, target, -1) \
        descrsetfunc set = Py_TYPE(target)->f; \
        int result = -1; \
        if (set != NULL) result = set(target, obj, value); \
        else PyErr_SetString(PyExc_AttributeError, value != NULL ? "__set__" : "__delete__"); \
        DROP(); \
        return result; \
    }

/* ---- the slots of the table ------------------------------------------------------------------------------ */

#define DEFINE_SLOT(slot, family, f) DEFINE_##family(slot, f)
PROXY_SLOTS(DEFINE_SLOT, DEFINE_SLOT)

#define SKIP(...)
#define ENTRY(slot, family, f) {Py_##slot, (void *)slot_##slot},
const PyType_Slot proxy_always_slots[] = {PROXY_SLOTS(ENTRY, SKIP)};
const PyType_Slot proxy_if_slots[] = {PROXY_SLOTS(SKIP, ENTRY)};

void *proxy_slot(int slot) {
    static const PyType_Slot all[] = {PROXY_SLOTS(ENTRY, ENTRY) {0, NULL}};
    const PyType_Slot *line = all;
    while (line->slot != 0 && line->slot != slot) line++;
    return line->pfunc;
}

/* ---- special methods ------------------------------------------------------------------------------------- */

/* Calls the special method `name` of the target's type, as the interpreter would. `missing` is a TypeError's message that
 * takes the type and the name, or NULL where NotImplemented is the answer. */
static PyObject *call_special(PyObject *target, PyObject *name, PyObject *const *args, Py_ssize_t nargs,
                              const char *missing) {
    PyTypeObject *type = Py_TYPE(target);
    PyObject *stack[5] = {target}, *result = NULL;
    PyObject *method = xctx_find_in_type(type, name);  /* owned: the call may change the class */
    if (method == NULL) {
        if (missing == NULL) return Py_NewRef(Py_NotImplemented);
        return PyErr_Format(PyExc_TypeError, missing, type->tp_name, name);
    }
    if (nargs > 4) {
        PyErr_Format(PyExc_TypeError, "%U() takes at most 4 arguments (%zd given)", name, nargs);
    }
    else if (PyType_HasFeature(Py_TYPE(method), Py_TPFLAGS_METHOD_DESCRIPTOR)) {
        for (Py_ssize_t i = 0; i < nargs; i++) stack[i + 1] = args[i];
        result = PyObject_Vectorcall(method, stack, (size_t)nargs + 1, NULL);
    }
    else {
        descrgetfunc get = Py_TYPE(method)->tp_descr_get;
        PyObject *bound = get != NULL ? get(method, target, (PyObject *)type) : Py_NewRef(method);
        if (bound != NULL) {
            result = PyObject_Vectorcall(bound, args, (size_t)nargs, NULL);
            Py_DECREF(bound);
        }
    }
    Py_DECREF(method);
    return result;
}

/* Calls a function of the standard library. */
static PyObject *call_function(const char *module, const char *function, PyObject *target) {
    PyObject *m = PyImport_ImportModule(module), *f = m != NULL ? PyObject_GetAttrString(m, function) : NULL;
    PyObject *result = f != NULL ? PyObject_CallOneArg(f, target) : NULL;
    Py_XDECREF(f);
    Py_XDECREF(m);
    return result;
}

/* copy.replace(target, ...), which looks for __replace__ in the class. */
static PyObject *call_replace(PyObject *target, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    PyObject *method = PyObject_GetAttrString(target, "__replace__");
    if (method == NULL) return NULL;
    PyObject *result = PyObject_Vectorcall(method, args, (size_t)nargs, kwnames);
    Py_DECREF(method);
    return result;
}

static PyObject *format_target(PyObject *target, PyObject *const *args, Py_ssize_t nargs) {
    if (nargs != 1) return PyErr_Format(PyExc_TypeError, "__format__() takes exactly one argument (%zd given)", nargs);
    return PyObject_Format(target, args[0]);
}

static PyObject *check_class(int (*check)(PyObject *, PyObject *), PyObject *target, PyObject *const *args,
                             Py_ssize_t nargs) {
    if (nargs != 1) return PyErr_Format(PyExc_TypeError, "takes exactly one argument (%zd given)", nargs);
    int result = check(args[0], target);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* Pickle and copy get the target itself, by a function of the standard library. So a pickle can be read without xctx, and
 * two proxies of one object become one object again. */
static PyObject *reduce_target(PyObject *target) {
    PyObject *module = PyImport_ImportModule("operator"), *result = NULL;
    PyObject *getitem = module != NULL ? PyObject_GetAttrString(module, "getitem") : NULL;
    if (getitem != NULL) result = Py_BuildValue("O((O)i)", getitem, target, 0);
    Py_XDECREF(getitem);
    Py_XDECREF(module);
    return result;
}

/* The target of a proxy, or the object itself. A new reference. */
static PyObject *without_proxy(PyObject *o) { return proxy_check(o) ? proxy_resolve(o) : Py_NewRef(o); }

/* A new tuple with targets in place of proxies. */
static PyObject *tuple_without_proxies(PyObject *tuple) {
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    PyObject *copy = PyTuple_New(n);
    for (Py_ssize_t i = 0; copy != NULL && i < n; i++) {
        PyObject *item = without_proxy(PyTuple_GET_ITEM(tuple, i));
        if (item == NULL) Py_CLEAR(copy);
        else PyTuple_SET_ITEM(copy, i, item);
    }
    return copy;
}

/* numpy asks the class of every operand. The answer is `ufunc.method(*inputs, **kwargs)` again, with targets in place of
 * proxies; `out=` is a tuple. */
static PyObject *call_ufunc(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    if (nargs < 2) return PyErr_Format(PyExc_TypeError, "__array_ufunc__() needs a ufunc and a method");
    Py_ssize_t n = nargs + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0), i;
    PyObject *method = PyObject_GetAttr(args[0], args[1]), *result = NULL;
    if (method == NULL) return NULL;
    PyObject **stack = PyMem_Calloc((size_t)n, sizeof(PyObject *));  /* owned references */
    if (stack == NULL) PyErr_NoMemory();
    for (i = 2; stack != NULL && i < n; i++) {
        stack[i] = i >= nargs && PyTuple_CheckExact(args[i]) ? tuple_without_proxies(args[i]) : without_proxy(args[i]);
        if (stack[i] == NULL) break;
    }
    if (stack != NULL && i == n) result = PyObject_Vectorcall(method, stack + 2, (size_t)(nargs - 2), kwnames);
    for (i = 2; stack != NULL && i < n; i++) Py_XDECREF(stack[i]);
    PyMem_Free(stack);
    Py_DECREF(method);
    return result;
}

#define NO_WITH "'%.200s' object does not support the context manager protocol (missed %U method)"
#define NO_ASYNC_WITH \
    "'%.200s' object does not support the asynchronous context manager protocol (missed %U method)"

/* State of the process: the interned name of each special method, made by proxy_slots_init(). */
#define DECLARE_NAME(method, call) static PyObject *name##method;
PROXY_METHODS(DECLARE_NAME, DECLARE_NAME)

/* dir() of an unbound proxy is empty; everything else raises. */
static PyObject *without_target(PyObject *self, PyObject *name) {
    if (name != name__dir__ || !proxy_unbound_raised(self)) return NULL;
    PyErr_Clear();
    return PyList_New(0);
}

#define DEFINE_METHOD(method, call) \
    static PyObject *special##method(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) { \
        PyObject *name = name##method, *owned, *target = proxy_hold(self, &owned); \
        (void)args; (void)nargs; (void)kwnames; \
        if (XCTX_UNLIKELY(target == NULL)) return without_target(self, name); \
        PyObject *result = call; \
        DROP(); \
        return result; \
    }
PROXY_METHODS(DEFINE_METHOD, DEFINE_METHOD)

#define METHOD_ENTRY(method, call) \
    {#method, (PyCFunction)(void (*)(void))special##method, METH_FASTCALL | METH_KEYWORDS, NULL},
const PyMethodDef proxy_always_methods[] = {PROXY_METHODS(METHOD_ENTRY, SKIP)};
PyMethodDef proxy_if_methods[] = {PROXY_METHODS(SKIP, METHOD_ENTRY)};

PyObject *proxy_if_method_names[PROXY_N_IF_METHODS];

int proxy_slots_init(void) {
#define INTERN(method, call) if ((name##method = PyUnicode_InternFromString(#method)) == NULL) return -1;
    PROXY_METHODS(INTERN, INTERN)
#undef INTERN
#define COPY_NAME(method, call) proxy_if_method_names[PROXY_METHOD##method] = name##method;
    PROXY_METHODS(SKIP, COPY_NAME)
#undef COPY_NAME
    return 0;
}
