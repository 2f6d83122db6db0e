"""SharedLock and SharedRLock: the local lock, and whether the server's grant behind it is still good."""

import asyncio
import atexit
import hashlib
import os
import sys
import time
import weakref
from collections.abc import Callable, Coroutine, Hashable
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, NoReturn, Self, TypeAlias, TypeVar

import xctx._lock.lock as local_locks
from xctx import _core
from xctx._core import Key
from xctx._lock.grants import Granted
from xctx._lock.lock import view_of
from xctx._lock.tasks import asker_of
from xctx._postgres.agent import EXCLUSIVE, REFUSED, SHARED, Agent, Request
from xctx._postgres.errors import LockLost
from xctx._postgres.session import Source, driver, system
from xctx._runtime.scheduling import current_hub, unpatched

_Mode: TypeAlias = Literal["shared", "upgradable", "exclusive"]
_OnDeath: TypeAlias = Literal["warn", "raise", "ignore"]
_L = TypeVar("_L", bound="SharedLock")

_NEEDED = {"shared": SHARED, "upgradable": EXCLUSIVE, "exclusive": EXCLUSIVE}
_FOREVER = float("inf")
_AGAIN = 0.002  # seconds until a unit that found the local lock open and no grant looks again
_TRY = 0.005  # seconds for which a unit that only tries waits before it looks for the agent's answer

_SESSIONS = """
SELECT mode, granted, pid, coalesce(application_name, ''), coalesce(host(client_addr), '')
FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND objsubid = 1
AND classid::bigint = (%(key)s::bigint >> 32) & 4294967295 AND objid::bigint = %(key)s::bigint & 4294967295
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY waitstart NULLS FIRST, pid
"""


class SessionInfo(NamedTuple):
    """A session of the server that holds a lock, or waits for it."""

    mode: Literal["shared", "exclusive"]
    granted: bool
    pid: int  # of the server's process
    application_name: str
    address: str  # of the client; "" on a socket of the server's machine


def advisory_key(name: str, namespace: str = "xctx") -> int:
    """The key of the advisory lock by which a lock of this name is known to PostgreSQL.

    It is the first eight bytes of the SHA-256 of ``namespace:name`` in UTF-8, as a signed big-endian number, for the
    functions of PostgreSQL that take one bigint.
    """
    digest = hashlib.sha256(f"{namespace}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


# --- the agents and locks of this process -----------------------------------------------------------------------------

_guard = unpatched("allocate_lock")()  # guards the next two
_agents: "weakref.WeakValueDictionary[object, Agent]" = weakref.WeakValueDictionary()
_locks: "weakref.WeakSet[SharedLock]" = weakref.WeakSet()


def _agent_of(
    name: str, namespace: str, source: Source, bound: float, turn: float, machine: str | None, fencing: bool
) -> Agent:
    place = (name, namespace, source.identity)
    options = (bound, turn, machine, fencing)
    with _guard:
        agent = _agents.get(place)
        if agent is None:
            agent = _agents[place] = Agent(name, advisory_key(name, namespace), source, *options)
        elif agent.options != options:
            raise ValueError(
                f"the lock {name!r} is in use with other options in this process: (bound, turn, machine, fencing) are "
                f"{agent.options!r}, not {options!r}"
            )
    return agent


def _begin_anew() -> None:
    """In a forked child: each lock is free here, and without a session."""
    global _guard
    _guard = unpatched("allocate_lock")()
    for agent in list(_agents.values()):
        agent.abandon()
    _agents.clear()
    for lock in list(_locks):
        lock._renew()


def _stop() -> None:
    with _guard:
        agents = list(_agents.values())
    for agent in agents:
        agent.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
atexit.register(_stop)


# --- the locks --------------------------------------------------------------------------------------------------------


def _pause() -> None:
    if current_hub() is not None:
        sys.modules["gevent"].sleep(_AGAIN)
    else:
        system("time", "sleep")(_AGAIN)


def _seconds(blocking: bool, timeout: float | None) -> float:
    """How long to wait, as the local lock understands it: inf without limit."""
    if not blocking:
        if timeout is not None and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0.0
    if timeout is None or timeout == -1:
        return _FOREVER
    if not timeout >= 0:
        raise ValueError(f"a timeout is a number of seconds, or -1, not {timeout!r}")
    return float(timeout)


class SharedLock(Granted):
    """A lock that many units may hold to read, or one to write, on all machines that reach one PostgreSQL server.

    It is used like :class:`xctx.SharedLock`, which the units of one process have among themselves. In addition, one
    session of the process holds an advisory lock of the server for them.

    Args:
        name: of the lock. All that use the same name, `namespace` and database have the same lock.
        conninfo: how the server is reached, as for ``psycopg.connect``; or a ``psycopg_pool.ConnectionPool``, of which
            the process keeps one connection while it uses the lock.
        key: what a holder is: one of :mod:`xctx.keys`, or a callable; not ``context``.
        on_death: what acquiring does where a unit of this process has died while it held the lock exclusively, as for
            :class:`xctx.SharedLock`.
        on_lost: called with the lock, in the thread that watches the session, when the session is lost while units of
            this process hold the lock. Nobody acquires the lock before it has returned.
        bound: for at most so many seconds can units of this process believe that they hold the lock after the server
            gave it away; within as many, the server notices that this machine died.
        turn: how many seconds the process may keep the server's lock, for units that come and go, before it looks
            whether others wait.
        machine: the name of an :class:`xctx.SharedLock` by which the processes of this machine take turns before they
            ask the server; None if each asks by itself.
        fencing: whether each exclusive grant gets a fencing token (see :attr:`token`).
        namespace: of the name.

    Raises:
        TypeError, ValueError: an argument is none of these, or the process uses the lock with other options already.

    The server is first asked when the lock is first acquired. Acquiring raises ConnectionError if the server cannot be
    reached, and ValueError if it is unfit for locks: a pooler, or a standby.

    Thread-safety: all methods may be called from any thread.
    Lifetime: a forked child has the lock, but no session, and holds nothing. At the end of the program the session
        ends.
    """

    _class: type[local_locks.SharedLock] = local_locks.SharedLock

    def __init__(
        self,
        name: str,
        conninfo: Any,
        *,
        key: Key | Callable[[], Hashable] | None = None,
        on_death: _OnDeath = "warn",
        on_lost: Callable[[Any], object] | None = None,
        bound: float = 10.0,
        turn: float = 0.05,
        machine: str | None = None,
        fencing: bool = False,
        namespace: str = "xctx",
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a lock's name is a str, not {name!r}")
        if not 1 <= bound <= 86400:
            raise ValueError(f"bound is a number of seconds from 1 to 86400, not {bound!r}")
        if not 0 < turn <= bound:
            raise ValueError(f"turn is a number of seconds, more than 0 and no more than the bound, not {turn!r}")
        if on_lost is not None and not callable(on_lost):
            raise TypeError(f"{on_lost!r} cannot be called: a function was wanted that takes the lock")
        self._name = name
        self._namespace = namespace
        self._source = Source(conninfo)
        self._options = (bound, turn, machine, fencing)
        self._key = key if isinstance(key, Key) else _core.task if key is None else Key(key)
        self._on_death: _OnDeath = on_death
        self._on_lost = on_lost
        self._forked = False
        self._open()
        with _guard:
            _locks.add(self)

    def _open(self) -> None:
        self._agent = agent = _agent_of(self._name, self._namespace, self._source, *self._options)
        self._local = view_of(agent.local, self._class, self._key, self._on_death)
        self._grant = agent.grant
        self._bind(self._local, self._grant, self._forked)
        agent.join(self)

    def _renew(self) -> None:
        self._forked = True
        self._open()

    # --- acquiring

    def _acquire_slowly(self, exclusive: bool, blocking: bool, timeout: float | None) -> bool:
        return self._acquire("exclusive" if exclusive else "shared", _seconds(blocking, timeout))

    def acquire_upgradable(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Acquires the lock to read, with the right to write later: only one unit at a time has it.

        Units of this process may read beside it; units of other processes wait, because the server's lock is held
        exclusively. If other processes read already, or with `machine`, it waits for the readers of this process, too.

        Args, returns and raises as :meth:`acquire`.
        """
        return self._acquire("upgradable", _seconds(blocking, timeout))

    def _acquire(self, mode: _Mode, seconds: float, mend: bool = False) -> bool:
        local = self._local
        before = local.count
        try:
            if mode == "upgradable" or mend:
                got = self._take(mode, 0.0, mend)
            else:
                got = local.acquire(mode == "exclusive", False)
            if got:
                if self._grant.good():
                    return True
                self._put_back(local)
            return self._wait(mode, seconds, mend)
        except BaseException:
            while local.count > before:
                local.release()
            raise

    def _take(self, mode: _Mode, seconds: float, mend: bool) -> bool:
        """Acquires the local lock."""
        timeout = -1 if seconds == _FOREVER else seconds
        if mend:
            try:
                self._local.exclusive(timeout, mend=True).__enter__()
            except TimeoutError:
                return False
            return True
        if mode == "upgradable":
            return self._local.acquire_upgradable(timeout=timeout)
        return self._local.acquire(mode == "exclusive", timeout=timeout)

    def _put_back(self, local: Any) -> None:
        """Takes back an acquisition of the local lock for which there is no good grant."""
        inside = local.count > 1
        local.release()
        if inside:  # a re-entrant lock: the grant of the unit's first acquisition is lost
            self._tell_of_loss()

    def _wait(self, mode: _Mode, seconds: float, mend: bool) -> bool:
        wait = _Wait(self, mode, seconds)
        try:
            while (timeout := wait.next()) is not None:
                if self._take(mode, timeout, mend):
                    if self._grant.good():
                        return True
                    self._put_back(self._local)
                    if wait.request.outcome is None:
                        _pause()
            return False
        finally:
            wait.end()

    def upgrade(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """From upgradable to exclusive, once all units of this process that read have released.

        Args, returns and raises as :meth:`xctx.SharedLock.upgrade`.

        Raises:
            LockLost: the lock was lost. The unit holds it as before, until it releases it.
        """
        self.check()
        return self._local.upgrade(blocking, timeout)

    def upgrade_async(self, timeout: float | None = -1) -> Coroutine[Any, Any, bool]:
        """As :meth:`upgrade`, to be awaited in an asyncio task."""
        self.check()
        return self._local.upgrade_async(timeout)

    def downgrade(self, *, upgradable: bool = False) -> None:
        """From exclusive or upgradable to shared, with no writer in between.

        Units of this process may read at once; units of others, when the server's lock is next given away.

        Args, raises: as :meth:`xctx.SharedLock.downgrade`.

        Raises:
            LockLost: the lock was lost. The unit holds it as before, until it releases it.
        """
        self.check()
        self._local.downgrade(upgradable=upgradable)

    def _release_slowly(self) -> None:
        good = self._grant.good()
        self._local.release()
        if not good:
            self._tell_of_loss()

    def _enter_slowly(self) -> None:
        self._acquire("shared", _FOREVER)

    def _leave_slowly(self, exc: BaseException | None) -> Literal[False]:
        good = self._grant.good()
        local = self._local
        # A child that was forked inside a block holds nothing, but leaves the block as well.
        if self._forked and local.mode is None:
            return False
        local.release()
        # An exception that is no error, such as a task's cancellation, is not replaced.
        if not good and (exc is None or isinstance(exc, Exception)) and not isinstance(exc, LockLost):
            self._tell_of_loss()
        return False

    def shared(self, timeout: float | None = -1) -> "Block[Self]":
        """``with lock.shared():`` is the same as ``with lock:``, ``async with`` too.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.
        """
        return Block(self, "shared", timeout)

    def exclusive(self, timeout: float | None = -1, *, mend: bool = False) -> "Block[Self]":
        """``with lock.exclusive():`` or ``async with lock.exclusive():`` to write in the block.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.
            mend: True if the block mends what a dead writer left: it neither warns of the death nor raises for it.
        """
        return Block(self, "exclusive", timeout, mend)

    def upgradable(self, timeout: float | None = -1) -> "Block[Self]":
        """``with lock.upgradable():`` to read in the block, and perhaps :meth:`upgrade` in it; ``async with`` too.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.
        """
        return Block(self, "upgradable", timeout)

    # --- tasks

    def acquire_async(self, exclusive: bool = False, timeout: float | None = -1) -> Coroutine[Any, Any, bool]:
        """As :meth:`acquire`, in an asyncio task: to be awaited. Cancelling it leaves no trace.

        This task then holds the lock, as for :meth:`xctx.SharedLock.acquire_async`.
        """
        return self._acquire_async("exclusive" if exclusive else "shared", _seconds(True, timeout))

    def acquire_upgradable_async(self, timeout: float | None = -1) -> Coroutine[Any, Any, bool]:
        """As :meth:`acquire_upgradable`, to be awaited in an asyncio task."""
        return self._acquire_async("upgradable", _seconds(True, timeout))

    def _acquire_async(self, mode: _Mode, seconds: float, mend: bool = False) -> Coroutine[Any, Any, bool]:
        """A coroutine that acquires the lock for the unit that calls this, whichever unit awaits it."""
        return self._acquire_for(asker_of(self._local), mode, seconds, mend)

    async def _acquire_for(self, asker: Any, mode: _Mode, seconds: float, mend: bool) -> bool:
        before = asker.count
        try:
            if await asker.acquire_async(mode, 0, mend):
                if self._grant.good():
                    return True
                self._put_back(asker)
            wait = _Wait(self, mode, seconds)
            try:
                while (timeout := wait.next()) is not None:
                    if await asker.acquire_async(mode, -1 if timeout == _FOREVER else timeout, mend):
                        if self._grant.good():
                            return True
                        self._put_back(asker)
                        if wait.request.outcome is None:
                            await asyncio.sleep(_AGAIN)
                return False
            finally:
                wait.end()
        except BaseException:
            while asker.count > before:
                asker.release()
            raise

    def __aenter__(self) -> Coroutine[Any, Any, Self]:
        return self._enter_async(self._acquire_async("shared", _FOREVER))

    async def _enter_async(self, acquiring: Coroutine[Any, Any, bool]) -> Self:
        await acquiring
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]:
        return self.__exit__(exc_type, exc, traceback)

    # --- whether it is lost

    @property
    def lost(self) -> bool:
        """Whether this unit holds the lock, but the server has given it away, or may have."""
        # In this order: no later grant begins while this unit is in the local lock.
        good = self._grant.good()
        return not good and self._local.mode is not None

    def check(self) -> None:
        """Checks that the lock is not lost: for use inside a block, before something that cannot be undone.

        Raises:
            LockLost: this unit holds the lock, and it is lost.
        """
        if self.lost:
            self._tell_of_loss()

    def _tell_of_loss(self) -> NoReturn:
        bound = self._options[0]
        reason = self._agent.loss or f"the server was not heard of for {bound:g} s"
        raise LockLost(f"the lock {self._name!r} was lost while it was held: {reason}")

    def _explain(self, error: BaseException) -> NoReturn:
        """Raises what kept the agent from acquiring the server's lock, as a new exception for each unit."""
        psycopg = driver()
        what = f"the lock {self._name!r} cannot be acquired: {str(error).strip()}"
        if isinstance(error, (psycopg.OperationalError, OSError)):
            raise ConnectionError(what) from error
        if isinstance(error, (ValueError, ModuleNotFoundError)):
            raise type(error)(what) from error
        raise RuntimeError(what) from error

    @property
    def token(self) -> int:
        """The fencing token of the grant by which this unit holds the lock exclusively, greater than any before it.

        Units of one process that hold the lock one after the other may have the same token.

        Raises:
            ValueError: the lock was made without ``fencing=True``, or this unit does not hold it exclusively.
            LockLost: the lock is lost.
        """
        if not self._options[3]:
            raise ValueError(f"the lock {self._name!r} has no fencing tokens: make it with fencing=True")
        token, mode = self._agent.token, self._local.mode
        if mode not in ("exclusive", "upgradable") or token is None:
            raise ValueError(
                f"a unit that holds the lock exclusively has a token; this one holds it {mode or 'not at all'}"
            )
        self.check()
        return token

    # --- looking

    @property
    def name(self) -> str:
        """The name of the lock."""
        return self._name

    @property
    def advisory_key(self) -> int:
        """The bigint by which PostgreSQL knows the lock; see :func:`advisory_key`."""
        return advisory_key(self._name, self._namespace)

    @property
    def key(self) -> Key:
        """What a holder is, the key that the lock was made with."""
        return self._local.key

    @property
    def mode(self) -> _Mode | None:
        """The mode in which this unit holds the lock, "shared", "upgradable" or "exclusive"; None if it does not."""
        return self._local.mode

    @property
    def count(self) -> int:
        """How often this unit has acquired the lock and not released it."""
        return self._local.count

    @property
    def owner_died(self) -> bool:
        """Whether a unit of this process died while it held the lock exclusively, and nobody has mended that since.

        The server does not say whether a holder elsewhere died or released the lock.
        """
        return self._local.owner_died

    def mark_consistent(self) -> None:
        """Says that what the lock guards is whole again, as :meth:`xctx.SharedLock.mark_consistent`."""
        self._local.mark_consistent()

    @property
    def readers(self) -> int:
        """How many units of this process hold the lock shared. It may have changed by now."""
        return self._local.readers

    @property
    def waiters(self) -> int:
        """How many units of this process wait for the lock. It may have changed by now."""
        return self._agent.count_of_requests()

    @property
    def owner(self) -> tuple[_Mode, int, int] | None:
        """The mode, pid and kernel's thread number of this process's exclusive or upgradable holder; or None."""
        for holder in self.holders():
            if holder[0] != "shared":
                return holder[:3]
        return None

    def locked(self) -> bool:
        """Whether a unit of this process holds the lock, in any mode. It may have changed by now."""
        return bool(self.holders())

    def holders(self) -> list[tuple[_Mode, int, int, int]]:
        """The units of this process that hold the lock, as :meth:`xctx.SharedLock.holders`."""
        return [each for each in self._local.holders() if each[2] != self._agent.native_id or each[0] == "shared"]

    def sessions(self) -> list[SessionInfo]:
        """The sessions of all processes that hold the lock or wait for it, for debugging: asks the server.

        Raises:
            ConnectionError: the server cannot be reached.
        """
        psycopg = driver()
        try:
            connection = self._source.connect("xctx lock list", self._options[0])
            try:
                rows = connection.execute(_SESSIONS, {"key": self.advisory_key}).fetchall()
            finally:
                self._source.give_back(connection)
        except psycopg.OperationalError as error:
            raise ConnectionError(f"the server of the lock {self._name!r} cannot be reached: {error}") from error
        return [SessionInfo("exclusive" if mode == "ExclusiveLock" else "shared", *row) for mode, *row in rows]

    def __repr__(self) -> str:
        held = [
            f"{mode} by thread {thread}" if count == 1 else f"{mode} by thread {thread} ({count})"
            for mode, _, thread, count in self.holders()
        ]
        return f"<xctx.postgres.{type(self).__name__} {self._name!r}: {', '.join(held) or 'free here'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Only for a process that is being started, because the connection string may have a password.
        from multiprocessing.context import assert_spawning

        assert_spawning(self)
        return _reopen, (
            type(self),
            self._name,
            self._source.conninfo,
            self._key,
            self._on_death,
            *self._options,
            self._namespace,
        )


def _reopen(
    cls: type[_L],
    name: str,
    conninfo: str,
    key: Key,
    on_death: _OnDeath,
    bound: float,
    turn: float,
    machine: str | None,
    fencing: bool,
    namespace: str,
) -> _L:
    """How a lock is unpickled, in a process that is being started."""
    return cls(
        name, conninfo, key=key, on_death=on_death, bound=bound, turn=turn, machine=machine, fencing=fencing,
        namespace=namespace,
    )  # fmt: skip


class SharedRLock(SharedLock):
    """A :class:`SharedLock` that its holder may acquire again, by the rules of :class:`xctx.SharedRLock`."""

    _class = local_locks.SharedRLock


class _Wait:
    """One unit's wait for a lock: its request, and how long it waits in the local lock each time."""

    def __init__(self, lock: SharedLock, mode: _Mode, seconds: float) -> None:
        self._lock = lock
        self._trying = seconds == 0
        self._until = time.monotonic() + seconds
        self.request = Request(_NEEDED[mode], self._trying, mode == "upgradable")
        self._agent = lock._agent
        self._tries = 0
        self._granted = False  # the agent had the lock when the unit last looked
        self._agent.add(self.request)

    def next(self) -> float | None:
        """For how many seconds to wait in the local lock now; None if the unit gives up. Raises what went wrong."""
        outcome = self.request.outcome
        if outcome is REFUSED:
            return None
        if isinstance(outcome, BaseException):
            self._lock._explain(outcome)
        self._tries += 1
        if self._trying:
            # If the lock is granted, and still cannot be had, a unit of this process has it.
            if self._granted:
                return None
            self._granted = self._agent.level >= self.request.level
            return _TRY
        left = self._until - time.monotonic()
        if left <= 0 and self._tries > 1:
            return None
        return max(left, 0.0)

    def end(self) -> None:
        self._agent.remove(self.request)


class Block(Generic[_L]):
    """What ``lock.exclusive()`` gives: acquires at the start of a ``with`` block, and releases at its end."""

    __slots__ = ("_lock", "_mend", "_mode", "_seconds")

    def __init__(self, lock: _L, mode: _Mode, timeout: float | None, mend: bool = False) -> None:
        self._lock = lock
        self._mode: _Mode = mode
        self._seconds = _seconds(True, timeout)
        self._mend = mend

    def __enter__(self) -> _L:
        if not self._lock._acquire(self._mode, self._seconds, self._mend):
            self._give_up()
        return self._lock

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]:
        return self._lock.__exit__(exc_type, exc, traceback)

    def __aenter__(self) -> Coroutine[Any, Any, _L]:
        return self._enter_async(self._lock._acquire_async(self._mode, self._seconds, self._mend))

    async def _enter_async(self, acquiring: Coroutine[Any, Any, bool]) -> _L:
        if not await acquiring:
            self._give_up()
        return self._lock

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]:
        return self._lock.__exit__(exc_type, exc, traceback)

    def _give_up(self) -> NoReturn:
        raise TimeoutError(f"the lock was not free to hold it {self._mode} within {self._seconds:g} s")
