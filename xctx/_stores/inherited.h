/* A watcher of contexts that is called when a new thread enters its first context: see inherited.pyx. */
#ifndef XCTX_INHERITED_H
#define XCTX_INHERITED_H

#include "xctx/_runtime/cpython.h"

#if PY_VERSION_HEX >= 0x030E0000

/* Process: set once, before the watcher is registered. The code object is owned, and only compared. */
static PyObject *xctx_bootstrap_code;
static int (*xctx_thread_entered)(void);

static int xctx_context_switched(PyContextEvent event, PyObject *context) {
    struct _PyInterpreterFrame *frame = xctx_innermost_frame(xctx_tstate());
    PyObject *code;
    int found;
    if (event != Py_CONTEXT_SWITCHED || context == NULL || context == Py_None || frame == NULL) return 0;
    /* Context.run is a C method without a frame, so this is the frame of its caller. */
    code = PyUnstable_InterpreterFrame_GetCode(frame);
    found = code == xctx_bootstrap_code;
    Py_DECREF(code);
    return found ? xctx_thread_entered() : 0;
}

static int xctx_watch_threads(PyObject *code, int (*entered)(void)) {
    xctx_bootstrap_code = Py_NewRef(code);
    xctx_thread_entered = entered;
    return PyContext_AddWatcher(xctx_context_switched) < 0 ? -1 : 0;
}

#else

/* No thread inherits. */
static int xctx_watch_threads(PyObject *Py_UNUSED(code), int (*entered)(void)) {
    (void)entered;
    return 0;
}

#endif

#endif
