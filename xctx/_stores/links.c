#include "xctx/_stores/links.h"

/* Process, like the type that they belong to. They never change once the module is imported. */
static destructor dealloc_link;   /* the slot as Cython filled it */
static Py_ssize_t outer_offset;
/* Of the thread. Compared only, and NULL whenever foreign code runs. */
static XCTX_TLS_FAST PyObject *awaited;

static void dealloc(PyObject *link) {
    if (link == awaited) {
        awaited = NULL;
        PyObject_GC_UnTrack(link);
        return;
    }
    for (;;) {
        PyObject **at = (PyObject **)((char *)link + outer_offset);
        PyObject *outer = *at;
        *at = NULL;
        dealloc_link(link);
        if (outer == NULL) return;
        awaited = outer;
        Py_DECREF(outer);
        if (awaited != NULL) {   /* it lives on, or it is None */
            awaited = NULL;
            return;
        }
        link = outer;
    }
}

void xctx_free_in_a_loop(PyTypeObject *type, Py_ssize_t outer) {
    if (type->tp_dealloc == dealloc) return;
    dealloc_link = type->tp_dealloc;
    outer_offset = outer;
    type->tp_dealloc = dealloc;
}
