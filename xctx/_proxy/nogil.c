/* What a LocalWrapper gives out on free-threaded builds so that its target's reference count is not touched.
 *
 * A bound method and an iterator hold the object they came from. Where many threads use one object, each through a
 * wrapper of its own, the object's count is one cache line which all of them would write. The two types here hold the
 * wrapper instead, which belongs to one thread, and borrow the target from it:
 *
 *      BoundMethod, Iterator -- source --> LocalWrapper -- target --> object
 *
 * They are proxies too: of the bound method or iterator that CPython would have made. That one is made when more
 * is wanted than a call or a next item: `__self__`, repr, comparison and pickle all go through the table of slots.
 *
 * Two kinds of traffic remain. A method written in Python gets the object as an argument, and the interpreter counts the
 * arguments of Python code, and each use of `self` again. Dicts and sets are iterated by CPython's own iterators: those
 * lock the container at every step, so nothing would be gained. */
#include "xctx/_proxy/nogil.h"
#include "xctx/_proxy/class.h"
#include "xctx/_proxy/slots.h"

#ifdef Py_GIL_DISABLED

PyTypeObject *proxy_method_type;
PyTypeObject *proxy_iterator_type;

typedef struct {
    ProxyObject base;
    PyObject *function;  /* owned: a function or method descriptor of the target's class. Never changes */
} MethodObject;

typedef struct {
    ProxyObject base;
    Py_ssize_t index;  /* of the next item, -1 after the end. Atomic: threads may share the iterator, as CPython's */
} IteratorObject;

/* The target that `self` borrows from the wrapper it owns. */
static inline PyObject *target_of(PyObject *self) { return PROXY(PROXY(self)->source)->target; }

/* ---- bound methods --------------------------------------------------------------------------------------- */

PyObject *proxy_method_real(PyObject *self) {
    PyObject *function = ((MethodObject *)self)->function, *target = target_of(self);
    return Py_TYPE(function)->tp_descr_get(function, target, (PyObject *)Py_TYPE(target));
}

static PyObject *method_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    PyObject *function = ((MethodObject *)self)->function;
    PyObject *target = target_of(self);
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (XCTX_LIKELY(nargsf & PY_VECTORCALL_ARGUMENTS_OFFSET)) {
        /* The caller lends the place before the first argument (PEP 590). */
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

PyObject *proxy_method_new(PyObject *wrapper, PyObject *function) {
    MethodObject *self = xctx_made_here(wrapper) ? (MethodObject *)PROXY(wrapper)->spare : NULL;
    if (XCTX_LIKELY(self != NULL)) {
        /* All other fields are as method_dealloc() left them. */
        PROXY(wrapper)->spare = NULL;
        xctx_revive((PyObject *)self);
    }
    else {
        self = PyObject_GC_New(MethodObject, proxy_method_type);
        if (XCTX_UNLIKELY(self == NULL)) {
            Py_DECREF(function);
            return NULL;
        }
        self->base.target = self->base.direct = NULL;
        self->base.weakrefs = NULL;
        self->base.call = method_vectorcall;
        self->base.kind = PROXY_METHOD;
        self->base.spare = NULL;
    }
    self->base.source = Py_NewRef(wrapper);
    self->function = function;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int method_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((MethodObject *)self)->function);
    return proxy_traverse(self, visit, arg);
}

static void method_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject *wrapper = PROXY(self)->source, *function = ((MethodObject *)self)->function;
    PyObject_GC_UnTrack(self);
    if (XCTX_UNLIKELY(xctx_load_ptr((void **)&PROXY(self)->weakrefs) != NULL)) PyObject_ClearWeakRefs(self);
    if (XCTX_LIKELY(PROXY(wrapper)->spare == NULL && xctx_made_here(wrapper) && xctx_made_here(self)
                    && xctx_never_shared(self))) {
        /* The wrapper keeps the memory for its next method, and frees it when it dies. No other thread has ever seen the
         * object, so its header is as good as new; it keeps its reference to the type. */
        PROXY(wrapper)->spare = self;
    }
    else {
        PyObject_GC_Del(self);
        Py_DECREF(type);
    }
    Py_DECREF(function);
    Py_DECREF(wrapper);  /* last: may run Python code */
}

void proxy_method_free(PyObject *spare) {
    PyTypeObject *type = Py_TYPE(spare);
    PyObject_GC_Del(spare);
    Py_DECREF(type);
}

/* ---- iterators ------------------------------------------------------------------------------------------- */

static inline Py_ssize_t get_index(PyObject *self) {
    return (Py_ssize_t)xctx_load_ptr((void **)&((IteratorObject *)self)->index);
}

static inline void set_index(PyObject *self, Py_ssize_t index) {
    xctx_store_ptr((void **)&((IteratorObject *)self)->index, (void *)index);
}

PyObject *proxy_iterator_real(PyObject *self) {
    Py_ssize_t index = get_index(self);
    PyObject *real = PyObject_GetIter(target_of(self));
    PyObject *place = PyLong_FromSsize_t(index < 0 ? PY_SSIZE_T_MAX : index);
    PyObject *done = NULL;
    if (real != NULL && place != NULL) done = PyObject_CallMethodOneArg(real, proxy_name_setstate, place);
    Py_XDECREF(place);
    if (done == NULL) Py_CLEAR(real);
    Py_XDECREF(done);
    if (real != NULL && index < 0) {  /* exhaust it: otherwise it would go on if a list has grown */
        PyObject *nothing = PyIter_Next(real);
        Py_XDECREF(nothing);
        if (PyErr_Occurred()) Py_CLEAR(real);
    }
    return real;
}

static PyObject *iterator_next(PyObject *self) {
    PyObject *target = target_of(self);
    PySequenceMethods *m = Py_TYPE(target)->tp_as_sequence;
    Py_ssize_t index = get_index(self);
    PyObject *item = NULL;
    if (index >= 0 && index < m->sq_length(target)) {
        item = m->sq_item(target, index);
        /* Another thread may have shortened it since: that is the end as well. */
        if (item == NULL && PyErr_ExceptionMatches(PyExc_IndexError)) PyErr_Clear();
    }
    set_index(self, item != NULL ? index + 1 : -1);
    return item;
}

static PyObject *iterator_length_hint(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Py_ssize_t index = get_index(self);
    Py_ssize_t left = index < 0 ? 0 : PySequence_Size(target_of(self)) - index;
    return PyLong_FromSsize_t(left < 0 ? 0 : left);
}

static PyObject *iterator_setstate(PyObject *self, PyObject *place) {
    Py_ssize_t index = PyLong_AsSsize_t(place);
    if (index == -1 && PyErr_Occurred()) return NULL;
    if (get_index(self) >= 0) set_index(self, index < 0 ? 0 : index);
    Py_RETURN_NONE;
}

PyObject *proxy_iterator_new(PyObject *wrapper, PyObject *target) {
    /* Exact types only: a subclass may define items, which its iterator does not ask for, but iterator_next() would. */
    if (!PyList_CheckExact(target) && !PyTuple_CheckExact(target) && !PyUnicode_CheckExact(target)
            && !PyBytes_CheckExact(target))
        return PyObject_GetIter(target);
    if (XCTX_UNLIKELY(PROXY(wrapper)->kind == PROXY_LAZY)) return PyObject_GetIter(target);  /* it may be cleared */
    IteratorObject *self = PyObject_GC_New(IteratorObject, proxy_iterator_type);
    if (self == NULL) return NULL;
    self->base.target = self->base.direct = NULL;
    self->base.source = Py_NewRef(wrapper);
    self->base.weakrefs = NULL;
    self->base.call = NULL;
    self->base.kind = PROXY_ITERATOR;
    self->base.spare = NULL;
    self->index = 0;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* ---- the two types --------------------------------------------------------------------------------------- */

static PyMethodDef iterator_methods[] = {
    {"__length_hint__", iterator_length_hint, METH_NOARGS, NULL},
    {"__setstate__", iterator_setstate, METH_O, NULL},
    {NULL, NULL, 0, NULL}
};

int proxy_nogil_init(void) {
    /* A type inherits hash and comparison together or not at all, and only where it defines neither; so both are named. */
    PyType_Slot method_slots[] = {
        {Py_tp_dealloc, (void *)method_dealloc},
        {Py_tp_traverse, (void *)method_traverse},
        {Py_tp_call, (void *)PyVectorcall_Call},
        {Py_tp_hash, proxy_slot(Py_tp_hash)},
        {Py_tp_richcompare, proxy_slot(Py_tp_richcompare)},
        {0, NULL}
    };
    PyType_Spec method_spec = {
        "xctx._proxy.proxy.BoundMethod", sizeof(MethodObject), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION
            | Py_TPFLAGS_IMMUTABLETYPE,
        method_slots
    };
    PyType_Slot iterator_slots[] = {
        {Py_tp_dealloc, (void *)proxy_dealloc},
        {Py_tp_traverse, (void *)proxy_traverse},
        {Py_tp_iter, (void *)PyObject_SelfIter},
        {Py_tp_iternext, (void *)iterator_next},
        {Py_tp_hash, proxy_slot(Py_tp_hash)},
        {Py_tp_richcompare, proxy_slot(Py_tp_richcompare)},
        {Py_tp_methods, iterator_methods},
        {0, NULL}
    };
    PyType_Spec iterator_spec = {
        "xctx._proxy.proxy.Iterator", sizeof(IteratorObject), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        iterator_slots
    };
    if ((proxy_method_type = proxy_make_type(&method_spec, proxy_base_type)) == NULL) return -1;
    if ((proxy_iterator_type = proxy_make_type(&iterator_spec, proxy_base_type)) == NULL) return -1;
    /* Every object counts its class, also when it dies. Threads must not contend for the counts of these two instead. */
    xctx_make_immortal((PyObject *)proxy_method_type);
    xctx_make_immortal((PyObject *)proxy_iterator_type);
    return 0;
}

#endif
