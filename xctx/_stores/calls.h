/* Types that Cython makes, given the vectorcall protocol: calls without a tuple or a dict. */
#ifndef XCTX_CALLS_H
#define XCTX_CALLS_H

#include <Python.h>

/* `offset`: where an object has its vectorcallfunc. */
static inline void xctx_give_vectorcall(PyTypeObject *type, Py_ssize_t offset) {
    type->tp_vectorcall_offset = offset;
    type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
}

/* A class derived in Python is called the same way, unless it has a __call__ of its own. From 3.12 on the interpreter does
 * this itself, and undoes it should the class be given another __call__ afterwards. */
static inline void xctx_inherit_vectorcall(PyTypeObject *type, PyTypeObject *base) {
#if PY_VERSION_HEX < 0x030C0000
    if (type->tp_call == base->tp_call) type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
#else
    (void)type;
    (void)base;
#endif
}

#endif
