from collections.abc import Callable, Coroutine, Hashable
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias, TypeVar, final, overload

from typing_extensions import disjoint_base

from xctx._core import Key
from xctx._lock.acquisition import BaseLock
from xctx._lock.holder import Holder

_Mode: TypeAlias = Literal["shared", "upgradable", "exclusive"]
_OnDeath: TypeAlias = Literal["warn", "raise", "ignore"]
_L = TypeVar("_L", bound=SharedLock)
_Lock_co = TypeVar("_Lock_co", bound=SharedLock, covariant=True)

# What `with` and `async with` take; not a class of its own when the program runs.
class _Block(Protocol[_Lock_co]):
    def __enter__(self) -> _Lock_co: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]: ...
    def __aenter__(self) -> Coroutine[Any, Any, _Lock_co]: ...
    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Coroutine[Any, Any, None]: ...

@disjoint_base
class SharedLock(BaseLock):
    """A lock that many units may hold to read, or one to write.

    It is held by a unit: by default the task, greenlet or thread that acquired it. Every thread, greenlet and process that has
    it can use it: a process that was forked after it was made, or gets it as an argument (of a ``Process``, or among a
    pool's `initargs`), however it is started. With a name, any process of the same user can open it.

    Writers do not starve readers, nor readers writers, nor writers one another. A holder that dies gives it back: a
    process that is killed, a thread, greenlet or task that ends. A process that is stopped (SIGSTOP) goes on holding it.

    While it waits, a thread sleeps, and a greenlet lets gevent's hub run. A task waits with ``async with`` and the methods
    that end in ``_async``; the others stop its event loop, and all tasks of that with it. Units that wait for one another's
    locks in a circle, in whatever processes, are found in a second or two: the one that came last gets a RuntimeError.

    Args:
        name: of the lock, by which other processes find it; None for a lock that only those can use to whom it is handed.
        key: what a holder is: one of :mod:`xctx.keys`, or a callable; not ``context``.
        on_death: what acquiring does where a writer has died and nobody has called :meth:`mark_consistent` since:
            "warn" (:class:`OwnerDiedWarning`), "raise" it and not hold the lock, or "ignore" it.

    Raises:
        TypeError, ValueError: `name` cannot be a lock's name, or there is a file of that name that is no lock's; the key is
            ``context``; `on_death` is none of these.
        PermissionError: the file of that name, or its directory, is another user's, open to others, or a link.
        OSError: no room is left for the memory that processes share, or no descriptor.
        NotImplementedError: this is not Linux.

    A process has one descriptor for each lock. A program that closes descriptors which are not its own, as daemons do, goes on
    excluding others and being excluded, until it has to find out whether a process that holds the lock is alive: then it gets
    an OSError. Where /proc is not mounted, the first use in a forked process may raise one, too. If others remove the file of a
    named lock, all its users get a FileNotFoundError.

    Thread-safety: all methods may be called from any thread.
    Lifetime: what the processes share lives as long as one of them has the lock; the name, too. A child that is forked while
    its parent holds the lock does not hold it.
    """
    @property
    def name(self) -> str | None:
        """The name by which other processes find it, or None."""
    @property
    def key(self) -> Key:
        """The key that it was made with, which says what a holder is."""
    @property
    def mode(self) -> _Mode | None:
        """How this unit holds the lock, as 'shared', 'upgradable', 'exclusive', or None where it does not."""
    @property
    def count(self) -> int:
        """How often this unit has acquired the lock and not released it, 0 where it does not hold it."""
    @property
    def owner_died(self) -> bool:
        """Whether a writer died and nobody has called :meth:`mark_consistent` since. The same in all processes."""
    @property
    def readers(self) -> int:
        """How many units hold the lock shared, in all processes. It may have changed by now."""
    @property
    def waiters(self) -> int:
        """How many units wait for the lock, in all processes. It may have changed by now."""
    @property
    def owner(self) -> tuple[_Mode, int, int] | None:
        """The exclusive or upgradable holder, as the first three elements of its entry in :meth:`holders`, or None."""
    @property
    def path(self) -> str | None:
        """The path of its file, or None where it has no name."""
    def __init__(
        self, name: str | None = None, *, key: Key | Callable[[], Hashable] | None = None, on_death: _OnDeath = "warn"
    ) -> None: ...
    @classmethod
    def at(
        cls,
        path: str | bytes | PathLike[str] | PathLike[bytes],
        *,
        create: bool = True,
        mode: int = 0o600,
        key: Key | Callable[[], Hashable] | None = None,
        on_death: _OnDeath = "warn",
    ) -> Self:
        """The lock whose file is at a path of the user's choice: for a group of users, or containers that share a volume.

        The file is made where it does not exist. It is never removed, and grows with the number of threads that use the lock.
        Any process that may open the file for writing may use the lock. It must be on a file system of this machine: processes
        that map a file of another machine do not see each other's changes.

        Args:
            path: of the file; its directory must exist.
            create: False to raise FileNotFoundError where there is no file.
            mode: the permissions of a new file, whatever the umask.
            key: what a holder is, as for a lock with a name.
            on_death: what acquiring does after a writer's death, as for a lock with a name.

        Returns:
            The lock, of the class on which this is called.

        Raises:
            ValueError: the file is no lock's.
            FileNotFoundError: there is no such file and ``create=False``, or no such directory.
            OSError: the file cannot be opened, there is no room, or it is on a file system of the network (NFS, SMB, 9P).
            NotImplementedError: this is not Linux.
        """
    def mark_consistent(self) -> None:
        """Says that what the lock guards is whole again after a writer died: from now on nobody is told of that death.

        Raises:
            ValueError: this unit does not hold the lock exclusively.
            RuntimeError: this process closed descriptors, and so was taken for dead and does not hold the lock any more.
        """
    def acquire(self, exclusive: bool = False, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Acquires the lock for this unit. In a task it stops the event loop while it waits: see :meth:`acquire_async`.

        A wait that is ended by an exception of a signal handler, ``gevent.Timeout`` or the like leaves no trace.

        Args:
            exclusive: to write, rather than to read beside others.
            blocking: False to try only.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held.

        Raises:
            ValueError: this unit holds the lock already (a :class:`SharedRLock`: to read, and asks to write); `timeout` is
                negative, or given together with ``blocking=False``.
            RuntimeError: the wait could not end: another unit of this thread has the lock and cannot run meanwhile, or units
                wait for one another's locks in a circle. Or this process counts as dead, because it closed descriptors.
            FileNotFoundError: the lock's file was removed while it was used.
            OSError: no room is left for this thread in the shared memory; or it cannot be found out whether a holder is alive,
                because no descriptor is left or the program closed the lock's.

        Warns:
            OwnerDiedWarning: a writer died. Where the warning is made an error, the lock is not acquired.
        """
    def acquire_upgradable(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Acquires the lock to read, beside others, with the right to write later: only one unit at a time has it.

        Args:
            blocking: False to try only.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held.

        Raises and warns as :meth:`acquire`.
        """
    def upgrade(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """From upgradable to exclusive, once all other readers have released. New readers wait.

        Args:
            blocking: False to try only.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held exclusively; otherwise it is upgradable still.

        Raises:
            ValueError: this unit does not hold the lock upgradable. A unit that holds it shared can never upgrade: two such
                units would wait for each other.
            RuntimeError, FileNotFoundError, OSError: as for :meth:`acquire`.
        """
    def downgrade(self, *, upgradable: bool = False) -> None:
        """From exclusive or upgradable to shared, with no writer in between.

        Args:
            upgradable: from exclusive to upgradable instead.

        Raises:
            ValueError: this unit does not hold the lock exclusively (or upgradable), or is upgrading it at this moment.
            RuntimeError: this process closed descriptors, and so was taken for dead and does not hold the lock any more.
        """
    def release(self) -> None:
        """Takes back one acquisition, the latest, of this unit.

        Raises:
            ValueError: this unit does not hold the lock, or is upgrading it at this moment.
            RuntimeError: this process closed descriptors, and so was taken for dead: it had lost the lock already.
            FileNotFoundError: the unit wrote, and the lock's file was removed meanwhile: others may have written, too. The lock
                is released all the same.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...
    @overload
    def shared(self) -> Self:
        """``with lock.shared():`` is the same as ``with lock:``, ``async with`` too.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.

        Returns:
            What ``with`` and ``async with`` take, any number of times. Entering it gives the lock; it raises and warns as
            :meth:`acquire`.

        Raises:
            ValueError: `timeout` is negative.
        """
    @overload
    def shared(self, timeout: float | None) -> _Block[Self]: ...
    def exclusive(self, timeout: float | None = -1, *, mend: bool = False) -> _Block[Self]:
        """``with lock.exclusive():`` or ``async with lock.exclusive():`` to write in the block.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.
            mend: True if the block mends what a dead writer left: it neither warns of the death nor raises for it.

        Returns:
            As :meth:`shared`.

        Raises:
            ValueError: `timeout` is negative.
        """
    def upgradable(self, timeout: float | None = -1) -> _Block[Self]:
        """``with lock.upgradable():`` to read in the block, and perhaps :meth:`upgrade` in it; ``async with`` too.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.

        Returns:
            As :meth:`shared`.

        Raises:
            ValueError: `timeout` is negative.
        """
    def acquire_async(self, exclusive: bool = False, timeout: float | None = -1) -> Coroutine[Any, Any, bool]:
        """As :meth:`acquire`, in an asyncio task: to be awaited. Cancelling it leaves no trace.

        This task then holds the lock, even where ``asyncio.wait_for``, ``gather`` or ``create_task`` has another task do the
        waiting. That task must run in the thread that called this, and this task must not end before the wait does.

        Args:
            exclusive: to write, rather than to read beside others.
            timeout: how many seconds to wait; -1 for as long as it takes, 0 to try only.

        Returns:
            An awaitable of whether the lock is held. With ``timeout=0``, where this task holds the lock already, another task
            that awaits it gets False, and this task itself the ValueError.

        Raises:
            ValueError: `timeout` is negative.
            ValueError, RuntimeError, FileNotFoundError, OSError: when awaited, as for :meth:`acquire`. RuntimeError also where
                it is awaited in another thread, or without an event loop, or the task that asked has ended.
        """
    def acquire_upgradable_async(self, timeout: float | None = -1) -> Coroutine[Any, Any, bool]:
        """As :meth:`acquire_upgradable`, in an asyncio task.

        Args:
            timeout: how many seconds to wait; -1 for as long as it takes, 0 to try only.

        Returns:
            An awaitable of whether the lock is held; as for :meth:`acquire_async`, which says what it raises.
        """
    def upgrade_async(self, timeout: float | None = -1) -> Coroutine[Any, Any, bool]:
        """As :meth:`upgrade`, in an asyncio task: other tasks go on reading, and release, meanwhile.

        Args:
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            An awaitable of whether the lock is held exclusively; otherwise it is upgradable still. Cancelling it leaves it
            upgradable.

        Raises:
            ValueError, RuntimeError, FileNotFoundError, OSError: when awaited, as for :meth:`upgrade`; RuntimeError also
                where it is awaited in another thread, or without an event loop.
        """
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Coroutine[Any, Any, None]: ...
    def locked(self) -> bool:
        """Whether any unit holds the lock, in any mode. It may have changed by now.

        Raises:
            OSError: as for :meth:`holders`.
        """
    def holders(self) -> list[Holder]:
        """The holders of the lock, for debugging. They may have changed by now.

        Returns:
            A list of (mode, pid, the kernel's number of the thread or 0 where several share a row, how many units). Each entry
            also has the attribute ``interpreter``: which one of that process the holder is in, 0 for the main one.

        Raises:
            OSError: no descriptor is left, or the program closed the lock's, so that it is unknown which holders are alive.
                The attributes :attr:`owner`, :attr:`readers`, :attr:`waiters` and :attr:`owner_died` raise it as well.
        """
    # A lock without a name is pickled only for a process that is being started.
    def __reduce__(self) -> tuple[Any, ...]: ...

class SharedRLock(SharedLock):
    """A :class:`SharedLock` that its holder may acquire again.

    A release takes back the latest acquisition; the lock is free again when all are taken back. Acquiring it to read where it
    is held in any mode, or to write where it is held to write, never waits, not even for a writer that waits for this unit.
    Acquiring it to write where it is held upgradable upgrades it until that acquisition is released.
    """

def open_named(cls: type[_L], name: str, key: Key, on_death: _OnDeath = "warn") -> _L: ...
def open_at(cls: type[_L], path: str, key: Key, on_death: _OnDeath) -> _L: ...
def serial_of(lock: SharedLock) -> int: ...
def view_of(lock: SharedLock, cls: type[_L], key: Key, on_death: _OnDeath = "ignore") -> _L: ...
def handed_on(cls: type[_L], carrier: Any, key: Key, on_death: _OnDeath = "warn") -> _L: ...
def handed_over(cls: type[_L], handle: memoryview, key: Key, on_death: _OnDeath) -> _L: ...
def new_common_of(fd: int, path: str | None, lasting: bool) -> Any: ...

@final
class Handle: ...
