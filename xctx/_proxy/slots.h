/* The table: every operation that a proxy hands on, one line each.
 *
 * A line reads: when, slot, family, what does it.
 *   family  - the shape of the slot: its function is written once, as XP_DEF_<family>, below.
 *   when    - ALWAYS: every proxy has the slot. It is asked for the operand on the other side, whatever the target is
 *             (`[1] + proxy`), or every object has it (`repr`).
 *             IF: a LocalWrapper has it where its target's type has it, for CPython and programs tell by the slot
 *             what the object is (`callable`, `iter`, `operator.index`, `collections.abc`). A LocalProxy has it
 *             always: its target changes.
 *
 * Left out, with the reason:
 *   tp_getattr, tp_setattr    of old; tp_getattro and tp_setattro serve
 *   tp_clear                  see _proxy/proxy.h
 *   tp_finalize, tp_del       the death of a proxy is not the death of its target
 *   bf_releasebuffer          the buffer belongs to the target, which releases it
 *   tp_descr_*, __set_name__  on LocalProxy: in a class body there is no target yet (werkzeug leaves them out too)
 *   __new__, __init__, __init_subclass__, __slots__, __subclasshook__, __class_getitem__ on the class
 *                             belong to the proxy's own class
 *   __prepare__, __mro_entries__, __getnewargs__, __getstate__, __missing__, __match_args__, __annotations__ ...
 *                             are asked of the object, so tp_getattro hands them on
 *   __deepcopy__              the same; where the target has none, __reduce_ex__ leads copy.deepcopy to the target
 */
#ifndef XCTX_PROXY_SLOTS_H
#define XCTX_PROXY_SLOTS_H

#include "xctx/_proxy/proxy.h"

#define XP_SLOTS(ALWAYS, IF) \
    ALWAYS(tp_repr, REPR, PyObject_Repr) \
    ALWAYS(tp_str, UNARY, PyObject_Str) \
    ALWAYS(tp_richcompare, COMPARE, PyObject_RichCompare) \
    IF(tp_hash, HASH, PyObject_Hash) \
    IF(tp_call, CALL, PyVectorcall_Call) \
    IF(tp_iter, ITER, PyObject_GetIter) \
    IF(tp_iternext, NEXT, tp_iternext) \
    IF(tp_descr_get, DESCR_GET, tp_descr_get) \
    IF(tp_descr_set, DESCR_SET, tp_descr_set) \
    \
    ALWAYS(nb_bool, BOOL, PyObject_IsTrue) \
    ALWAYS(nb_negative, UNARY, PyNumber_Negative) \
    ALWAYS(nb_positive, UNARY, PyNumber_Positive) \
    ALWAYS(nb_absolute, UNARY, PyNumber_Absolute) \
    ALWAYS(nb_invert, UNARY, PyNumber_Invert) \
    IF(nb_int, UNARY, PyNumber_Long) \
    IF(nb_float, UNARY, PyNumber_Float) \
    IF(nb_index, UNARY, PyNumber_Index) \
    \
    ALWAYS(nb_add, BINARY, PyNumber_Add) \
    ALWAYS(nb_subtract, BINARY, PyNumber_Subtract) \
    ALWAYS(nb_multiply, BINARY, PyNumber_Multiply) \
    ALWAYS(nb_matrix_multiply, BINARY, PyNumber_MatrixMultiply) \
    ALWAYS(nb_true_divide, BINARY, PyNumber_TrueDivide) \
    ALWAYS(nb_floor_divide, BINARY, PyNumber_FloorDivide) \
    ALWAYS(nb_remainder, BINARY, PyNumber_Remainder) \
    ALWAYS(nb_divmod, BINARY, PyNumber_Divmod) \
    ALWAYS(nb_power, POWER, PyNumber_Power) \
    ALWAYS(nb_lshift, BINARY, PyNumber_Lshift) \
    ALWAYS(nb_rshift, BINARY, PyNumber_Rshift) \
    ALWAYS(nb_and, BINARY, PyNumber_And) \
    ALWAYS(nb_xor, BINARY, PyNumber_Xor) \
    ALWAYS(nb_or, BINARY, PyNumber_Or) \
    \
    ALWAYS(nb_inplace_add, INPLACE, PyNumber_InPlaceAdd) \
    ALWAYS(nb_inplace_subtract, INPLACE, PyNumber_InPlaceSubtract) \
    ALWAYS(nb_inplace_multiply, INPLACE, PyNumber_InPlaceMultiply) \
    ALWAYS(nb_inplace_matrix_multiply, INPLACE, PyNumber_InPlaceMatrixMultiply) \
    ALWAYS(nb_inplace_true_divide, INPLACE, PyNumber_InPlaceTrueDivide) \
    ALWAYS(nb_inplace_floor_divide, INPLACE, PyNumber_InPlaceFloorDivide) \
    ALWAYS(nb_inplace_remainder, INPLACE, PyNumber_InPlaceRemainder) \
    ALWAYS(nb_inplace_power, INPLACE_POWER, PyNumber_InPlacePower) \
    ALWAYS(nb_inplace_lshift, INPLACE, PyNumber_InPlaceLshift) \
    ALWAYS(nb_inplace_rshift, INPLACE, PyNumber_InPlaceRshift) \
    ALWAYS(nb_inplace_and, INPLACE, PyNumber_InPlaceAnd) \
    ALWAYS(nb_inplace_xor, INPLACE, PyNumber_InPlaceXor) \
    ALWAYS(nb_inplace_or, INPLACE, PyNumber_InPlaceOr) \
    \
    IF(mp_length, LENGTH, PyObject_Size) \
    IF(mp_subscript, KEY, PyObject_GetItem) \
    IF(mp_ass_subscript, SET_KEY, PyObject_SetItem) \
    IF(sq_length, LENGTH, PyObject_Size) \
    IF(sq_contains, CONTAINS, PySequence_Contains) \
    IF(sq_concat, BINARY, PySequence_Concat) \
    IF(sq_repeat, REPEAT, PySequence_Repeat) \
    IF(sq_inplace_concat, INPLACE, PySequence_InPlaceConcat) \
    IF(sq_inplace_repeat, INPLACE_REPEAT, PySequence_InPlaceRepeat) \
    IF(sq_item, INDEX, sq_item) \
    IF(sq_ass_item, SET_INDEX, sq_ass_item) \
    \
    IF(bf_getbuffer, BUFFER, PyObject_GetBuffer) \
    IF(am_await, ASYNC, am_await) \
    IF(am_aiter, ASYNC, am_aiter) \
    IF(am_anext, ASYNC, am_anext) \
    IF(am_send, SEND, PyIter_Send)

/* Special methods without a slot, which CPython looks up in the type. Same columns; the last one is what the call
 * does with `target`, `args` and `nargs`. */
#define XP_METHODS(ALWAYS, IF) \
    ALWAYS(__format__, xp_format(target, args, nargs)) \
    ALWAYS(__dir__, PyObject_Dir(target)) \
    ALWAYS(__sizeof__, xp_special(target, name, args, nargs, "type %.100s doesn't define %U")) \
    ALWAYS(__copy__, xp_module_call("copy", "copy", target)) \
    ALWAYS(__reduce__, xp_reduce(target)) \
    ALWAYS(__reduce_ex__, xp_reduce(target)) \
    ALWAYS(__array_ufunc__, xp_array_ufunc(args, nargs, kwnames)) \
    IF(__round__, xp_special(target, name, args, nargs, "type %.100s doesn't define %U method")) \
    IF(__trunc__, xp_module_call("math", "trunc", target)) \
    IF(__floor__, xp_module_call("math", "floor", target)) \
    IF(__ceil__, xp_module_call("math", "ceil", target)) \
    IF(__complex__, PyObject_CallOneArg((PyObject *)&PyComplex_Type, target)) \
    IF(__bytes__, PyObject_CallOneArg((PyObject *)&PyBytes_Type, target)) \
    IF(__fspath__, PyOS_FSPath(target)) \
    IF(__length_hint__, xp_special(target, name, args, nargs, NULL)) \
    IF(__reversed__, PyObject_CallOneArg((PyObject *)&PyReversed_Type, target)) \
    IF(__instancecheck__, xp_check_class(PyObject_IsInstance, target, args, nargs)) \
    IF(__subclasscheck__, xp_check_class(PyObject_IsSubclass, target, args, nargs)) \
    IF(__enter__, xp_special(target, name, args, nargs, XP_NO_WITH)) \
    IF(__exit__, xp_special(target, name, args, nargs, XP_NO_WITH)) \
    IF(__aenter__, xp_special(target, name, args, nargs, XP_NO_ASYNC_WITH)) \
    IF(__aexit__, xp_special(target, name, args, nargs, XP_NO_ASYNC_WITH)) \
    IF(__set_name__, xp_special(target, name, args, nargs, "type %.100s doesn't define %U")) \
    IF(__replace__, xp_module_replace(target, args, nargs, kwnames))

#define XP_NO_WITH "'%.200s' object does not support the context manager protocol (missed %U method)"
#define XP_NO_ASYNC_WITH \
    "'%.200s' object does not support the asynchronous context manager protocol (missed %U method)"

#define XP_HOLD(self, target, error) \
    PyObject *owned, *target = xp_hold(self, &owned); \
    if (XCTX_UNLIKELY(target == NULL)) return error;
#define XP_DROP() Py_XDECREF(owned)

static PyObject *(*xp_wrap)(PyTypeObject *leaf, PyObject *obj);

/* What `proxy op= other` leaves in the variable: the proxy where the target changed itself, otherwise the result,
 * which a LocalWrapper wraps anew because its own target never changes. Takes over result. */
static PyObject *xp_rebind(PyObject *self, PyObject *target, PyObject *result) {
    if (result == target) {
        Py_DECREF(result);
        return Py_NewRef(self);
    }
    if (result != NULL && result != Py_NotImplemented && XP(self)->kind == XP_WRAPPER && !xp_check(result)) {
        PyObject *anew = xp_wrap(Py_TYPE(self)->tp_base, result);
        Py_DECREF(result);
        return anew;
    }
    return result;
}

/* The way of nearly every call, which leaves nothing to do afterwards: a wrapper, and an operand that is no proxy. */
#define XP_STRAIGHT(self, call) if (XCTX_LIKELY(XP(self)->target != NULL)) return call;
#define XP_STRAIGHT_WITH(self, b, call) if (XCTX_LIKELY(!xp_suspect(b) && XP(self)->target != NULL)) return call;

/* ---- the families ---------------------------------------------------------------------------------------- */

#define XP_DEF_UNARY(slot, f) \
    static PyObject *xp_##slot(PyObject *self) { \
        XP_STRAIGHT(self, f(XP(self)->target)) \
        XP_HOLD(self, target, NULL) \
        PyObject *result = f(target); \
        XP_DROP(); \
        return result; \
    }

/* Either side may be the proxy, or both. */
#define XP_DEF_BINARY(slot, f) \
    static PyObject *xp_##slot(PyObject *a, PyObject *b) { \
        XP_STRAIGHT_WITH(a, b, f(XP(a)->target, b)) /* b is none, so a is the proxy */ \
        PyObject *owned_a, *owned_b, *result = NULL; \
        a = xp_operand(a, &owned_a); \
        if (XCTX_UNLIKELY(a == NULL)) return NULL; \
        b = xp_operand(b, &owned_b); \
        if (XCTX_LIKELY(b != NULL)) result = f(a, b); \
        Py_XDECREF(owned_b); \
        Py_XDECREF(owned_a); \
        return result; \
    }

/* The other side's reflected method is asked by f, so self is the proxy. */
#define XP_DEF_INPLACE(slot, f) \
    static PyObject *xp_##slot(PyObject *self, PyObject *b) { \
        XP_HOLD(self, target, NULL) \
        PyObject *owned_b, *result = NULL; \
        b = xp_operand(b, &owned_b); \
        if (XCTX_LIKELY(b != NULL)) result = xp_rebind(self, target, f(target, b)); \
        Py_XDECREF(owned_b); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_POWER(slot, f) \
    static PyObject *xp_##slot(PyObject *a, PyObject *b, PyObject *c) { \
        PyObject *owned_a, *owned_b = NULL, *owned_c = NULL, *result = NULL; \
        a = xp_operand(a, &owned_a); \
        if (a != NULL) b = xp_operand(b, &owned_b); \
        if (a != NULL && b != NULL) c = xp_operand(c, &owned_c); \
        if (a != NULL && b != NULL && c != NULL) result = f(a, b, c); \
        Py_XDECREF(owned_c); \
        Py_XDECREF(owned_b); \
        Py_XDECREF(owned_a); \
        return result; \
    }

#define XP_DEF_INPLACE_POWER(slot, f) \
    static PyObject *xp_##slot(PyObject *self, PyObject *b, PyObject *c) { \
        XP_HOLD(self, target, NULL) \
        PyObject *owned_b, *owned_c = NULL, *result = NULL; \
        b = xp_operand(b, &owned_b); \
        if (b != NULL) c = xp_operand(c, &owned_c); \
        if (b != NULL && c != NULL) result = xp_rebind(self, target, f(target, b, c)); \
        Py_XDECREF(owned_c); \
        Py_XDECREF(owned_b); \
        XP_DROP(); \
        return result; \
    }

/* Unbound is equal to itself only, as in werkzeug: containers compare what they hold. */
#define XP_DEF_COMPARE(slot, f) \
    static PyObject *xp_##slot(PyObject *self, PyObject *b, int op) { \
        XP_STRAIGHT_WITH(self, b, f(XP(self)->target, b, op)) \
        PyObject *owned, *target = xp_hold(self, &owned); \
        if (target == NULL) { \
            if ((op != Py_EQ && op != Py_NE) || !xp_unbound_raised()) return NULL; \
            PyErr_Clear(); \
            return Py_NewRef(Py_NotImplemented); \
        } \
        PyObject *owned_b, *result = NULL; \
        b = xp_operand(b, &owned_b); \
        if (XCTX_LIKELY(b != NULL)) result = f(target, b, op); \
        Py_XDECREF(owned_b); \
        XP_DROP(); \
        return result; \
    }

/* PyObject_Size, and first what it would look for first. */
static inline Py_ssize_t xp_size(PyObject *target) {
    PySequenceMethods *m = Py_TYPE(target)->tp_as_sequence;
    return XCTX_LIKELY(m != NULL && m->sq_length != NULL) ? m->sq_length(target) : PyObject_Size(target);
}

#define XP_DEF_OF(type, slot, f) \
    static type xp_##slot(PyObject *self) { \
        XP_STRAIGHT(self, f(XP(self)->target)) \
        XP_HOLD(self, target, -1) \
        type result = f(target); \
        XP_DROP(); \
        return result; \
    }
#define XP_DEF_LENGTH(slot, f) XP_DEF_OF(Py_ssize_t, slot, xp_size)
#define XP_DEF_HASH(slot, f) XP_DEF_OF(Py_hash_t, slot, f)

/* Unbound is false, and has a repr. */
#define XP_DEF_BOOL(slot, f) \
    static int xp_##slot(PyObject *self) { \
        PyObject *owned, *target = xp_hold(self, &owned); \
        if (target == NULL) { \
            if (!xp_unbound_raised()) return -1; \
            PyErr_Clear(); \
            return 0; \
        } \
        int result = f(target); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_REPR(slot, f) \
    static PyObject *xp_##slot(PyObject *self) { \
        PyObject *owned, *target = xp_hold(self, &owned); \
        if (target == NULL) { \
            if (!xp_unbound_raised()) return NULL; \
            PyErr_Clear(); \
            const char *type = strrchr(Py_TYPE(self)->tp_name, '.'); \
            return PyUnicode_FromFormat("<%s unbound>", type != NULL ? type + 1 : Py_TYPE(self)->tp_name); \
        } \
        PyObject *result = f(target); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_KEY(slot, f) \
    static PyObject *xp_##slot(PyObject *self, PyObject *key) { \
        if (XCTX_LIKELY(!xp_suspect(key) && XP(self)->target != NULL)) { \
            PyObject *borrowed = XP(self)->target; \
            PyMappingMethods *m = Py_TYPE(borrowed)->tp_as_mapping;  /* what f would look for first */ \
            if (XCTX_LIKELY(m != NULL && m->mp_subscript != NULL)) return m->mp_subscript(borrowed, key); \
            return f(borrowed, key); \
        } \
        XP_HOLD(self, target, NULL) \
        PyObject *owned_key, *result = NULL; \
        key = xp_operand(key, &owned_key); \
        if (XCTX_LIKELY(key != NULL)) result = f(target, key); \
        Py_XDECREF(owned_key); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_SET_KEY(slot, f) \
    static int xp_##slot(PyObject *self, PyObject *key, PyObject *value) { \
        XP_HOLD(self, target, -1) \
        PyObject *owned_key; \
        int result = -1; \
        key = xp_operand(key, &owned_key); \
        if (XCTX_LIKELY(key != NULL)) result = value != NULL ? f(target, key, value) : PyObject_DelItem(target, key); \
        Py_XDECREF(owned_key); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_CONTAINS(slot, f) \
    static int xp_##slot(PyObject *self, PyObject *item) { \
        XP_STRAIGHT_WITH(self, item, f(XP(self)->target, item)) \
        XP_HOLD(self, target, -1) \
        PyObject *owned_item; \
        int result = -1; \
        item = xp_operand(item, &owned_item); \
        if (XCTX_LIKELY(item != NULL)) result = f(target, item); \
        Py_XDECREF(owned_item); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_REPEAT(slot, f) \
    static PyObject *xp_##slot(PyObject *self, Py_ssize_t n) { \
        XP_HOLD(self, target, NULL) \
        PyObject *result = f(target, n); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_INPLACE_REPEAT(slot, f) \
    static PyObject *xp_##slot(PyObject *self, Py_ssize_t n) { \
        XP_HOLD(self, target, NULL) \
        PyObject *result = xp_rebind(self, target, f(target, n)); \
        XP_DROP(); \
        return result; \
    }

/* Straight to the slot: PySequence_GetItem has added the length to a negative index before, and must not twice. */
#define XP_DEF_INDEX(slot, f) \
    static PyObject *xp_##slot(PyObject *self, Py_ssize_t i) { \
        XP_HOLD(self, target, NULL) \
        PySequenceMethods *m = Py_TYPE(target)->tp_as_sequence; \
        PyObject *result = m != NULL && m->f != NULL ? m->f(target, i) : PySequence_GetItem(target, i); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_SET_INDEX(slot, f) \
    static int xp_##slot(PyObject *self, Py_ssize_t i, PyObject *value) { \
        XP_HOLD(self, target, -1) \
        PySequenceMethods *m = Py_TYPE(target)->tp_as_sequence; \
        int result = m != NULL && m->f != NULL ? m->f(target, i, value) \
                   : value != NULL ? PySequence_SetItem(target, i, value) : PySequence_DelItem(target, i); \
        XP_DROP(); \
        return result; \
    }

#ifdef Py_GIL_DISABLED
/* An iterator of CPython's own holds what it iterates over, and counts it. */
static PyObject *xp_iterator_new(PyObject *wrapper, PyObject *target);
#  define XP_DEF_ITER(slot, f) \
    static PyObject *xp_##slot(PyObject *self) { \
        XP_HOLD(self, target, NULL) \
        PyObject *result = owned == NULL ? xp_iterator_new(self, target) : f(target); \
        XP_DROP(); \
        return result; \
    }
#else
#  define XP_DEF_ITER XP_DEF_UNARY
#endif

/* The end of an iteration is NULL without an error. */
#define XP_DEF_NEXT(slot, f) \
    static PyObject *xp_##slot(PyObject *self) { \
        XP_HOLD(self, target, NULL) \
        PyObject *result = NULL; \
        if (XCTX_LIKELY(Py_TYPE(target)->f != NULL)) result = Py_TYPE(target)->f(target); \
        else PyErr_Format(PyExc_TypeError, "'%.200s' object is not an iterator", Py_TYPE(target)->tp_name); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_ASYNC(slot, f) \
    static PyObject *xp_##slot(PyObject *self) { \
        XP_HOLD(self, target, NULL) \
        PyAsyncMethods *m = Py_TYPE(target)->tp_as_async; \
        PyObject *result = NULL; \
        if (XCTX_LIKELY(m != NULL && m->f != NULL)) result = m->f(target); \
        else if (PyGen_CheckExact(target) && xp_awaitable(target, #f)) result = xp_wrap(xp_wrapper_type, target); \
        else PyErr_Format(PyExc_TypeError, "'%.200s' object does not have " #f, Py_TYPE(target)->tp_name); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_SEND(slot, f) \
    static PySendResult xp_##slot(PyObject *self, PyObject *value, PyObject **result) { \
        PyObject *owned, *target = xp_hold(self, &owned); \
        *result = NULL; \
        if (target == NULL) return PYGEN_ERROR; \
        PySendResult kind = f(target, value, result); \
        XP_DROP(); \
        return kind; \
    }

/* A generator made awaitable by types.coroutine. CPython takes it as it is, but from __await__ it takes only an
 * iterator that is none: a wrapper is one. */
static int xp_awaitable(PyObject *target, const char *slot) {
    int result = 0;
    if (strcmp(slot, "am_await") != 0) return 0;
    PyObject *code = PyObject_GetAttrString(target, "gi_code");
    if (code == NULL) PyErr_Clear();
    else result = PyCode_Check(code) && (((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE);
    Py_XDECREF(code);
    return result;
}

#define XP_DEF_DESCR_GET(slot, f) \
    static PyObject *xp_##slot(PyObject *self, PyObject *obj, PyObject *type) { \
        XP_HOLD(self, target, NULL) \
        descrgetfunc get = Py_TYPE(target)->f; \
        PyObject *result = get != NULL ? get(target, obj, type) : Py_NewRef(self); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_DESCR_SET(slot, f) \
    static int xp_##slot(PyObject *self, PyObject *obj, PyObject *value) { \
        XP_HOLD(self, target, -1) \
        descrsetfunc set = Py_TYPE(target)->f; \
        int result = -1; \
        if (set != NULL) result = set(target, obj, value); \
        else PyErr_SetString(PyExc_AttributeError, value != NULL ? "__set__" : "__delete__"); \
        XP_DROP(); \
        return result; \
    }

/* view->obj becomes the target, which outlives the view. */
#define XP_DEF_BUFFER(slot, f) \
    static int xp_##slot(PyObject *self, Py_buffer *view, int flags) { \
        PyObject *owned, *target = xp_hold(self, &owned); \
        if (target == NULL) { \
            view->obj = NULL; \
            return -1; \
        } \
        int result = f(target, view, flags); \
        XP_DROP(); \
        return result; \
    }

#define XP_DEF_CALL(slot, f) \
    static PyObject *xp_##slot(PyObject *self, PyObject *args, PyObject *kwargs) { return f(self, args, kwargs); }

#define XP_DEFINE(slot, family, f) XP_DEF_##family(slot, f)
XP_SLOTS(XP_DEFINE, XP_DEFINE)
#undef XP_DEFINE

/* ---- special methods ------------------------------------------------------------------------------------- */

/* Calls the special method `name` of target's type, as the interpreter would. `missing` is a TypeError's message that
 * takes the type and the name, or NULL where NotImplemented is the answer. */
static PyObject *xp_special(PyObject *target, PyObject *name, PyObject *const *args, Py_ssize_t nargs,
                            const char *missing) {
    PyTypeObject *type = Py_TYPE(target);
    PyObject *stack[5] = {target}, *result = NULL;
#ifdef Py_GIL_DISABLED
    PyObject *method = _PyType_LookupRef(type, name);
#else
    PyObject *method = Py_XNewRef(_PyType_Lookup(type, name));  /* owned: the call may change the class */
#endif
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

static PyObject *xp_module_call(const char *module, const char *function, PyObject *target) {
    PyObject *m = PyImport_ImportModule(module), *f = m != NULL ? PyObject_GetAttrString(m, function) : NULL;
    PyObject *result = f != NULL ? PyObject_CallOneArg(f, target) : NULL;
    Py_XDECREF(f);
    Py_XDECREF(m);
    return result;
}

/* copy.replace(target, ...), which looks in the class. */
static PyObject *xp_module_replace(PyObject *target, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    PyObject *method = PyObject_GetAttrString(target, "__replace__");
    if (method == NULL) return NULL;
    PyObject *result = PyObject_Vectorcall(method, args, (size_t)nargs, kwnames);
    Py_DECREF(method);
    return result;
}

static PyObject *xp_format(PyObject *target, PyObject *const *args, Py_ssize_t nargs) {
    if (nargs != 1) return PyErr_Format(PyExc_TypeError, "__format__() takes exactly one argument (%zd given)", nargs);
    return PyObject_Format(target, args[0]);
}

static PyObject *xp_check_class(int (*check)(PyObject *, PyObject *), PyObject *target, PyObject *const *args,
                                Py_ssize_t nargs) {
    if (nargs != 1) return PyErr_Format(PyExc_TypeError, "takes exactly one argument (%zd given)", nargs);
    int result = check(args[0], target);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* Pickle and copy get the target itself, by a function of the standard library: what is pickled needs no xctx to be
 * read, and two proxies of one object are one object again. */
static PyObject *xp_reduce(PyObject *target) {
    PyObject *module = PyImport_ImportModule("operator"), *result = NULL;
    PyObject *getitem = module != NULL ? PyObject_GetAttrString(module, "getitem") : NULL;
    if (getitem != NULL) result = Py_BuildValue("O((O)i)", getitem, target, 0);
    Py_XDECREF(getitem);
    Py_XDECREF(module);
    return result;
}

/* numpy asks every operand's class: `ufunc.method(*inputs, **kwargs)` once more, with targets for proxies. */
static PyObject *xp_array_ufunc(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs < 2) return PyErr_Format(PyExc_TypeError, "__array_ufunc__() needs a ufunc and a method");
    PyObject *method = PyObject_GetAttr(args[0], args[1]), *result = NULL;
    PyObject **stack = PyMem_Calloc((size_t)(nargs + nkw), sizeof(PyObject *));  /* owned references */
    if (method == NULL || stack == NULL) goto done;
    for (Py_ssize_t i = 2; i < nargs + nkw; i++) {
        PyObject *arg = args[i];
        if (i >= nargs && PyTuple_CheckExact(arg)) {  /* out=(...) */
            Py_ssize_t n = PyTuple_GET_SIZE(arg);
            PyObject *copy = stack[i] = PyTuple_New(n);
            for (Py_ssize_t j = 0; copy != NULL && j < n; j++) {
                PyObject *item = PyTuple_GET_ITEM(arg, j);
                item = xp_check(item) ? xp_resolve(item) : Py_NewRef(item);
                if (item == NULL) goto done;
                PyTuple_SET_ITEM(copy, j, item);
            }
        }
        else stack[i] = xp_check(arg) ? xp_resolve(arg) : Py_NewRef(arg);
        if (stack[i] == NULL) goto done;
    }
    result = PyObject_Vectorcall(method, stack + 2, (size_t)(nargs - 2), kwnames);
done:
    for (Py_ssize_t i = 2; stack != NULL && i < nargs + nkw; i++) Py_XDECREF(stack[i]);
    if (stack == NULL && method != NULL) PyErr_NoMemory();
    PyMem_Free(stack);
    Py_XDECREF(method);
    return result;
}

/* The name of each special method, interned. */
#define XP_METHOD_NAME(method, call) static PyObject *xp_n##method;
XP_METHODS(XP_METHOD_NAME, XP_METHOD_NAME)
#undef XP_METHOD_NAME

#define XP_DEFINE(method, call) \
    static PyObject *xp_m##method(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) { \
        PyObject *name = xp_n##method; \
        (void)name; (void)args; (void)nargs; (void)kwnames; \
        if (XP_UNBOUND_DIR(#method, self)) return PyList_New(0); \
        XP_HOLD(self, target, NULL) \
        PyObject *result = call; \
        XP_DROP(); \
        return result; \
    }
#define XP_UNBOUND_DIR(method, self) (strcmp(method, "__dir__") == 0 && xp_is_unbound(self))

/* Whether there is nothing behind it; an error of another kind is left for the operation to meet again. */
static int xp_is_unbound(PyObject *self) {
    PyObject *owned;
    if (xp_hold(self, &owned) != NULL) {
        Py_XDECREF(owned);
        return 0;
    }
    int result = xp_unbound_raised();
    PyErr_Clear();
    return result;
}

XP_METHODS(XP_DEFINE, XP_DEFINE)
#undef XP_DEFINE

#endif
