"""Locks and ids for many machines, on a PostgreSQL server: :class:`SharedLock` and batches of a :class:`sequence`.

It needs psycopg 3 (``pip install xctx[postgres]``), which is imported when a lock or a sequence is first used.

A lock has two levels. The units of a process have an :class:`xctx.SharedLock` of the process's own among themselves,
the local lock. For all of them, one session of the server holds an advisory lock, which PostgreSQL releases when the
session ends, whatever the reason.

Who holds what
    A thread of the process, the agent, owns the session. It is one more unit that uses the local lock, and represents
    the rest of the world there. While the server has given nothing to this process, the agent is the local lock's
    writer, so every other unit waits. While the server has given the lock to read, the agent holds it upgradable, so
    units may read. While the server has given the lock to write, the agent is not in the local lock. So all that the
    local lock promises, to threads, to greenlets, to tasks, about upgrades and re-entry, about fairness and about units
    that die, holds here as well, and a unit that finds the lock granted asks the server nothing.

How units wait
    In the local lock: a thread sleeps, a greenlet lets its hub run, whether or not gevent has patched the program, and
    a task awaits. None of them touches the connection. The agent is a thread of the system, and talks to libpq itself.

How others get their turn
    When the server grants the lock, its answer says whether other sessions wait (``pg_locks`` tells). If some do, the
    agent gives the lock away as soon as the units that waited for it here have had it. If none does, the agent looks
    again after a `turn`, and later each second. A unit that releases the lock does not wait for the server; an unused
    lock is given away at the end of its turn. To give it away, the agent becomes the local lock's writer in its own
    turn, so the units of one process cannot keep it waiting. After a writer, it first gives the lock away to readers,
    if readers of this process are still inside.

Why nobody believes for longer than the bound
    Each time the agent asks the server something, it notes before it asks the time plus `bound`. When the answer has
    come, the session was alive when the question was sent, so the lock cannot have been given away before that. The
    noted time is what units compare with the clock, when they acquire, release, or look at ``lost``: past it, they do
    not hold the lock. The agent asks four times within each bound, and learns at once of a connection that is closed.
    Nothing depends on the agent's being on time: if it, or the whole process, stands still, no new time is noted, and
    units find the old one passed. The clock goes on while the machine sleeps, where the system has such a clock. A
    grant whose answer was read late is asked about once more before a unit gets it.

    In the other direction, the session sets the server's TCP timeouts so that it notices within the bound if this
    machine dies. Time limits that an administrator set for statements, locks and idle sessions do not hold for it.

When the session is lost
    Units that hold the lock go on holding the local lock until they release it, and are told by :class:`LockLost`.
    Nobody else of the process comes in before all of them have left. Then a new session is made when a unit wants the
    lock.

Forks, and the end
    A child that is forked has a local lock of its own, which nobody holds, and no session. It closes its copy of the
    connection at once, so that the parent's death ends the session. At the end of the program the session ends. To the
    server, a program that is killed looks the same.
"""

from xctx._postgres.errors import LockLost
from xctx._postgres.lock import SessionInfo, SharedLock, SharedRLock, advisory_key
from xctx._postgres.sequence import sequence

__all__ = ["LockLost", "SessionInfo", "SharedLock", "SharedRLock", "advisory_key", "sequence"]
