"""The ladder of keys: which notion of "execution unit" a store goes by.

=============  ==============================================  ==================================================
key            unit                                            what an xlocal's binding does
=============  ==============================================  ==================================================
``process``    this process; a fork is a new one               visible wherever a context carried it in the process
``thread``     this thread                                     carried between tasks of this thread, to no other
``greenlet``   this greenlet, or the thread where there is     this greenlet only
               none
``task``       this asyncio or trio task, or the greenlet      this task only; child tasks do not inherit
               outside one
``flow``       whatever was given this PEP 567 context on      visible wherever the context was carried on purpose, in
               purpose, in this process                        this process (the default)
``work``       the innermost unit of work that is open here,   throughout that unit of work
               or the greenlet outside any
``context``    the PEP 567 context                             as a context variable: child contexts inherit
any callable   the hashable it returns                         where it returns the same value
=============  ==============================================  ==================================================

``key.current()`` gives the current :class:`Unit`, ``Key(func)`` makes a key from a callable.
"""

from xctx._core import Key, Unit, context, flow, greenlet, process, task, thread, work

__all__ = ["Key", "Unit", "context", "flow", "greenlet", "process", "task", "thread", "work"]
