from collections.abc import Callable, Iterable
from types import GenericAlias, TracebackType
from typing import Any, Generic, NamedTuple, NoReturn, Self, TypeVar, final

from typing_extensions import disjoint_base

_T = TypeVar("_T")
_V = TypeVar("_V")

class BatchStats(NamedTuple):
    loads: int
    fills: int
    waits: int

@disjoint_base
class BatchExecutor(Generic[_T]):
    """Hands out values that a source makes, a batch at a time.

    It calls *source* *size* times in a row, keeps what it returns, and hands the values out one by one: each exactly once,
    to whichever thread or greenlet calls :meth:`load`, in the order in which they were made.

    Args:
        source: a callable without arguments that makes one value.
        size: how many values a batch has, 1 or more.
        prefetch: with so many values left, or fewer, a helper makes the next batch; 0 for no helper.

    Raises:
        TypeError: `source` cannot be called, or `size` or `prefetch` is no int.
        ValueError: `size` is less than 1, or `prefetch` less than 0.

    - One unit at a time runs the source. Callers that find no value meanwhile wait: threads block, gevent's greenlets let
      their hub run. A ``load`` from inside the source takes a value that this batch has so far, or calls the source itself;
      so does a ``load`` from another greenlet of the filler's thread if there is no hub to wait with. A source that waits
      for another *thread* which loads from the same executor waits for ever, unless that load has a timeout.
    - A source that raises an ``Exception`` ends its batch. The values before it are handed out, then the exception is raised
      in the call that would have got the next value; the call after that calls the source again. Other exceptions
      (``KeyboardInterrupt``, ``GreenletExit``, ``gevent.Timeout``) are meant for the unit that ran the source: they are
      raised there at once, and the values made so far stay.
    - The helper hands on each value as it is made. It is a greenlet if gevent's hub runs the greenlet that loads, else a
      daemon thread.
    - A forked child starts empty: the values in the buffer remain the parent's.

    On a free-threaded interpreter each thread takes some values along: at most 256, and never more than it has taken so
    far. They go back when the thread ends, the source fails or the executor is closed. If two threads have taken more than
    16,384 values each, the executor is *promoted* there: threads no longer write its reference count at every call.
    CPython 3.14 still collects a promoted executor; 3.13 never frees it, so close it when it has done its work.

    Thread-safety: all methods may be called from any thread or greenlet.
    Lifetime: a unit that fills or waits keeps the executor alive, and so does an :meth:`as_local` handle; a helper keeps it
    alive only while it runs the source.
    """
    def __new__(cls, source: Callable[[], _T], size: int, *, prefetch: int = 0) -> Self: ...
    # Not Self: a checker takes the type of values from the source, and would not know it where the class stands bare.
    @classmethod
    def from_batches(cls, source: Callable[[int], Iterable[_V]], size: int, *, prefetch: int = 0) -> BatchExecutor[_V]:
        """An executor whose source makes a batch at a time.

        Args:
            source: ``source(size)`` returns an iterable of values, *size* of them or fewer (or more: none is lost), such as
                a list of rows, ``range(first, last)``, or ``os.urandom``, whose bytes are handed out as ints. An empty
                batch means that there are no values now: ``load`` raises LookupError, iteration ends, and the next call
                asks the source again.
            size, prefetch: as for the class.

        Raises:
            TypeError, ValueError: as the class does.
        """
    @property
    def source(self) -> Callable[..., Any]:
        """The callable that makes the values, or the batches."""
    @property
    def size(self) -> int:
        """How many values a batch is to have."""
    @property
    def prefetch(self) -> int:
        """The number of values left at which a helper makes the next batch; 0 for none."""
    @property
    def closed(self) -> bool:
        """Whether close() was called."""
    @property
    def leftover(self) -> list[_T] | None:
        """What close() gave back, or None before."""
    @property
    def stats(self) -> BatchStats:
        """How many values were handed out, how many batches were begun, how many calls had to wait: a named tuple."""
    def load(self, block: bool = True, timeout: float | None = None) -> _T:
        """Returns the next value. If there is none, this calls the source, or waits if another unit is doing that.

        Args:
            block: False to raise BlockingIOError rather than to wait for another unit.
            timeout: how many seconds to wait for another unit at most; None for as long as it takes. It does not limit the
                time that the call spends in the source itself.

        Raises:
            BlockingIOError: with `block` false, this would have to wait.
            TimeoutError: no value came in `timeout` seconds.
            ValueError: the executor is closed, or `timeout` is negative.
            LookupError: the source of :meth:`from_batches` gave an empty batch.
            Exception: what the source raised, in the place of a value.
        """
    def as_local(self) -> LocalBatch[_T]:
        """A handle for one thread or greenlet, with the methods of the executor. On a free-threaded interpreter, a call through
        a handle that only one thread uses never touches the executor's reference count; with the GIL there is no difference.
        """
    def close(self) -> list[_T]:
        """Closes the executor: calls of ``load`` that wait, and later ones, raise ValueError.

        If a batch is being filled, this waits until the source returns; the unit that called the source still gets its
        value. An exception that was kept for a caller is dropped.

        Returns:
            A list of all values that were not handed out, the oldest first; the same list on every call.

        Raises:
            RuntimeError: the source itself calls this.
            MemoryError: the executor is closed, but the list has not all values yet. Another call adds those that are left.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T: ...
    def __length_hint__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...

@final
class LocalBatch(Generic[_T]):
    def __new__(cls, wrapped: BatchExecutor[_T]) -> Self: ...
    @property
    def wrapped(self) -> BatchExecutor[_T]: ...
    def load(self, block: bool = True, timeout: float | None = None) -> _T: ...
    def as_local(self) -> LocalBatch[_T]: ...
    def close(self) -> list[_T]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T: ...
    def __length_hint__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...
