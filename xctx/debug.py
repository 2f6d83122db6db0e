"""What stores keep, for which units, and why a name is not seen: for debugging, from any unit.

Thread-safety: all functions may be called in any thread. What they show may have changed by the time they return.
"""

from xctx._lock.unit_lock import look_for_deadlocks_at_once
from xctx._stores import blocks
from xctx._stores.inspection import explain, live_bindings, stores_of, units_of

__all__ = ["explain", "live_bindings", "stores_of", "track", "units_of"]


def track(on: bool = True) -> None:
    """Notes from now on, in the whole process, in which file and line each block is entered; or stops doing so.

    When a unit of work then ends with blocks left open inside, a RuntimeWarning says what they have bound, and where.
    Entering a block takes longer meanwhile. A deadlock of units that wait for one another's locks (see :doc:`locks`)
    is found at once, rather than after a second.

    Args:
        on: False to stop.
    """
    blocks.track(on)
    look_for_deadlocks_at_once(on)
