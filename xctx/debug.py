"""What stores keep, for which units, and why a name is not seen: for debugging, from any unit.

What these functions show may have changed by the time they return.
"""

from xctx._stores.inspection import explain, live_bindings, stores_of, units_of

__all__ = ["explain", "live_bindings", "stores_of", "units_of"]
