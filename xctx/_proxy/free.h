/* What a LocalWrapper gives out on builds without a GIL so that its target's reference count stays still.
 *
 * A bound method and an iterator hold the object they came from. Where many threads use one object, each through a
 * wrapper of its own, that count is one cache line which all of them write. The two leaves here hold the wrapper
 * instead, which belongs to one thread, and borrow the target from it:
 *
 *      xp_method, xp_iterator ── source ──> LocalWrapper ── target ──> object
 *
 * They are proxies too, of the bound method or iterator that CPython would have made. It is made when somebody asks
 * for more than a call or a next item: `__self__`, repr, comparison, pickle ... all go through the table.
 *
 * What is left, and why: a method written in Python gets the object as an argument, and the interpreter counts the
 * arguments of Python code, and again each use of `self`. Dicts and sets are iterated by CPython's own iterators:
 * they lock the container at every step, so nothing would be won. */
#ifndef XCTX_PROXY_FREE_H
#define XCTX_PROXY_FREE_H

#include "xctx/_proxy/slots.h"

#ifdef Py_GIL_DISABLED

typedef struct {
    xp_object base;
    PyObject *function;  /* owned: a function or method descriptor of the target's class. Never changes */
} xp_method;

typedef struct {
    xp_object base;
    Py_ssize_t index;  /* of the next item, -1 after the end. Atomic: threads may share the iterator, as CPython's */
} xp_iterator;

/* Whether this thread made o: then no other one touches o's spare. */
static inline int xp_mine(PyObject *o) { return o->ob_tid == _Py_ThreadId(); }

static PyObject *xp_method_real(PyObject *self) {
    PyObject *function = ((xp_method *)self)->function, *target = XP(XP(self)->source)->target;
    return Py_TYPE(function)->tp_descr_get(function, target, (PyObject *)Py_TYPE(target));
}

static PyObject *xp_method_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    PyObject *function = ((xp_method *)self)->function;
    PyObject *target = XP(XP(self)->source)->target;  /* borrowed from the wrapper, which self owns */
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (XCTX_LIKELY(nargsf & PY_VECTORCALL_ARGUMENTS_OFFSET)) {
        /* The caller lends us the place before the first argument (PEP 590). */
        PyObject **stack = (PyObject **)args - 1, *saved = stack[0];
        stack[0] = target;
        PyObject *result = PyObject_Vectorcall(function, stack, (size_t)nargs + 1, kwnames);
        stack[0] = saved;
        return result;
    }
    Py_ssize_t n = nargs + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject *small[8], **stack = n < 8 ? small : PyMem_Malloc((size_t)(n + 1) * sizeof(PyObject *));
    if (stack == NULL) return PyErr_NoMemory();
    stack[0] = target;
    if (n > 0) memcpy(stack + 1, args, (size_t)n * sizeof(PyObject *));
    PyObject *result = PyObject_Vectorcall(function, stack, (size_t)nargs + 1, kwnames);
    if (stack != small) PyMem_Free(stack);
    return result;
}

/* Takes over function. `wrapper` has a target. */
static PyObject *xp_method_new(PyObject *wrapper, PyObject *function) {
    int mine = xp_mine(wrapper);
    xp_method *self = mine ? (xp_method *)XP(wrapper)->spare : NULL;
    if (XCTX_LIKELY(self != NULL)) {
        /* Everything is as xp_method_dealloc left it; only the references are new. */
        XP(wrapper)->spare = NULL;
        self->base.ob_base.ob_ref_local = 1;
    }
    else {
        self = PyObject_GC_New(xp_method, xp_method_type);
        if (XCTX_UNLIKELY(self == NULL)) {
            Py_DECREF(function);
            return NULL;
        }
        self->base.target = NULL;
        self->base.weakrefs = NULL;
        self->base.call = xp_method_call;
        self->base.kind = XP_METHOD;
        self->base.spare = NULL;
    }
    self->base.source = Py_NewRef(wrapper);
    self->function = function;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int xp_method_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((xp_method *)self)->function);
    return xp_traverse(self, visit, arg);
}

static void xp_method_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject *wrapper = XP(self)->source, *function = ((xp_method *)self)->function;
    PyObject_GC_UnTrack(self);
    if (XCTX_UNLIKELY(XP(self)->weakrefs != NULL)) PyObject_ClearWeakRefs(self);
    if (XCTX_LIKELY(XP(wrapper)->spare == NULL && xp_mine(wrapper) && xp_mine(self)
                    && self->ob_ref_shared == 0)) {
        /* The memory goes to the wrapper for its next method, and is freed with the wrapper. It was never seen by
         * another thread, so its header is as good as new; it keeps its reference to the type. */
        XP(wrapper)->spare = self;
    }
    else {
        PyObject_GC_Del(self);
        Py_DECREF(type);
    }
    Py_DECREF(function);
    Py_DECREF(wrapper);  /* last: may run Python code */
}

static void xp_method_free(PyObject *spare) {
    PyTypeObject *type = Py_TYPE(spare);
    PyObject_GC_Del(spare);
    Py_DECREF(type);
}

static PyType_Slot xp_method_slots[] = {
    {Py_tp_dealloc, xp_method_dealloc},
    {Py_tp_traverse, xp_method_traverse},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_hash, xp_tp_hash},
    {Py_tp_richcompare, xp_tp_richcompare},
    {0, NULL}
};
static PyType_Spec xp_method_spec = {
    "xctx._proxy.proxy.BoundMethod", sizeof(xp_method), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION
        | Py_TPFLAGS_IMMUTABLETYPE,
    xp_method_slots
};

/* ---- iterators ------------------------------------------------------------------------------------------- */

static inline Py_ssize_t xp_index(PyObject *self) {
    return (Py_ssize_t)xctx_load_ptr((void **)&((xp_iterator *)self)->index);
}

static inline void xp_index_set(PyObject *self, Py_ssize_t index) {
    xctx_store_ptr((void **)&((xp_iterator *)self)->index, (void *)index);
}

/* The iterator that CPython would have, at the same place. */
static PyObject *xp_iterator_real(PyObject *self) {
    Py_ssize_t index = xp_index(self);
    PyObject *target = XP(XP(self)->source)->target, *real = PyObject_GetIter(target);
    PyObject *place = PyLong_FromSsize_t(index < 0 ? PY_SSIZE_T_MAX : index);
    PyObject *done = real != NULL && place != NULL ? PyObject_CallMethodOneArg(real, xp_s_setstate, place) : NULL;
    Py_XDECREF(place);
    if (done == NULL) Py_CLEAR(real);
    Py_XDECREF(done);
    if (real != NULL && index < 0) {  /* an iterator that has seen the end, and not one that stands before it */
        PyObject *nothing = PyIter_Next(real);
        Py_XDECREF(nothing);
        if (PyErr_Occurred()) Py_CLEAR(real);
    }
    return real;
}

static PyObject *xp_iterator_next(PyObject *self) {
    xp_iterator *it = (xp_iterator *)self;
    PyObject *target = XP(it->base.source)->target;  /* borrowed from the wrapper, which self owns */
    PySequenceMethods *m = Py_TYPE(target)->tp_as_sequence;
    Py_ssize_t index = xp_index(self);
    PyObject *item = NULL;
    if (index >= 0 && index < m->sq_length(target)) {
        item = m->sq_item(target, index);
        /* Another thread may have shortened it since: that is the end as well. */
        if (item == NULL && PyErr_ExceptionMatches(PyExc_IndexError)) PyErr_Clear();
    }
    xp_index_set(self, item != NULL ? index + 1 : -1);
    return item;
}

static PyObject *xp_iterator_hint(PyObject *self, PyObject *unused) {
    PyObject *target = XP(XP(self)->source)->target;
    Py_ssize_t index = xp_index(self);
    Py_ssize_t left = index < 0 ? 0 : PySequence_Size(target) - index;
    return PyLong_FromSsize_t(left < 0 ? 0 : left);
}

static PyObject *xp_iterator_place(PyObject *self, PyObject *place) {
    Py_ssize_t index = PyLong_AsSsize_t(place);
    if (index == -1 && PyErr_Occurred()) return NULL;
    if (xp_index(self) >= 0)
        xp_index_set(self, index < 0 ? 0 : index);
    Py_RETURN_NONE;
}

/* An iterator over target, which is `wrapper`'s own. */
static PyObject *xp_iterator_new(PyObject *wrapper, PyObject *target) {
    getiterfunc iter = Py_TYPE(target)->tp_iter;
    if (iter != PyList_Type.tp_iter && iter != PyTuple_Type.tp_iter && iter != PyUnicode_Type.tp_iter
            && iter != PyBytes_Type.tp_iter)
        return PyObject_GetIter(target);
    /* A subclass with items of its own: its iterator does not ask them, but this one would. */
    if (!PyList_CheckExact(target) && !PyTuple_CheckExact(target) && !PyUnicode_CheckExact(target)
            && !PyBytes_CheckExact(target))
        return PyObject_GetIter(target);
    xp_iterator *self = PyObject_GC_New(xp_iterator, xp_iterator_type);
    if (self == NULL) return NULL;
    self->base.target = NULL;
    self->base.source = Py_NewRef(wrapper);
    self->base.weakrefs = NULL;
    self->base.call = NULL;
    self->base.kind = XP_ITERATOR;
    self->base.spare = NULL;
    self->index = 0;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PyMethodDef xp_iterator_methods[] = {
    {"__length_hint__", xp_iterator_hint, METH_NOARGS, NULL},
    {"__setstate__", xp_iterator_place, METH_O, NULL},
    {NULL, NULL, 0, NULL}
};
static PyType_Slot xp_iterator_slots[] = {
    {Py_tp_dealloc, xp_dealloc},
    {Py_tp_traverse, xp_traverse},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, xp_iterator_next},
    {Py_tp_hash, xp_tp_hash},
    {Py_tp_richcompare, xp_tp_richcompare},
    {Py_tp_methods, xp_iterator_methods},
    {0, NULL}
};
static PyType_Spec xp_iterator_spec = {
    "xctx._proxy.proxy.Iterator", sizeof(xp_iterator), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    xp_iterator_slots
};

/* Every object counts its class, also when it dies; these two classes live for ever, and must not be what the threads
 * meet at instead. */
static void xp_immortal(PyTypeObject *type) {
    PyObject *o = (PyObject *)type;
    o->ob_tid = 0;
    o->ob_ref_local = _Py_IMMORTAL_REFCNT_LOCAL;
    o->ob_ref_shared = 0;
}

#endif
#endif
