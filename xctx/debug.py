"""What stores keep, for which units, and why a name is not seen: for debugging, from any unit.

What these functions show may have changed by the time they return.
"""

import gc

from xctx._stores import blocks
from xctx._stores.bindings import Binding
from xctx._stores.inspection import explain, stores_of, units_of

__all__ = ["explain", "live_bindings", "stores_of", "track", "units_of"]


def live_bindings() -> int:
    """How many bindings of any xlocal are alive in this process, in whatever unit; 0 once all blocks are left."""
    return sum(type(thing) is Binding for thing in gc.get_objects())


def track(on: bool = True) -> None:
    """Has it noted from now on, or no more, where each block is entered.

    Then a unit of work that ends with blocks left open inside warns, by a RuntimeWarning, of what they have bound, and
    where. Entering a block takes longer meanwhile.
    """
    blocks.track(on)
