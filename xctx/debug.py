"""What stores keep, and for which units: for debugging, from any unit.

What these functions show may have changed by the time they return.
"""

import gc

from xctx._stores.bindings import Binding
from xctx._stores.inspection import stores_of, units_of

__all__ = ["live_bindings", "stores_of", "units_of"]


def live_bindings() -> int:
    """How many bindings of any xlocal are alive in this process, in whatever unit; 0 once all blocks are left."""
    return sum(type(thing) is Binding for thing in gc.get_objects())
