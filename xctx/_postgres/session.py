"""One connection to the server.

psycopg connects; afterwards its wrapper of libpq is used directly, with a ``poll`` of the operating system's that
gevent has not replaced, because the thread of a lock waits for the server and for its own process at once.
"""

import contextlib
import os
import select
import sys
import weakref
from collections.abc import Iterator
from typing import Any, TypeAlias

from xctx._lock.grants import clock
from xctx._runtime.scheduling import unpatched

Row: TypeAlias = tuple[str | None, ...]

POOLER = (
    "{place} is a pooler (such as pgbouncer), not the server itself: it may pass each statement to another session and "
    "a lock is a session's. Give the server's own address"
)
STANDBY = (
    "{place} is a standby, which can only be read: nobody else sees its locks. Give the primary's address, or several "
    "hosts and target_session_attrs=read-write"
)


def system(module: str, name: str) -> Any:
    """A function of a module of the standard library as it was before gevent patched it."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(sys.modules[module], name) if monkey is None else monkey.get_original(module, name)


def wait_readable(fd: int, seconds: float) -> None:
    """Waits until a descriptor is readable, no longer than so many seconds."""
    poll = system("select", "poll")()
    poll.register(fd, select.POLLIN)
    poll.poll(max(0, seconds * 1000))


def driver() -> Any:
    """psycopg, imported when a connection is first wanted."""
    try:
        import psycopg
    except ImportError as error:
        raise ModuleNotFoundError(
            f"xctx.postgres needs psycopg 3, as in `pip install xctx[postgres]`: {error}", name="psycopg"
        ) from error
    return psycopg


class Source:
    """Where connections come from: a connection string, or a pool of psycopg_pool.

    Thread-safety: never changes.
    """

    def __init__(self, conninfo: Any) -> None:
        self.pool: Any = None
        self.conninfo = ""
        if isinstance(conninfo, str):
            self.conninfo = conninfo
        elif hasattr(conninfo, "getconn") and not _is_async(conninfo):
            self.pool = conninfo
        else:
            raise TypeError(f"a connection string or a psycopg_pool.ConnectionPool was wanted, not {conninfo!r}")

    @property
    def identity(self) -> object:
        """Equal for two sources if one lock of a process may serve both."""
        return self.conninfo if self.pool is None else self.pool

    def connect(self, title: str, bound: float) -> Any:
        """A connection of psycopg that commits each statement."""
        psycopg = driver()
        if self.pool is not None:
            connection = self.pool.getconn(timeout=bound)
            connection.autocommit = True
            return connection
        from psycopg.conninfo import conninfo_to_dict

        idle, interval = _pace(bound)
        wanted = {
            "application_name": title,
            "connect_timeout": max(2, int(bound)),
            "keepalives_idle": idle,
            "keepalives_interval": interval,
            "keepalives_count": 3,
            "tcp_user_timeout": int(bound * 1000),
            **conninfo_to_dict(self.conninfo),
        }
        return psycopg.connect(autocommit=True, **wanted)

    def give_back(self, connection: Any) -> None:
        """Closes a connection. A pool makes a new one in its place."""
        connection.close()
        if self.pool is not None:
            self.pool.putconn(connection)


def _is_async(pool: Any) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(pool.getconn)


def _pace(bound: float) -> tuple[int, int]:
    """After how many seconds of silence TCP probes the other end, and the seconds between its three probes."""
    return max(1, int(bound / 2)), max(1, int(bound / 8))


# The server's side of a session: it must notice that this machine died, also while the session waits for a lock; and
# nothing that an administrator set for other sessions may end this one. Unknown settings, of later versions, are left
# out.
_SETTINGS = """
SELECT set_config(name, wanted.value, false)
FROM (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_session_timeout', '0'),
             ('tcp_keepalives_idle', $1), ('tcp_keepalives_interval', $2), ('tcp_keepalives_count', '3'),
             ('tcp_user_timeout', $3), ('client_connection_check_interval', $4)) AS wanted (name, value)
JOIN pg_settings USING (name)
"""
_LAST_WORDS = ("FATAL", "PANIC")  # the severities of errors with which the server ends a session
_GREETING = "SELECT pg_backend_pid(), pg_is_in_recovery(), current_database()"


class Session:
    """A session of the server, for one lock or one source of ids.

    Thread-safety: used by one thread at a time, as its owner ensures.
    Lifetime: ends with ``close``. In a forked child ``abandon`` takes its place: the session is the parent's.
    """

    def __init__(self, source: Source, title: str, bound: float) -> None:
        self._source = source
        self._bound = bound
        self._pid = os.getpid()
        self._closed = False
        self._ended = False  # the server has said that it ends the session
        self._pq = driver().pq
        self.connection = source.connect(title, bound)
        self._pgconn = self.connection.pgconn
        self._said = ""  # why the server ends the session, if it said that while nothing was asked
        self.connection.add_notice_handler(self._hear)
        with _opened:
            _sessions.add(self)
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        ((pid, standby, database),) = self.query(_GREETING)
        info = self.connection.info
        self.place = f"{info.host or 'localhost'}:{info.port}, database {database!r},"
        # A pooler makes up a number of its own when it greets.
        if pid != str(self._pgconn.backend_pid):
            raise ValueError(POOLER.format(place=self.place))
        if standby == "t":
            raise ValueError(STANDBY.format(place=self.place))
        self.backend = pid
        idle, interval = _pace(self._bound)
        within = int(self._bound * 1000)
        if not info.host or info.host.startswith("/"):  # a Unix socket, to which TCP's settings do not apply
            idle = interval = within = 0
        self.query(_SETTINGS, str(idle), str(interval), str(within), str(int(self._bound * 250)))

    def query(self, sql: str, *arguments: str) -> list[Row]:
        """Sends a statement and waits for its rows, no longer than the bound. Raises psycopg's errors."""
        self.send(sql, *arguments)
        rows = self.receive(self._bound)
        if rows is None:
            raise driver().OperationalError(f"the server did not answer within {self._bound:g} s")
        return rows

    def send(self, sql: str, *arguments: str) -> None:
        self._rows: list[Row] = []
        self._failure: Any = None
        self._pgconn.send_query_params(sql.encode(), [each.encode() for each in arguments])

    def receive(self, seconds: float | None, wake: int | None = None) -> list[Row] | None:
        """The rows of what was sent; None if they did not come in time, or the descriptor `wake` became readable."""
        pgconn = self._pgconn
        end = None if seconds is None else clock() + seconds
        unsent = pgconn.flush()
        while True:
            while pgconn.is_busy():
                found = self._poll(None if end is None else end - clock(), wake, bool(unsent))
                if found is None or found == wake:
                    return None
                with contextlib.suppress(driver().OperationalError):  # the results say it, too
                    pgconn.consume_input()
                    unsent = unsent and pgconn.flush()
                if not self.works:
                    break
            result = pgconn.get_result()
            if result is None:
                break
            self._note(result)
        failure = self._failure
        if failure is not None:
            self._ended = failure.diag.severity_nonlocalized in _LAST_WORDS
        if not self.works:
            said = (
                self._said
                or (failure and failure.diag.message_primary)
                or pgconn.get_error_message()
                or "the session has ended"
            )
            raise driver().OperationalError(said) from failure
        if failure is not None:
            raise failure
        return self._rows

    def _note(self, result: Any) -> None:
        if result.status == self._pq.ExecStatus.TUPLES_OK:
            self._rows = [tuple(_cells(result, row)) for row in range(result.ntuples)]
        elif result.status != self._pq.ExecStatus.COMMAND_OK:
            self._failure = self._failure or driver().errors.error_from_result(result)

    def _poll(self, seconds: float | None, wake: int | None, writes: bool = False) -> int | None:
        """The descriptor that became ready, of the connection's and `wake`, or None."""
        poll = system("select", "poll")()
        poll.register(self._pgconn.socket, select.POLLIN | (select.POLLOUT if writes else 0))
        if wake is not None:
            poll.register(wake, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(None if seconds is None else max(0, seconds * 1000))]
        if wake in ready:
            return wake
        return ready[0] if ready else None

    def idle(self, seconds: float, wake: int | None = None) -> None:
        """Waits while nothing was sent. Raises psycopg's OperationalError when the session ends."""
        if self._poll(seconds, wake) == self._pgconn.socket:
            try:
                self._pgconn.consume_input()
                self._pgconn.is_busy()  # lets libpq look at what has come
            except driver().OperationalError as error:
                with contextlib.suppress(driver().Error):
                    self._pgconn.is_busy()  # what the server said before it ended the session
                raise driver().OperationalError(self._said or str(error)) from error
            if not self.works:
                raise driver().OperationalError(self._said or self._pgconn.get_error_message())

    def _hear(self, diagnostic: Any) -> None:
        if diagnostic.severity_nonlocalized in _LAST_WORDS:
            self._said = diagnostic.message_primary or ""

    @property
    def works(self) -> bool:
        """Whether the connection is up, as far as is known."""
        return bool(self._pgconn.status == self._pq.ConnStatus.OK) and not self._ended

    def cancel(self) -> None:
        """Asks the server to end the statement that was sent: its answer says whether it did."""
        self.connection.cancel_safe(timeout=self._bound)

    def close(self) -> None:
        """Ends the session, and with it all of its locks."""
        with _opened:
            _sessions.discard(self)
            closed, self._closed = self._closed, True
        if not closed and self._pid == os.getpid():
            self._source.give_back(self.connection)

    def abandon(self) -> None:
        """In a forked child: lets go of the parent's connection, which must end when the parent does."""
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.dup2(nothing, self._pgconn.socket, inheritable=False)
        finally:
            os.close(nothing)
        _of_parents.append(self.connection)  # psycopg would complain that it was never closed


def _cells(result: Any, row: int) -> Iterator[str | None]:
    for column in range(result.nfields):
        value = result.get_value(row, column)
        yield None if value is None else bytes(value).decode()


_opened = unpatched("allocate_lock")()  # guards the next
_sessions: "weakref.WeakSet[Session]" = weakref.WeakSet()
_of_parents: list[Any] = []  # connections of the processes that this one was forked from


def _let_go_of_the_parents() -> None:
    global _opened
    _opened = unpatched("allocate_lock")()
    for session in list(_sessions):
        session.abandon()
    _sessions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_the_parents)
