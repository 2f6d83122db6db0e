/* Objects of types of xctx that cross to another interpreter of the process: through a queue of concurrent.interpreters, or with a
 * call that it makes there. CPython asks an object's type how; if the type does not say, the object is pickled as a whole.
 *
 * A type of xctx has the method `_cross`, which gives a tuple: a module, the name of a function in it, and what that function makes
 * the object of. Each crosses for itself: what can be shared is shared, as a memoryview is, and the rest is pickled.
 *
 * The function that makes the object is called in the other interpreter, perhaps when the one that sent it has ended. So it is
 * in the module xctx._runtime.copies, the only one that all interpreters share. */
#ifndef XCTX_RUNTIME_CROSSING_H
#define XCTX_RUNTIME_CROSSING_H

#include "xctx/_runtime/copies.h"

/* concurrent.interpreters came with 3.14; what its C code shares objects by was different before. */
#if XCTX_HAS_COPIES && PY_VERSION_HEX >= 0x030E0000
#  define XCTX_HAS_CROSSING 1
#else
#  define XCTX_HAS_CROSSING 0
#endif

#define XCTX_MOST_IN_TRANSIT 64   /* files: see xctx_send_file */

#if XCTX_HAS_CROSSING
PyObject *xctx_let_cross(PyObject *module, PyObject *type);
PyObject *xctx_try_crossing(PyObject *module, PyObject *thing);
PyObject *xctx_send_file(PyObject *module, PyObject *args);
PyObject *xctx_receive_file(PyObject *module, PyObject *args);
#endif

#endif
