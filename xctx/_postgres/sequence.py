"""Ids of a sequence, by the thousand: a source for xctx.BatchExecutor."""

import os
from collections.abc import Callable
from collections.abc import Sequence as Values
from itertools import chain
from typing import Any

from xctx import _core
from xctx._core import Key
from xctx._lock.lock import SharedLock, view_of
from xctx._postgres.session import Row, Session, Source, driver
from xctx._runtime.scheduling import current_hub, start_system_thread

BOUND = 30.0  # seconds within which the server answers

_DESCRIBE = "SELECT seqincrement, seqcycle FROM pg_sequence WHERE seqrelid = $1::regclass"
_NEXT = "SELECT nextval($1::regclass) FROM generate_series(1, $2::int)"


class sequence:  # used as a function: it makes a source
    """A source of ids for :class:`xctx.BatchExecutor`: those of a sequence of PostgreSQL, many in one query.

    >>> ids = xctx.postgres.sequence("orders_id_seq", "dbname=shop", 1000)       # doctest: +SKIP
    >>> executor = xctx.BatchExecutor.from_batches(ids, ids.size, prefetch=250)  # doctest: +SKIP
    >>> executor.load()                                                          # doctest: +SKIP
    1

    No two calls give the same id, on any machines: ``nextval`` of PostgreSQL guarantees that. If the sequence was made
    with ``INCREMENT BY n``, each ``nextval`` stands for n ids, from its value on; so with an increment of `size` a
    batch is one step of the sequence, and no more work for the server than one id. All users of such a sequence must
    count like that, or use only the values of ``nextval`` themselves.

    There are gaps: ids that were fetched and not handed out when the process ends, or when the connection fails while
    they are on their way, are never given again. Ids of several processes are not in the order in which they are used.

    Args:
        name: of the sequence, as SQL has it: ``schema.name``, with double quotes where they are needed.
        conninfo: how the server is reached, as for ``psycopg.connect``; or a ``psycopg_pool.ConnectionPool``.
        size: how many ids are fetched at once.

    Raises:
        TypeError, ValueError: an argument is none of these.

    Called with a number, or without one for `size`, it gives as many ids, or at least as many if the increment is more
    than 1. The call raises LookupError if there is no such sequence, ValueError if the sequence counts down or begins
    again at its end, or the server is a pooler or a standby, and ConnectionError if the server cannot be reached. In
    a greenlet it lets the hub run. A program whose event loop must not wait uses `prefetch` of the executor.

    Thread-safety: may be called from any thread; one call at a time asks the server.
    Lifetime: has one connection, which ends with this object. A forked child gets one of its own.
    """

    def __init__(self, name: str, conninfo: Any, size: int = 1000) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a sequence's name is a str, not {name!r}")
        if not isinstance(size, int) or not 1 <= size <= 1_000_000:
            raise ValueError(f"size is a number of ids from 1 to 1000000, not {size!r}")
        self.name = name
        self.size = size
        self._source = Source(conninfo)
        self._session: Session | None = None
        self._increment = 1
        self._pid = os.getpid()
        self._guard = SharedLock(key=_core.greenlet, on_death="ignore")

    def __call__(self, count: int | None = None) -> Values[int]:
        """Fetches so many ids."""
        if self._pid != os.getpid():
            self._pid, self._session, self._guard = os.getpid(), None, SharedLock(key=_core.greenlet, on_death="ignore")
        with self._guard.exclusive():
            return _outside_of_the_hub(lambda: self._fetch(self.size if count is None else count))

    def _fetch(self, count: int) -> Values[int]:
        psycopg = driver()
        try:
            try:
                rows = self._ask(count)
            except psycopg.OperationalError:
                # Ids that were on their way are a gap. A connection that ended while it was kept is no reason to fail.
                if self._session is None or self._session.works:
                    raise
                self.close()
                rows = self._ask(count)
        except psycopg.OperationalError as error:
            self.close()
            raise ConnectionError(f"no ids of the sequence {self.name!r} can be had: {str(error).strip()}") from error
        except psycopg.errors.UndefinedTable as error:
            raise LookupError(f"there is no sequence {self.name!r}: {str(error).strip()}") from error
        values = [int(value) for (value,) in rows if value is not None]
        if self._increment == 1:
            return values
        return [*chain.from_iterable(range(value, value + self._increment) for value in values)]

    def _ask(self, count: int) -> list[Row]:
        if self._session is None:
            session = Session(self._source, f"xctx ids {self.name}"[:63], BOUND)
            try:
                self._describe(session)
            except BaseException:
                session.close()
                raise
            self._session = session
        return self._session.query(_NEXT, self.name, str(-(-count // self._increment)))

    def _describe(self, session: Session) -> None:
        rows = session.query(_DESCRIBE, self.name)
        if not rows:
            raise LookupError(f"there is no sequence {self.name!r}: what has that name is something else")
        ((increment, cycles),) = rows
        if int(increment or 0) < 1 or cycles == "t":
            raise ValueError(
                f"the sequence {self.name!r} counts down, or begins again at its end: its values are not ids"
            )
        self._increment = int(increment or 1)

    def close(self) -> None:
        """Ends the connection; the next call makes a new one."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __del__(self) -> None:
        if getattr(self, "_session", None) is not None and self._pid == os.getpid():
            self.close()


def _outside_of_the_hub(call: Callable[[], Values[int]]) -> Values[int]:
    """Calls `call`: in a thread of the system if a hub would have to wait otherwise."""
    if current_hub() is None:
        return call()
    # Held by the answer, not by a greenlet: acquired here, and released in the thread.
    done = SharedLock(key=_core.greenlet, on_death="ignore")
    answer = view_of(done, SharedLock, Key(lambda: "answer"))
    outcome: list[Values[int] | BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)
        finally:
            answer.release()

    answer.acquire(exclusive=True)
    start_system_thread(run)
    killed: BaseException | None = None
    while not outcome:  # the connection is in use until then, even if this greenlet is killed
        try:
            done.acquire(exclusive=True)
            done.release()
        except BaseException as error:
            killed = error
    if killed is not None:
        raise killed
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result
