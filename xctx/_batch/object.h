/* Parts of the two classes that Cython cannot express: how the collector sees an executor, and a faster `load`. */
#ifndef XCTX_BATCH_OBJECT_H
#define XCTX_BATCH_OBJECT_H

#include "xctx/_batch/core.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* How the structs of BatchExecutor and LocalBatch begin. batch.pyx asserts it of both. */
typedef struct {
    PyObject_HEAD
    BatchCore *core;
} BatchObject;

#define BATCH_BEGINS_LIKE_BATCH_OBJECT(type) \
    _Static_assert(offsetof(type, core) == offsetof(BatchObject, core), #type " begins like a BatchObject")

/* Makes the collector see the values in a core, and clear them. Once, when the module is imported. */
void batch_show_to_collector(PyTypeObject *executor);

/* Puts a faster function in front of a class's `load`. Once for each class, when the module is imported, before anything
 * derives from the class. */
typedef enum { BATCH_EXECUTOR, BATCH_LOCAL } BatchClass;
int batch_make_load_fast(PyTypeObject *type, BatchClass which);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
