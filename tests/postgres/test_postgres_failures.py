"""Lost sessions, processes that die, the wrong servers: which errors units get, and when."""

import asyncio
import os
import shutil
import signal
import tempfile
import threading
import time

import postgres_server
import psycopg
import pytest
from helpers.units import in_fork, in_thread
from helpers.waiting import LONG, eventually
from machines import Machine
from proxy import Proxy

from xctx._lock.grants import clock
from xctx.postgres import LockLost, SharedLock, SharedRLock


@pytest.fixture
def proxy(server):
    made = Proxy(server.port)
    yield made
    made.close()


@pytest.fixture
def behind_proxy(server, proxy, name):
    """A lock whose connections lead through `proxy`, with a short bound."""
    return SharedLock(name, server.conninfo.replace(f"port={server.port}", f"port={proxy.port}"), bound=1)


@pytest.fixture
def elsewhere(conninfo, name):
    return SharedLock(name, conninfo + " application_name=elsewhere")


@pytest.fixture
def terminate(sql):
    """Ends the sessions of a lock at the server; gives how many there were."""

    def run(lock):
        return sum(sql("SELECT pg_terminate_backend(%s)", each.pid) != [] for each in lock.sessions())

    return run


# --- the session is lost while the lock is held -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_a_holder_is_told_that_the_lock_is_lost(lock, terminate, mode):
    with pytest.raises(
        LockLost, match="was lost while it was held: terminating connection due to administrator command"
    ):
        with getattr(lock, mode)():
            assert not lock.lost
            assert terminate(lock) == 1
            eventually(lambda: lock.lost)
            with pytest.raises(LockLost):
                lock.check()
    assert not lock.lost and lock.mode is None
    with lock.exclusive(timeout=LONG):  # by a new session
        lock.check()


def test_each_way_to_use_a_lost_lock_tells(conninfo, name, terminate):
    lock = SharedRLock(name, conninfo)
    lock.acquire_upgradable()
    terminate(lock)
    eventually(lambda: lock.lost)
    for use in (lock.check, lock.acquire, lock.upgrade, lock.downgrade, lock.upgrade_async, lock.release):
        with pytest.raises(LockLost):
            use()
    assert lock.mode is None

    async def use_async():
        async with lock.exclusive():
            terminate(lock)
            await asyncio.to_thread(eventually, lambda: lock._agent.grant.until == 0)
            await lock.acquire_async()

    with pytest.raises(LockLost):
        asyncio.run(use_async())
    assert lock.count == 0


def test_all_holders_are_told(lock, terminate):
    told = []
    inside = threading.Barrier(4)
    lost = threading.Event()

    def read():
        try:
            with lock:
                inside.wait(LONG)
                assert lost.wait(LONG)
        except LockLost as error:
            told.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    inside.wait(LONG)
    terminate(lock)
    eventually(lambda: lock._agent.grant.until == 0)
    lost.set()
    for thread in threads:
        thread.join()
    assert len({*map(id, told)}) == 3


def test_a_callback_is_called(conninfo, name, terminate):
    told = []
    lock = SharedLock(name, conninfo, on_lost=told.append)
    other = SharedLock(name, conninfo, on_lost=lambda lock: told.append(0 / 0))
    with pytest.raises(LockLost):
        with lock.exclusive():
            hook, shown = threading.excepthook, []
            terminate(lock)
            eventually(lambda: lock in told)
    assert other.mode is None and told == [lock]
    del hook, shown


def test_nobody_is_told_where_nobody_held_it(conninfo, name, terminate):
    told = []
    lock = SharedLock(name, conninfo, on_lost=told.append, turn=1)
    with lock:
        pass
    assert terminate(lock) == 1  # it is kept for the rest of its turn
    eventually(lambda: lock._agent.grant.until == 0)
    with lock.exclusive(timeout=LONG):
        lock.check()
    assert told == []


def test_an_exception_of_the_block_is_in_the_chain(lock, terminate):
    with pytest.raises(LockLost) as raised:
        with lock.exclusive():
            terminate(lock)
            eventually(lambda: lock.lost)
            raise KeyError("mine")
    assert isinstance(raised.value.__context__, KeyError)

    with pytest.raises(KeyboardInterrupt):
        with lock.exclusive():
            terminate(lock)
            eventually(lambda: lock.lost)
            raise KeyboardInterrupt


def test_waiters_in_the_process_get_in_by_a_new_session(lock, terminate):
    got = []
    with pytest.raises(LockLost):
        with lock.exclusive():
            threads = [threading.Thread(target=lambda: (lock.acquire(exclusive=True), got.append(1), lock.release()))]
            threads[0].start()
            eventually(lambda: lock.waiters == 1)
            terminate(lock)
            eventually(lambda: lock.lost)
            assert not got
    threads[0].join()
    assert got == [1]


def test_a_connection_that_is_cut(behind_proxy, proxy, elsewhere):
    with pytest.raises(LockLost):
        with behind_proxy.exclusive():
            assert not elsewhere.acquire(blocking=False)
            proxy.cut()
            assert elsewhere.acquire(exclusive=True, timeout=LONG)
            eventually(lambda: behind_proxy.lost)
            elsewhere.release()
    with behind_proxy:
        behind_proxy.check()


def test_a_network_that_goes_silent_is_found_out_within_the_bound(behind_proxy, proxy, elsewhere, terminate):
    """The server gives the lock away while nothing is heard of it: no unit believes for longer that it has it."""
    with pytest.raises(LockLost, match=r"the server has not answered for 1 s|was not heard of for 1 s"):
        with behind_proxy.exclusive():
            proxy.silence()
            terminate(behind_proxy)
            given_away = clock()
            assert elsewhere.acquire(exclusive=True, timeout=LONG)
            while not behind_proxy.lost:
                last_belief = clock()
                time.sleep(0.001)
            assert last_belief - given_away < 1


def test_a_process_that_stands_still_finds_out_at_once(conninfo, name, sql, elsewhere):
    """It was stopped, its session was ended, and it is not allowed one use of the lock when it goes on."""
    with Machine(conninfo, name, bound=1) as machine:
        assert machine.ask("acquire", exclusive=True) is True
        ((backend, *_),) = [(each.pid,) for each in elsewhere.sessions()]
        machine.signal(signal.SIGSTOP)
        sql("SELECT pg_terminate_backend(%s)", backend)
        assert elsewhere.acquire(exclusive=True, timeout=LONG)
        stopped = clock()
        eventually(lambda: clock() > stopped + 1)
        machine.tell("lost")
        machine.tell("release")
        machine.signal(signal.SIGCONT)
        assert machine.answer() is True
        assert machine.answer().startswith("LockLost")


def test_a_server_that_restarts(server, lock):
    waiter = threading.Thread(target=lambda: (lock.acquire(exclusive=True, timeout=LONG), lock.release()))
    with pytest.raises(LockLost):
        with lock.exclusive():
            waiter.start()
            eventually(lambda: lock.waiters == 1)
            server.restart()
            eventually(lambda: lock.lost)
    waiter.join()
    with lock.exclusive(timeout=LONG):
        lock.check()


def test_a_session_that_ended_while_it_was_kept_is_no_error(server, lock):
    with lock:
        pass
    eventually(lambda: lock._agent.level == 0)
    server.restart()
    with lock:
        lock.check()


def test_those_who_wait_are_told_that_the_server_went_down(server, lock, elsewhere):
    errors = []

    def wait():
        try:
            lock.acquire()
        except ConnectionError as error:
            errors.append(str(error))

    elsewhere.acquire(exclusive=True)
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: lock.waiters == 3)
    eventually(lambda: any(not each.granted for each in lock.sessions()))
    server.stop()
    try:
        for thread in threads:
            thread.join()
        with pytest.raises(ConnectionError, match="cannot be acquired"):
            lock.acquire()
        with pytest.raises(ConnectionError, match="cannot be acquired"):
            asyncio.run(lock.acquire_async(True))
        with pytest.raises(ConnectionError, match="cannot be reached"):
            lock.sessions()
    finally:
        server.start()
    assert len(errors) == 3
    eventually(lambda: elsewhere.lost)
    with pytest.raises(LockLost):
        elsewhere.release()


# --- processes that die, and forks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_killed_process_holds_nothing(conninfo, name, lock, exclusive):
    with Machine(conninfo, name) as machine:
        assert machine.ask("acquire", exclusive=exclusive) is True
        assert lock.acquire(exclusive=True, blocking=False) is False
        machine.kill()
        assert lock.acquire(exclusive=True, timeout=LONG) is True


def test_a_killed_process_that_waited_keeps_nobody_waiting(conninfo, name, lock, elsewhere):
    with Machine(conninfo, name, bound=1) as machine, elsewhere:
        machine.tell("acquire", exclusive=True)
        eventually(lambda: any(not each.granted for each in lock.sessions()))
        machine.kill()
        assert lock.acquire(timeout=LONG) is True


def test_a_process_that_ends_ends_its_session(conninfo, name, python, lock):
    script = f"import xctx.postgres; lock = xctx.postgres.SharedLock({name!r}, {conninfo!r}); print(lock.acquire(True))"
    assert python(script) == "True\n"
    assert lock.acquire(exclusive=True, timeout=LONG)


def test_a_forked_child_holds_nothing_and_has_a_session_of_its_own(lock):
    with lock.exclusive():
        (holder,) = lock.sessions()

        def child():
            with lock:  # nested in the parent's block, of which the child has nothing
                pass

        def look():
            return lock.mode, lock.lost, lock.acquire(blocking=False)

        assert in_fork(look) == (None, False, False)
        assert lock.sessions() == [holder]
        lock.check()
    assert in_fork(lambda: (lock.acquire(exclusive=True, timeout=LONG), lock.mode)) == (True, "exclusive")
    del child


def test_a_child_leaves_the_block_in_which_it_was_forked(lock):
    def leave(block):
        block.__exit__(None, None, None)
        return lock.acquire(blocking=False)

    with lock.exclusive() as block:
        assert in_fork(lambda: leave(block)) is False


def test_a_parent_that_is_killed_frees_the_lock_though_its_child_lives(conninfo, name, lock):
    with Machine(conninfo, name) as machine:
        assert machine.ask("acquire", exclusive=True) is True
        child = machine.ask("fork")
        try:
            machine.kill()
            assert lock.acquire(exclusive=True, timeout=LONG)
        finally:
            os.kill(child, signal.SIGKILL)


# --- servers that are the wrong ones ----------------------------------------------------------------------------------


def test_a_server_that_is_not_there():
    lock = SharedLock("cache", f"host=127.0.0.1 port={postgres_server.free_port()} user=xctx dbname=postgres")
    with pytest.raises(ConnectionError, match=r"the lock 'cache' cannot be acquired: .*refused"):
        lock.acquire()
    with pytest.raises(ConnectionError):
        in_thread(lock.acquire)


def test_a_database_that_is_not_there(conninfo):
    lock = SharedLock("cache", conninfo.replace("dbname=postgres", "dbname=nowhere"))
    with pytest.raises(ConnectionError, match='database "nowhere" does not exist'):
        lock.acquire()


def test_a_standby_is_refused():
    standby = postgres_server.Server(tempfile.mkdtemp(prefix="xctx-postgres-"))
    try:
        standby.prepare()
        (standby.data / "standby.signal").touch()
        standby.start(hot_standby="on")
        with pytest.raises(ValueError, match=r"is a standby, which can only be read: nobody else sees its locks"):
            SharedLock("cache", standby.conninfo).acquire()
    finally:
        standby.remove()


@pytest.mark.parametrize("pooling", ["transaction", "session"])
def test_a_pooler_is_refused(server, pooling):
    if not shutil.which("pgbouncer"):
        pytest.skip("pgbouncer is not installed")
    port = postgres_server.free_port()
    configuration = server.data.parent / f"pgbouncer-{pooling}.ini"
    configuration.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={server.port} user=xctx\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = {pooling}\n"
        "unix_socket_dir =\nlogfile = /dev/null\nignore_startup_parameters = extra_float_digits,options\n"
    )
    configuration.chmod(0o644)
    pooler = server.run("pgbouncer", "-q", configuration)
    try:
        conninfo = f"host=127.0.0.1 port={port} user=xctx dbname=postgres"

        def answers():
            try:
                psycopg.connect(conninfo).close()
            except psycopg.OperationalError:
                return False
            return True

        eventually(answers)
        with pytest.raises(ValueError, match=r"is a pooler \(such as pgbouncer\), not the server itself"):
            SharedLock("cache", conninfo).acquire()
    finally:
        pooler.terminate()
        pooler.wait()


def test_settings_of_the_database_do_not_end_a_wait_or_a_session(sql, conninfo, name, lock, elsewhere):
    sql("ALTER ROLE xctx SET statement_timeout = '50ms'")
    sql("ALTER ROLE xctx SET idle_session_timeout = '50ms'")
    try:
        patient = SharedLock(name, conninfo + " application_name=patient", turn=1)
        with elsewhere.exclusive():
            assert patient.acquire(timeout=0.3) is False
        with patient.exclusive():
            began = clock()
            eventually(lambda: clock() > began + 0.2)
            patient.check()
    finally:
        sql("ALTER ROLE xctx RESET ALL")


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "message", "arguments"),
    [
        (TypeError, "a lock's name is a str, not 7", {"name": 7}),
        (TypeError, "a connection string or a psycopg_pool.ConnectionPool was wanted, not 7", {"conninfo": 7}),
        (ValueError, "bound is a number of seconds from 1 to 86400, not 0.5", {"bound": 0.5}),
        (ValueError, "turn is a number of seconds, more than 0 and no more than the bound, not 0", {"turn": 0}),
        (TypeError, "7 cannot be called: a function was wanted that takes the lock", {"on_lost": 7}),
        (ValueError, "on_death is 'warn', 'raise' or 'ignore', not 7", {"on_death": 7}),
    ],
)
def test_arguments_that_are_wrong(kind, message, arguments):
    with pytest.raises(kind) as raised:
        SharedLock(**{"name": "cache", "conninfo": "", **arguments})
    assert str(raised.value) == message


def test_other_options_for_the_same_lock(lock, conninfo, name):
    with pytest.raises(ValueError, match="in use with other options in this process"):
        SharedLock(name, conninfo, bound=20)
