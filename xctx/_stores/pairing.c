#include "xctx/_stores/pairing.h"

XCTX_TLS PyObject *xctx_half_paired;
