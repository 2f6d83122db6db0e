#include "xctx/_stores/pairing.h"

XCTX_TLS_FAST PyObject *xctx_half_paired;
