"""Keys: which kind of execution unit a store keeps apart.

=============  ==============================================  ==================================================
key            unit                                            what an xlocal's binding does
=============  ==============================================  ==================================================
``process``    this process; a forked child is another one     visible wherever a context carried it in the process
``thread``     this thread                                     carried between tasks of this thread, to no other thread
``greenlet``   this greenlet, or the thread where there is     this greenlet only
               none
``task``       this asyncio or trio task, or the greenlet      this task only; child tasks do not inherit
               outside one
``flow``       all code that was given this PEP 567 context    visible wherever the context was carried on purpose, in
               on purpose, in this process                     this process (the default)
``work``       the innermost unit of work that is open here,   throughout that unit of work
               or the greenlet outside any
``context``    the PEP 567 context                             as a context variable: child contexts inherit
any callable   the hashable it returns                         where it returns the same value
=============  ==============================================  ==================================================

``key.current()`` gives the current :class:`Unit`, and ``Key(func)`` makes a key from a callable. From ``process`` to
``task`` the keys are a *ladder*: a finer one tells apart all units that a coarser one does.
"""

from xctx._core import Key, Unit, context, flow, greenlet, process, task, thread, work

__all__ = ["Key", "Unit", "context", "flow", "greenlet", "process", "task", "thread", "work"]
