"""What stores keep, for which units, why a name is not seen, and who is running: for debugging, from any unit.

Thread-safety: all functions may be called in any thread. What they show may have changed by the time they return.
"""

from xctx._lock.attempt import look_for_deadlocks_at_once
from xctx._stores import blocks
from xctx._stores.inspection import explain, live_bindings, stores_of, units_of
from xctx._tree.nodes import LockState, Named, Names, Node, Tree

__all__ = [
    "LockState",
    "Named",
    "Names",
    "Node",
    "Tree",
    "explain",
    "listen",
    "live_bindings",
    "stores_of",
    "track",
    "tree",
    "units_of",
]


def tree(*, values: bool = False) -> Tree:
    """Who is running in this process: each thread, greenlet, event loop and task, each unit of work, and each context
    that has anything; what is bound and kept for each, and which locks it holds or waits for. Of several interpreters
    it shows the one that asks, which it names if that is not the main one.

    It takes as long as a garbage collection, during which other threads stand still. They run on while the tree is
    written, so its parts may be of slightly different moments. What it looks at may be finalised in the thread that
    looks.

    Args:
        values: show values, by ``repr()``, which is cut where it is long; otherwise names and types alone.

    Returns:
        A :class:`Tree`: text by ``str()``, JSON by ``.json()``, a page by ``.html()``.
    """
    from xctx._tree import growing

    return growing.tree(values=values)


def listen(signum: int | None = None) -> None:
    """Lets ``python -m xctx dump PID`` ask this process for its tree, and any that it forks from now on.

    The command sends a signal, so this costs nothing until it comes. Called again, it does nothing, unless the program
    has closed its descriptors meanwhile, as daemons do. Under CPython 3.14 and later a process can be asked without
    this. Of several interpreters the main one answers, for itself.

    Args:
        signum: the signal. Default: a real-time signal, ``SIGRTMIN + 6``. The command finds out which one it is.

    Raises:
        RuntimeError: the signal has a handler already, or this process listens by another one.
        ValueError: this is not the main thread of the main interpreter, or there is no such signal.
        NotImplementedError: this is not Linux.
    """
    from xctx._tree import answering

    answering.listen(signum)


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
