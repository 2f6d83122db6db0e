/* What Cython cannot write of the two classes: the collector's view of an executor, and the fast way into `load`. */
#ifndef XCTX_BATCH_OBJECT_H
#define XCTX_BATCH_OBJECT_H

#include "xctx/_batch/core.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* How a BatchExecutor and a LocalBatch begin. batch.pyx asserts it of both. */
typedef struct {
    PyObject_HEAD
    BatchCore *core;
} BatchObject;

#define BATCH_BEGINS_LIKE_BATCH_OBJECT(type) \
    _Static_assert(offsetof(type, core) == offsetof(BatchObject, core), #type " begins like a BatchObject")

/* Has the collector see the values in a core, and clear them. Once, when the module is imported. */
void batch_show_to_collector(PyTypeObject *executor);

/* Puts a fast way in front of a class's `load`. Once for each class, when the module is imported and nothing derives from
 * the class. */
typedef enum { BATCH_EXECUTOR, BATCH_LOCAL } BatchClass;
int batch_make_load_fast(PyTypeObject *type, BatchClass which);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
