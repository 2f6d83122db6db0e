/* The old name of what platform.h and cpython.h say. */
#include "xctx/_runtime/cpython.h"
#include "xctx/_runtime/platform.h"
