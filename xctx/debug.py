"""What stores keep, for which units, and why a name is not seen: for debugging, from any unit.

What these functions show may have changed by the time they return.
"""

from xctx._lock.unit_lock import look_for_deadlocks_at_once
from xctx._stores import blocks
from xctx._stores.inspection import explain, live_bindings, stores_of, units_of

__all__ = ["explain", "live_bindings", "stores_of", "track", "units_of"]


def track(on: bool = True) -> None:
    """Has it noted from now on, or no more, where each block is entered.

    Then a unit of work that ends with blocks left open inside warns, by a RuntimeWarning, of what they have bound, and
    where. Entering a block takes longer meanwhile.

    A deadlock of threads that wait for one another's locks (see :doc:`locks`) is found at once then, rather than after
    a second.
    """
    blocks.track(on)
    look_for_deadlocks_at_once(on)
