/* Parts of BatchExecutor and LocalBatch that Cython cannot express; see object.h. */
#include "xctx/_batch/object.h"

/* ---- the collector --------------------------------------------------------------------------------------- */

/* State of the process, set by batch_show_to_collector(): the functions that Cython made, which visit the Python fields. */
static traverseproc cython_traverse;
static inquiry cython_clear;

/* The collector runs with the GIL, or while all other threads are stopped, so nothing is locked. */
static int traverse(PyObject *self, visitproc visit, void *arg) {
    BatchCore *c = ((BatchObject *)self)->core;
    int result = cython_traverse(self, visit, arg);
    if (result || !c || !batch_core_is_current(c)) return result;
    for (size_t i = c->head; i != c->tail; i++) Py_VISIT(c->ring[i & c->mask]);
    for (size_t i = c->fresh_head; i < c->fresh_tail; i++) Py_VISIT(c->fresh[i]);
#ifdef Py_GIL_DISABLED
    for (ThreadCache *cache = c->caches; cache; cache = cache->next)
        for (uint32_t i = 0; i < cache->room; i++) Py_VISIT(cache->slots[i]);
#endif
    Py_VISIT(c->error);
    return 0;
}

/* Closed first, because finalisers that still reach the executor must not make new values. */
static int clear(PyObject *self) {
    BatchCore *c = ((BatchObject *)self)->core;
    if (c) {
        xctx_store_int(&c->closed, 1);
        batch_release(c);
    }
    return cython_clear(self);
}

void batch_show_to_collector(PyTypeObject *executor) {
    cython_traverse = executor->tp_traverse;
    cython_clear = executor->tp_clear;
    executor->tp_traverse = traverse;
    executor->tp_clear = clear;
}

/* ---- load ------------------------------------------------------------------------------------------------ */

/* Unpacking two arguments that are not there costs as much as taking a value. So a call without arguments looks for a
 * value first, and only then calls what Cython made of `load`. */
typedef PyObject *(*FastMethod)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);

/* State of the process, set by batch_make_load_fast(): for each class the method that Cython made, and ours. */
static FastMethod cython_load[2];
static PyMethodDef fast_load[2];

static inline PyObject *load(BatchClass which, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    if (XCTX_LIKELY(n == 0 && !names)) {
        PyObject *v = batch_pop(((BatchObject *)self)->core);
        if (XCTX_LIKELY(v != NULL)) return v;
    }
    return cython_load[which](self, args, n, names);
}

static PyObject *load_of_executor(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    return load(BATCH_EXECUTOR, self, args, n, names);
}

static PyObject *load_of_local(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    return load(BATCH_LOCAL, self, args, n, names);
}

int batch_make_load_fast(PyTypeObject *type, BatchClass which) {
    PyObject *name = PyUnicode_InternFromString("load"), *descriptor = NULL;
    PyObject *made = name != NULL ? xctx_own_attribute(type, name) : NULL;  /* borrowed */
    int result = -1;
    if (made == NULL) {
        if (name != NULL && !PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, name);
        goto done;
    }
    result = 0;
    /* Where another Cython makes methods of another kind, `load` stays as it is. */
    const PyMethodDef *method = xctx_fast_method(made);
    if (method == NULL) goto done;
    cython_load[which] = (FastMethod)(void (*)(void))method->ml_meth;
    fast_load[which] = *method;
    fast_load[which].ml_meth = (PyCFunction)(void (*)(void))(which == BATCH_LOCAL ? load_of_local : load_of_executor);
    descriptor = PyDescr_NewMethod(type, &fast_load[which]);
    result = descriptor == NULL ? -1 : xctx_type_put((PyObject *)type, name, descriptor);
done:
    Py_XDECREF(descriptor);
    Py_XDECREF(name);
    return result;
}
