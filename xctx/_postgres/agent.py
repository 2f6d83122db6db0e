"""The agent: the thread that holds a lock's session, and represents the rest of the world in the local lock.

The units of a process have a local lock, an xctx.SharedLock, and the agent is one more unit that uses it:

==========  ==========================  =========================================================================
the server  the agent, in the local     so the units of this process
gave        lock
==========  ==========================  =========================================================================
nothing     is the writer               wait
shared      holds it upgradable         read; units that would write wait
exclusive   is not in it                read and write by the local lock's rules
==========  ==========================  =========================================================================

To give the server's lock away, the agent first becomes the local lock's writer, like any unit: so no unit holds the
local lock then, and the agent gets its turn however many units queue. A unit that cannot get the local lock adds a
`Request` and waits for that lock. The agent writes the outcome into the request before it releases the local lock.
"""

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from xctx import _core
from xctx._lock.grants import Grant, clock
from xctx._lock.lock import SharedLock, view_of
from xctx._postgres.session import Session, Source, driver, wait_readable
from xctx._runtime.scheduling import current_hub, start_system_thread, unpatched

NOTHING, SHARED, EXCLUSIVE = range(3)  # what the server gave
SLICE = 0.05  # seconds for which the agent waits in the local lock before it looks at its session again
SLICE_OF_MACHINE = 0.5  # likewise, in the lock of the machine; each slice goes to the end of the queue again
CANCEL_AGAIN = 0.1  # seconds after which a statement is cancelled once more
LOOK = 1.0  # at most so many seconds pass before it looks again whether others wait
LINGER = 5.0  # seconds for which a session that holds nothing is kept
LEAVE = 1.0  # seconds for which the end of the program waits for an agent

REFUSED = object()  # the outcome of a non-blocking request that was not granted

# Whether other sessions wait. As the second column of a statement it is evaluated after the first, which acquires.
_OTHERS_WAIT = """EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted AND objsubid = 1
    AND classid::bigint = ($1::bigint >> 32) & 4294967295 AND objid::bigint = $1::bigint & 4294967295
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)"""
_ACQUIRE, _TRY = (
    {
        SHARED: f"SELECT {function}_shared($1::bigint), {_OTHERS_WAIT}",
        EXCLUSIVE: f"SELECT {function}($1::bigint), {_OTHERS_WAIT}",
    }
    for function in ("pg_advisory_lock", "pg_try_advisory_lock")
)
_LOOK = f"SELECT pg_backend_pid(), {_OTHERS_WAIT}"
# It only tries, so two sessions that read cannot wait for each other here. It fails if others wait already.
_STEP_UP = f"""SELECT pg_backend_pid(),
    CASE WHEN pg_try_advisory_lock($1::bigint) THEN pg_advisory_unlock_shared($1::bigint) END, {_OTHERS_WAIT}"""
_STEP_DOWN = "SELECT pg_advisory_lock_shared($1::bigint), pg_advisory_unlock($1::bigint)"
_RELEASE = "SELECT pg_advisory_unlock_all()"
FENCING_TABLE = "CREATE TABLE IF NOT EXISTS xctx_fencing (lock bigint PRIMARY KEY, token bigint NOT NULL)"
_FENCE = """
INSERT INTO xctx_fencing VALUES ($1::bigint, 1)
ON CONFLICT (lock) DO UPDATE SET token = xctx_fencing.token + 1 RETURNING token
"""


class Request:
    """What a unit that waits wants of the server.

    Thread-safety: made and removed by the unit; the agent writes the outcome once.
    """

    __slots__ = ("beside_readers", "level", "outcome", "trying")

    def __init__(self, level: int, trying: bool, beside_readers: bool) -> None:
        self.level = level
        self.trying = trying
        self.beside_readers = beside_readers  # it can be granted while units of this process read
        self.outcome: object = None  # REFUSED, or an exception


class SessionLost(Exception):
    """The session ended, or may have, while the server's lock was held. The argument says how that was found."""


class Ending(Exception):
    """The program ends, or none of the locks is left."""


class Agent:
    """What the locks of one name, source and namespace have in common in one process: the local lock, and the thread.

    Thread-safety: `_guard` guards what units and the thread share, as noted; the rest is the thread's own.
    Lifetime: of the locks, and of the thread. The thread ends LINGER seconds after its last use, and soon after the
        last of the locks has died.
    """

    def __init__(
        self,
        name: str,
        advisory_key: int,
        source: Source,
        bound: float,
        turn: float,
        machine: str | None,
        fencing: bool,
    ) -> None:
        self.name = name
        self.options = (bound, turn, machine, fencing)
        self.local = SharedLock(key=_core.thread, on_death="ignore")
        self.locks: weakref.WeakSet[Any] = weakref.WeakSet()
        # Until when, by `clock`, it is certain that the server has not given the lock to others. Written by the thread.
        # A unit in the local lock reads the time of the grant by which it came in, or that this grant is over.
        self.grant = Grant()
        self.level = NOTHING  # written by the thread, under the guard; read by all
        self.token: int | None = None  # of the last exclusive grant
        self.native_id = 0  # the kernel's number of the thread
        self.loss: str | None = None  # how the last session was lost
        self._guard = unpatched("allocate_lock")()
        self._requests: list[Request] = []  # guarded
        self._running = False  # guarded
        self._stopping = False  # set at the end of the program
        self._served = True  # guarded: a request was removed since the last grant
        self._hurried = False  # guarded: other sessions wait, so the thread is woken when no request is left
        self._wake = -1  # the descriptor that wakes the thread; guarded
        self._ended = unpatched("allocate_lock")()  # held by the thread
        self._key = str(advisory_key)
        self._source = source
        self._bound = bound
        self._turn = turn
        self._fencing = fencing
        self._machine = None if machine is None else SharedLock(machine, key=_core.thread, on_death="ignore")
        self._door: SharedLock = view_of(self.local, SharedLock, _core.thread)
        self._session: Session | None = None
        self._granted = self._next_look = self._next_ping = self._pause = self._idle_since = 0.0

    # --- for units

    def join(self, lock: Any) -> None:
        """Notes that the lock is one of those that the agent serves."""
        with self._guard:
            self.locks.add(lock)

    def count_of_requests(self) -> int:
        with self._guard:
            return len(self._requests)

    def add(self, request: Request) -> None:
        """Adds a request, and wakes the thread for it."""
        with self._guard:
            if self._stopping:
                raise RuntimeError(f"the lock {self.name!r} cannot be acquired: the program is ending")
            if not self._running:
                self._start()
            self._requests.append(request)
            if request.level > self.level:
                self._rouse()

    def remove(self, request: Request) -> None:
        """Takes a request back, whether it was granted or its unit gave up."""
        with self._guard:
            self._requests.remove(request)
            self._served = True
            if request.level > self.level or request.outcome is not None or (self._hurried and not self._requests):
                self._rouse()

    def _start(self) -> None:
        """Starts the thread. Called with the guard held."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._running = True
        try:
            start_system_thread(self._run)
        except BaseException:
            self._note_end()
            raise

    def _note_end(self) -> None:
        """From now on, a request starts another thread. Called with the guard held."""
        self._running = False
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)

    def _rouse(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """At the end of the program: ends the session, even if units hold the lock."""
        with self._guard:
            self._stopping = True
            self._rouse()
            running = self._running
        if running and self._ended.acquire(timeout=LEAVE):
            self._ended.release()

    def abandon(self) -> None:
        """In a forked child, which has no such thread."""
        self.grant.until = 0.0
        if self._wake >= 0:
            os.close(self._wake)

    # --- the thread

    def _run(self) -> None:
        self._ended.acquire()  # waits for the thread before this one
        noted = False
        try:
            self.native_id = threading.get_native_id()
            self._shut()
            self._idle_since = clock()
            while not (noted := self._is_at_its_end()):
                try:
                    self._step()
                except SessionLost as lost:
                    self._lose(str(lost))
                except Ending:
                    raise
                except Exception as error:
                    if self.level != NOTHING:
                        self._lose(f"{type(error).__name__}: {error}")
                    self.grant.until = 0.0
                    self._drop_session()
                    self._leave_machine()
                    self._answer(error)
                    self._idle_since = clock()
        except Ending:
            pass
        finally:
            self.grant.until = 0.0
            self._drop_session()
            self._leave_machine()
            with self._guard:
                self.level = NOTHING
                if not noted:
                    self._note_end()
            if self._door.mode:
                self._door.release()
            if (hub := current_hub()) is not None:  # psycopg waited in one, where gevent has patched the program
                hub.destroy(destroy_loop=True)
            self._ended.release()

    def _is_at_its_end(self) -> bool:
        """Whether the thread ends; if so, that has been noted."""
        self._check_end()
        if self.level != NOTHING or clock() - self._idle_since < LINGER:
            return False
        with self._guard:
            if self._requests:
                return False
            self._note_end()
        return True

    def _check_end(self) -> None:
        if self._stopping or not self.locks:
            raise Ending

    def _step(self) -> None:
        wanted = self._wanted()
        if self.level == NOTHING:
            if self._answered():
                self._let_out()
            elif wanted:
                self._get(wanted)
                self._idle_since = clock()
            else:
                self._rest()
        elif wanted and self._stepped_up():
            return
        elif wanted and self._tries() == len(self._open_requests()):
            if self._nobody_is_inside():
                self._release()
            else:
                self._answer(REFUSED)
        elif wanted:
            self._give_up()
        elif clock() >= self._next_look or (self._hurried and not self._requests):
            self._end_turn()
        else:
            self._watch(min(self._next_look, self._next_ping) - clock())

    def _rest(self) -> None:
        """Waits for a request while nothing is held."""
        if self._session is None:
            wait_readable(self._wake, LINGER)
        else:
            try:
                self._session.idle(LINGER, self._wake)
            except driver().OperationalError:
                self._drop_session()
        self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    # --- requests

    def _open_requests(self) -> list[Request]:
        with self._guard:
            return [each for each in self._requests if each.outcome is None and each.level > self.level]

    def _wanted(self) -> int:
        """The highest level that a request wants beyond what was given, or NOTHING."""
        return max((each.level for each in self._open_requests()), default=NOTHING)

    def _answer(self, outcome: object, *, only_tries: bool = False) -> None:
        """Writes the outcome into open requests. If the agent is the local lock's writer, it lets their units go on."""
        for request in self._open_requests():
            if request.trying or not only_tries:
                request.outcome = outcome
        if self.level == NOTHING:
            self._let_out()

    def _answered(self) -> bool:
        with self._guard:
            return any(each.outcome is not None for each in self._requests)

    def _let_out(self) -> None:
        """Opens the local lock for the units of answered requests, which may take a while to run: see `_step`."""
        end = clock() + SLICE
        self._door.release()
        while self._answered() and clock() < end:
            wait_readable(self._wake, SLICE)
            self._drain()
        self._shut()

    def _shut(self) -> None:
        while not self._door.acquire(exclusive=True, timeout=SLICE):
            self._check_end()

    # --- from nothing to a grant: the agent is the local lock's writer

    def _get(self, level: int) -> None:
        """Acquires the server's lock, unless the units that want it give up meanwhile."""
        if not self._get_machine(level):
            return
        found = self._ask_again(level)
        if found is None:
            self._leave_machine()
            return
        sent, others = found
        self._next_ping = sent + self._bound / 4
        self.grant.until = sent + self._bound
        try:
            if clock() >= self._next_ping:
                # The answer is old: this process stood still before it was read, and may have lost the lock since.
                self.grant.until = clock() + self._bound
                others = self._look()
            if level == EXCLUSIVE and self._fencing:
                self.token = self._fence()
        except BaseException as error:
            self.grant.until = 0.0
            if isinstance(error, SessionLost):  # nobody was inside
                raise driver().OperationalError(str(error)) from error
            raise
        self._note_grant(others)
        if level == EXCLUSIVE:
            self._door.release()
        else:
            self._door.downgrade(upgradable=True)
        # Afterwards: a unit that only tries, and reads this, finds the local lock open, unless another unit has it.
        with self._guard:
            self.level = level

    def _get_machine(self, level: int) -> bool:
        lock = self._machine
        if lock is None:
            return True
        if self._tries() and not lock.acquire(exclusive=level == EXCLUSIVE, blocking=False):
            self._answer(REFUSED, only_tries=True)
        while not lock.mode and not lock.acquire(exclusive=level == EXCLUSIVE, timeout=SLICE_OF_MACHINE):
            self._check_end()
            if self._tries():
                self._answer(REFUSED, only_tries=True)
            if self._wanted() < level:
                return False
        return True

    def _leave_machine(self) -> None:
        if self._machine is not None and self._machine.mode:
            self._machine.release()

    def _ask_again(self, level: int) -> tuple[float, bool] | None:
        """As `_ask`, with a new session if the kept one has ended: nothing was held, so any session will do."""
        kept = self._session
        if kept is not None:
            try:
                return self._ask(kept, level)
            except driver().OperationalError:
                if kept.works:
                    raise
                self._drop_session()
        self._session = Session(self._source, f"xctx lock {self.name}"[:63], self._bound)
        return self._ask(self._session, level)

    def _ask(self, session: Session, level: int) -> tuple[float, bool] | None:
        """When the request was sent that was granted, and whether others wait. None if it was not granted."""
        sent = clock()
        if self._tries():
            ((granted, others),) = session.query(_TRY[level], self._key)
            if granted == "t":
                return sent, others == "t"
            self._answer(REFUSED, only_tries=True)
            if self._wanted() < level:
                return None
            sent = clock()
        session.send(_ACQUIRE[level], self._key)
        gave_up = 0.0  # when the units that wanted it gave up
        cancels = 0
        try:
            while (rows := session.receive(CANCEL_AGAIN if gave_up else None, self._wake)) is None:
                self._drain()
                if self._tries():
                    self._answer(REFUSED, only_tries=True)
                if self._stopping or not self.locks or self._wanted() < level:
                    gave_up = gave_up or clock()
                if gave_up:
                    if clock() - gave_up > self._bound:
                        raise driver().OperationalError("the server did not answer when the wait was cancelled")
                    # Repeatedly: the server ignores a cancellation that comes before it has begun the statement.
                    session.cancel()
                    cancels += 1
        except driver().errors.QueryCanceled:
            if not cancels:
                raise
            rows = None
        if cancels:
            if cancels > 1 or rows is not None:  # a cancellation still on its way may hit the next statement
                self._drop_session()
            return None
        assert rows is not None
        ((_, others),) = rows
        return sent, others == "t"

    def _tries(self) -> int:
        return sum(each.trying for each in self._open_requests())

    def _fence(self) -> int:
        """The next fencing token."""
        session = self._session
        assert session is not None
        try:
            ((token,),) = session.query(_FENCE, self._key)
        except driver().errors.UndefinedTable:
            # If others create the table at the same moment, one succeeds and the rest get this error.
            with contextlib.suppress(driver().errors.UniqueViolation):
                session.query(FENCING_TABLE)
            ((token,),) = session.query(_FENCE, self._key)
        assert token is not None
        return int(token)

    # --- while something is granted

    def _look(self) -> bool:
        """Asks the server whether others wait."""
        (others,) = self._query_alive(_LOOK)
        return others == "t" or (self._machine is not None and self._machine.waiters > 0)

    def _query_alive(self, sql: str) -> list[str | None]:
        """The columns after ``pg_backend_pid()``. When the server has answered, the grant is good for another while."""
        session = self._session
        assert session is not None
        asked = clock()
        if asked >= self.grant.until:
            raise SessionLost(f"this process stood still for longer than the bound of {self._bound:g} s")
        try:
            session.send(sql, self._key)
            rows = session.receive(self.grant.until - asked)
        except driver().OperationalError as error:
            raise SessionLost(str(error).strip()) from error
        if rows is None:
            raise SessionLost(f"the server has not answered for {self._bound:g} s")
        ((backend, *told),) = rows
        if backend != session.backend:
            raise SessionLost("a pooler has passed the connection to another session")
        self.grant.until = asked + self._bound
        self._next_ping = asked + self._bound / 4
        return told

    def _note_grant(self, others: bool) -> None:
        """A turn begins: the server has just granted the lock, or more of it than before."""
        self._pause = self._turn
        self._next_look = clock() + self._turn
        self._granted = clock()
        with self._guard:
            self._served = False
            self._hurried = others

    def _watch(self, seconds: float) -> None:
        """Waits for so long, or until a request comes. Notices the end of the session."""
        session = self._session
        assert session is not None
        try:
            session.idle(seconds, self._wake)
        except driver().OperationalError as error:
            raise SessionLost(str(error).strip()) from error
        self._drain()
        if clock() >= self._next_ping:
            self._look()

    def _end_turn(self) -> None:
        """Gives the lock away if nobody is inside, or others wait."""
        if self._requests and not self._served and clock() < self._granted + LOOK:
            self._next_look = clock() + self._turn  # the units that waited have not run yet
        elif not self._requests and self._nobody_is_inside():
            self._release()
        elif self._hurried or self._look():
            self._give_up()
        else:
            self._pause = min(2 * self._pause, LOOK)
            self._next_look = clock() + self._pause

    def _nobody_is_inside(self) -> bool:
        """Becomes the local lock's writer, if that is possible at once."""
        if self.level == EXCLUSIVE:
            return self._door.acquire(exclusive=True, blocking=False)
        return self._door.upgrade(blocking=False)

    def _give_up(self) -> None:
        """Gives the lock away, when all units have left that hold the local lock or wait for it already.

        From exclusive it is given to readers first, if readers are still inside.
        """
        if self.level == EXCLUSIVE:
            self._wait(self._door.acquire_upgradable)
            if not self._door.upgrade(blocking=False):
                self._step_down()
                return
        else:
            self._wait(self._door.upgrade)
        self._release()

    def _wait(self, get: Callable[..., bool]) -> None:
        """Waits in the local lock, and watches the session meanwhile."""
        while not get(timeout=SLICE):
            self._check_end()
            self._answer(REFUSED, only_tries=True)
            self._watch(0)

    def _stepped_up(self) -> bool:
        """From shared to exclusive, if no other session reads or waits; units of this process read on meanwhile."""
        if self._hurried or self._machine is not None:
            return False
        if not any(each.beside_readers or not each.trying for each in self._open_requests()):
            return False
        granted, others = self._query_alive(_STEP_UP)
        if granted != "t":
            return False
        try:
            if self._fencing:
                self.token = self._fence()
        except driver().OperationalError as error:
            raise SessionLost(str(error).strip()) from error
        self._note_grant(others == "t")
        self._door.release()
        with self._guard:
            self.level = EXCLUSIVE
        return True

    def _step_down(self) -> None:
        session = self._session
        assert session is not None
        try:
            session.query(_STEP_DOWN, self._key)
        except driver().OperationalError as error:
            self._door.release()  # at this level the agent is not in the local lock
            raise SessionLost(str(error).strip()) from error
        with self._guard:
            self.level = SHARED
            self._hurried = False
        self._pause = self._turn
        self._next_look = clock() + self._turn

    def _release(self) -> None:
        """Gives the lock away. The agent is the local lock's writer."""
        self.grant.until = 0.0
        with self._guard:
            self.level = NOTHING
            self._hurried = False
        try:
            assert self._session is not None
            self._session.query(_RELEASE)
        except driver().OperationalError:
            self._drop_session()  # which releases it
        self._leave_machine()
        self._idle_since = clock()

    def _lose(self, reason: str) -> None:
        """The session is lost. Afterwards nobody is inside, and the agent is the local lock's writer."""
        self.grant.until = 0.0
        self.loss = reason
        self._drop_session()
        if not self._nobody_is_inside():
            self._tell()
            leave = self._door.upgrade if self.level == SHARED else self._door.acquire
            arguments = {} if self.level == SHARED else {"exclusive": True}
            while not leave(timeout=SLICE, **arguments):
                self._check_end()
                self._answer(REFUSED, only_tries=True)
        with self._guard:
            self.level = NOTHING
            self._hurried = False
        self._leave_machine()
        self._idle_since = clock()

    def _tell(self) -> None:
        with self._guard:
            locks = list(self.locks)
        for lock in locks:
            if lock._on_lost is not None:
                try:
                    lock._on_lost(lock)
                except Exception:
                    sys.excepthook(*sys.exc_info())
