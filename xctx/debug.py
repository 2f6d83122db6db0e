"""What is kept for whom: for debugging, from any unit.

What these functions show may have changed by the time they return.
"""

from xctx._local import stores_of, units_of

__all__ = ["stores_of", "units_of"]
