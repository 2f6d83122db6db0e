"""Locks over a real server: what they promise while nothing fails."""

import asyncio
import gc
import os
import threading

import pytest
from helpers.effort import sized
from helpers.units import in_thread
from helpers.waiting import LONG, eventually, eventually_async
from machines import Machine

import xctx
from xctx._postgres.session import Session
from xctx.postgres import SharedLock, SharedRLock, advisory_key

MODES = ["shared", "exclusive"]


@pytest.fixture
def elsewhere(conninfo, name):
    """A lock of the same name with a session of its own, as another process would have."""
    return SharedLock(name, conninfo + " application_name=elsewhere")


@pytest.fixture
def statements(monkeypatch):
    """The statements that are sent to the server."""
    sent = []
    send = Session.send
    monkeypatch.setattr(Session, "send", lambda self, sql, *args: (sent.append(sql), send(self, sql, *args))[1])
    return sent


def waiting(lock, count=1):
    """Whether so many sessions wait for the lock at the server."""
    return sum(not each.granted for each in lock.sessions()) == count


# --- exclusion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", MODES)
@pytest.mark.parametrize("wanted", MODES)
def test_many_read_or_one_writes(lock, elsewhere, held, wanted):
    together = held == wanted == "shared"
    with getattr(lock, held)():
        assert elsewhere.acquire(wanted == "exclusive", blocking=False) == together
        if together:
            elsewhere.release()
        assert elsewhere.acquire(wanted == "exclusive", timeout=0.05) == together
        if together:
            elsewhere.release()
    assert lock.mode is None and elsewhere.mode is None


@pytest.mark.parametrize("wanted", MODES)
def test_a_waiter_gets_it_when_it_is_released(lock, elsewhere, wanted):
    got = []

    def wait():
        with getattr(elsewhere, wanted)(timeout=LONG):
            got.append(elsewhere.mode)

    with lock.exclusive():
        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: waiting(lock))
        assert not got
    thread.join()
    assert got == [wanted]


def test_processes_exclude_one_another(lock, conninfo, name):
    with Machine(conninfo, name) as one, Machine(conninfo, name) as two:
        assert one.ask("acquire", exclusive=True) is True
        assert two.ask("acquire", blocking=False) is False
        assert lock.acquire(timeout=0.01) is False
        eventually(lambda: [(each.mode, each.granted) for each in lock.sessions()] == [("exclusive", True)])
        two.tell("acquire", exclusive=True)
        eventually(lambda: waiting(lock))
        assert one.ask("release") is None
        assert two.answer() is True
        assert two.ask("mode") == "exclusive"


def test_units_of_a_process_exclude_one_another(lock):
    with lock.exclusive():
        assert in_thread(lambda: lock.acquire(blocking=False)) is False
        assert in_thread(lambda: lock.acquire(timeout=0.01)) is False
    with lock:
        assert in_thread(lambda: lock.acquire(blocking=False)) is True
        assert in_thread(lambda: lock.acquire(exclusive=True, blocking=False)) is False


def test_a_name_is_one_lock_however_often_it_is_opened(lock, conninfo, name):
    again = SharedRLock(name, conninfo, key=xctx.keys.thread)
    with lock.exclusive():
        assert in_thread(lambda: again.acquire(blocking=False)) is False
    assert len(lock.sessions()) <= 1


def test_a_name_in_another_namespace_is_another_lock(lock, conninfo, name):
    other = SharedLock(name, conninfo, namespace="other")
    with lock.exclusive(), other.exclusive():
        assert {each.pid for each in lock.sessions()}.isdisjoint(each.pid for each in other.sessions())


def test_the_key_is_what_the_manual_says(lock, name, sql):
    assert advisory_key("cache") == -1769684773126422871
    with lock:
        (session,) = lock.sessions()
        ((key,),) = sql(
            "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE objid IS NOT NULL AND pid = %s",
            session.pid,
        )
    assert key == lock.advisory_key == advisory_key(name)


@pytest.mark.parametrize("key", ["process", "thread", "greenlet", "task", "callable"])
def test_each_key_says_what_a_holder_is(conninfo, name, key):
    one = threading.get_ident()
    lock = SharedLock(name, conninfo, key=(lambda: one) if key == "callable" else getattr(xctx.keys, key))
    with lock.exclusive():
        held = in_thread(lambda: lock.mode)
        assert held == ("exclusive" if key in ("process", "callable") else None)


# --- the rules of the local lock --------------------------------------------------------------------------------------


def test_acquiring_again_is_an_error(lock):
    with lock:
        with pytest.raises(ValueError, match="not re-entrant"):
            lock.acquire()
        with pytest.raises(ValueError, match="Cannot upgrade"):
            lock.acquire(exclusive=True)
    with pytest.raises(ValueError, match="released too many times"):
        lock.release()


def test_a_re_entrant_lock_is_acquired_again(conninfo, name, elsewhere):
    lock = SharedRLock(name, conninfo)
    with lock.exclusive():
        with lock, lock.exclusive():
            assert lock.count == 3
        assert not elsewhere.acquire(blocking=False)
    assert lock.count == 0


def test_upgrade_and_downgrade(lock, elsewhere):
    with lock.upgradable():
        assert in_thread(lambda: lock.acquire(blocking=False))
        assert not in_thread(lambda: lock.acquire_upgradable(blocking=False))
        assert not elsewhere.acquire(blocking=False)
        assert lock.upgrade(timeout=LONG)
        assert lock.mode == "exclusive"
        assert not in_thread(lambda: lock.acquire(blocking=False))
        lock.downgrade()
        assert lock.mode == "shared"
        assert elsewhere.acquire(timeout=LONG)  # the server's lock is stepped down when its turn ends
        elsewhere.release()
        assert not elsewhere.acquire(exclusive=True, blocking=False)


def test_a_thread_that_ends_gives_back_what_it_held(conninfo, name):
    lock = SharedLock(name, conninfo, on_death="ignore")
    in_thread(lambda: lock.acquire(exclusive=True))
    assert lock.owner_died
    with lock.exclusive(mend=True, timeout=LONG):
        lock.mark_consistent()
    assert not lock.owner_died


def test_looking(lock, name):
    assert (lock.name, lock.locked(), lock.owner, lock.readers, lock.waiters) == (name, False, None, 0, 0)
    assert repr(lock) == f"<xctx.postgres.SharedLock {name!r}: free here>"
    with lock.exclusive():
        assert lock.owner == ("exclusive", os.getpid(), threading.get_native_id())
        assert repr(lock).endswith(f"exclusive by thread {threading.get_native_id()}>")
        assert not lock.lost
        lock.check()
    with lock:
        assert (lock.readers, lock.owner, lock.mode) == (1, None, "shared")


# --- what the two levels give -----------------------------------------------------------------------------------------


def test_readers_of_a_process_share_one_grant_without_asking(lock, statements):
    with lock:
        asked = len(statements)
        for _ in range(100):
            assert in_thread(lock.acquire)
        # Those are the looks at who else waits, which time brings about.
        assert {*statements[asked:]} <= {xctx._postgres.agent._LOOK}
        assert len(lock.sessions()) == 1


def test_a_process_that_reads_gets_the_lock_to_write_without_giving_it_away(lock, elsewhere, statements):
    with lock:
        assert in_thread(lambda: lock.acquire_upgradable(timeout=LONG) and elsewhere.acquire(blocking=False)) is False
        assert xctx._postgres.agent._RELEASE not in statements
        assert [(each.mode, each.granted) for each in lock.sessions()] == [("exclusive", True)]
    with lock.exclusive(timeout=LONG):
        assert lock.mode == "exclusive"


def test_a_process_that_reads_beside_another_gives_it_away_to_write(lock, elsewhere):
    left = []

    def leave():
        eventually(lambda: waiting(elsewhere))
        elsewhere.release()
        left.append(1)

    def read_elsewhere():
        assert elsewhere.acquire(timeout=LONG)
        leave()

    with lock:
        reader = threading.Thread(target=read_elsewhere)
        reader.start()
        eventually(lambda: len(lock.sessions()) == 2)
        assert in_thread(lambda: lock.acquire_upgradable(timeout=0.1)) is False
    assert lock.acquire_upgradable(timeout=LONG)
    assert left
    lock.release()
    reader.join()


def test_a_fencing_token_is_new_when_a_process_that_reads_gets_the_lock_to_write(conninfo, name):
    lock = SharedLock(name, conninfo, fencing=True)
    with lock.exclusive():
        before = lock.token
    read, leave = threading.Event(), threading.Event()

    def reader():
        with lock:
            read.set()
            leave.wait(LONG)

    eventually(lambda: not lock.sessions())
    thread = threading.Thread(target=reader)
    thread.start()
    read.wait(LONG)
    with lock.upgradable(timeout=LONG):
        leave.set()
        lock.upgrade(timeout=LONG)
        assert lock.token > before
    thread.join()


def test_a_thousand_greenlets_need_one_connection(lock, gevent):
    inside = []
    most = 0

    def use(number):
        nonlocal most
        with lock.exclusive() if number % 10 == 0 else lock:
            inside.append(number)
            most = max(most, len(lock.sessions()) if number % 100 == 0 else 0)
            gevent.sleep(0)
            assert not (number % 10 == 0 and len(inside) > 1)
            inside.remove(number)

    greenlets = [gevent.spawn(use, number) for number in range(1000)]
    gevent.joinall(greenlets, raise_error=True)
    assert most == 1


def test_the_hub_runs_while_a_greenlet_waits_for_the_server(lock, elsewhere, gevent):
    with elsewhere.exclusive():
        waiter = gevent.spawn(lock.acquire)
        ticks = 0
        while not waiting(lock):
            gevent.sleep(0.001)
            ticks += 1
        assert ticks
    assert waiter.get(timeout=LONG) is True


def test_under_gevents_patches(conninfo, name, gevent, python):
    script = f"""
        from gevent import monkey; monkey.patch_all()
        import gevent, threading, xctx.postgres
        lock = xctx.postgres.SharedLock({name!r}, {conninfo!r})
        inside = 0
        def use():
            global inside
            with lock.exclusive(timeout=60):
                inside += 1
                gevent.sleep(0)
                assert inside == 1
                inside -= 1
        gevent.joinall([gevent.spawn(use) for _ in range(100)], raise_error=True)
        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(lock.sessions()) <= 1)
    """
    import textwrap

    assert python(textwrap.dedent(script)) == "True\n"


def test_a_process_gives_the_lock_away_though_its_units_queue(lock, elsewhere):
    """Units of this process want to write all the time; one of another gets its turn."""
    stop = threading.Event()
    turns = [0] * 3

    def insist(number):
        while not stop.is_set():
            with lock.exclusive():
                turns[number] += 1

    threads = [threading.Thread(target=insist, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(sized(3, 20)):
            with elsewhere.exclusive(timeout=LONG):
                before = sum(turns)
            eventually(lambda before=before: sum(turns) > before)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_readers_that_overlap_without_pause_let_a_writer_in(lock, elsewhere):
    stop = threading.Event()
    running = threading.Barrier(3)

    def read():
        first = True
        while not stop.is_set():
            with lock:
                if first:
                    running.wait(LONG)
                    first = False

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    running.wait(LONG)
    try:
        assert elsewhere.acquire(exclusive=True, timeout=LONG)
        elsewhere.release()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_lock_that_nobody_uses_is_given_away_and_its_session_ends(lock, monkeypatch):
    monkeypatch.setattr("xctx._postgres.agent.LINGER", 0.05)
    with lock.exclusive():
        assert lock.sessions()
    eventually(lambda: not lock.sessions())
    eventually(lambda: not lock._agent._running)
    with lock:
        assert lock.sessions()


def test_a_lock_that_is_gone_holds_nothing(conninfo, name, elsewhere):
    lock = SharedLock(name, conninfo)
    lock.acquire(exclusive=True)
    del lock
    gc.collect()
    assert elsewhere.acquire(exclusive=True, timeout=LONG)


def test_processes_of_a_machine_take_turns_before_they_ask(conninfo, name):
    options = {"machine": f"test-{os.getpid()}"}
    lock = SharedLock(name, conninfo, **options)
    local = xctx.SharedLock(options["machine"])
    with Machine(conninfo, name, **options) as other:
        with lock.exclusive():
            assert other.ask("acquire", blocking=False) is False
            other.tell("acquire")
            eventually(lambda: local.waiters)
            assert len(lock.sessions()) == 1  # the other process does not wait there
        assert other.answer() is True
        assert lock.acquire(timeout=LONG)  # both read
        lock.release()


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", MODES)
def test_a_unit_that_gives_up_leaves_no_trace(lock, elsewhere, wanted):
    """Neither here, nor in the server's queue, where a writer would keep readers waiting."""
    with elsewhere.exclusive():
        with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
            with getattr(lock, wanted)(timeout=0.05):
                pass
        eventually(lambda: len(lock.sessions()) == 1)
    assert lock.waiters == 0


def test_a_writer_that_gives_up_lets_readers_of_its_process_go_on(lock, elsewhere):
    seen = threading.Event()

    def write():
        while not seen.is_set():
            assert not lock.acquire(exclusive=True, timeout=0.5)

    with elsewhere:
        writer = threading.Thread(target=write)
        writer.start()
        eventually(lambda: waiting(lock))
        seen.set()
        with lock.shared(timeout=LONG):
            assert len(lock.sessions()) == 2
        writer.join()


def test_a_greenlet_killed_while_it_waits_leaves_no_trace(lock, elsewhere, gevent):
    with elsewhere.exclusive():
        waiter = gevent.spawn(lock.acquire, exclusive=True)
        eventually(lambda: waiting(lock), pause=gevent.sleep)
        waiter.kill()
        eventually(lambda: waiting(lock, 0), pause=gevent.sleep)
    assert lock.waiters == 0


def test_an_interrupt_leaves_no_trace(lock, elsewhere):
    import _thread
    import signal

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with elsewhere.exclusive():

            def interrupt():
                eventually(lambda: waiting(lock))
                _thread.interrupt_main()

            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                lock.acquire()
            thread.join()
            eventually(lambda: waiting(lock, 0))
        assert (lock.waiters, lock.mode) == (0, None)
    finally:
        signal.signal(signal.SIGINT, before)


def test_tasks(lock, elsewhere):
    log = []

    async def write(name):
        async with lock.exclusive():
            log.append(name)
            await asyncio.sleep(0)
            log.append(name)

    async def main():
        await asyncio.gather(*(write(number) for number in range(20)))
        async with lock, elsewhere:
            assert lock.mode == elsewhere.mode == "shared"
        assert await lock.acquire_upgradable_async()
        assert await lock.upgrade_async()
        lock.release()
        assert await asyncio.wait_for(lock.acquire_async(exclusive=True), LONG)
        assert lock.mode == "exclusive"
        assert not await elsewhere.acquire_async(timeout=0)
        lock.release()

    asyncio.run(main())
    assert log[::2] == log[1::2] and sorted({*log}) == [*range(20)]


def test_the_loop_runs_while_a_task_waits_and_cancelling_leaves_no_trace(lock, elsewhere):
    async def main():
        async with elsewhere.exclusive():
            with pytest.raises(TimeoutError):
                async with lock.exclusive(timeout=0.05):
                    pass
            task = asyncio.create_task(lock.acquire_async(exclusive=True))
            await eventually_async(lambda: waiting(lock))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await eventually_async(lambda: waiting(lock, 0))
            assert lock.waiters == 0
        assert await lock.acquire_async(exclusive=True)
        lock.release()

    asyncio.run(main())


def test_a_plain_block_in_a_task_that_waits_for_another_task_raises(lock):
    async def main():
        async with lock.exclusive():

            async def other():
                with lock:
                    pass

            with pytest.raises(RuntimeError, match="this wait could not end"):
                await asyncio.create_task(other())

    asyncio.run(main())


def test_a_connection_of_a_pool(conninfo, name, elsewhere):
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    with ConnectionPool(conninfo, min_size=1, max_size=2, open=True) as pool:
        lock = SharedLock(name, pool)
        with lock.exclusive():
            assert not elsewhere.acquire(blocking=False)
            with pool.connection() as connection:  # the pool has others, and this one is as it was
                assert not connection.autocommit
        assert elsewhere.acquire(exclusive=True, timeout=LONG)
        elsewhere.release()
        lock._agent.stop()
    with pytest.raises(TypeError, match=r"a connection string or a psycopg_pool\.ConnectionPool was wanted"):
        SharedLock(name, AsyncConnectionPool(conninfo, open=False))
