"""What stores keep, for which units, and why a name is not seen: for debugging, from any unit.

What these functions show may have changed by the time they return.
"""

import gc

from xctx._stores.bindings import Binding
from xctx._stores.inspection import explain, stores_of, units_of

__all__ = ["explain", "live_bindings", "stores_of", "units_of"]


def live_bindings() -> int:
    """How many bindings of any xlocal are alive in this process, in whatever unit; 0 once all blocks are left."""
    return sum(type(thing) is Binding for thing in gc.get_objects())
