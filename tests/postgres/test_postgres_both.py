"""What the local lock and the lock over PostgreSQL have in common, among processes: the same tests for both."""

import contextlib
import os
import random
import signal
import threading
import time

import pytest
from helpers.effort import STRESS_SECONDS, sized
from helpers.waiting import LONG, eventually
from machines import Machine, lock_of

MODES = ["shared", "exclusive"]


@pytest.fixture(params=["local", "postgres"])
def place(request, conninfo):
    """The connection string; None for the local lock."""
    return conninfo if request.param == "postgres" else None


@pytest.fixture
def lock_name(request, place):
    return f"test-{os.getpid()}-{request.node.name}" if place is None else request.node.name


@pytest.fixture
def lock(place, lock_name):
    return lock_of(lock_name, place)


@pytest.fixture
def machine(place, lock_name):
    with Machine(place, lock_name) as made:
        yield made


@pytest.fixture
def is_waiting(lock, place):
    """is_waiting(count): whether so many other processes wait for the lock."""

    def found(count=1):
        if place is None:
            return lock.waiters == count
        return sum(not each.granted for each in lock.sessions()) == count

    return found


@pytest.mark.parametrize("held", MODES)
@pytest.mark.parametrize("wanted", MODES)
def test_many_read_or_one_writes(lock, machine, held, wanted):
    together = held == wanted == "shared"
    assert machine.ask("acquire", exclusive=held == "exclusive") is True
    assert lock.acquire(wanted == "exclusive", blocking=False) == together
    assert lock.mode == ("shared" if together else None)
    if together:
        lock.release()
    assert machine.ask("release") is None
    assert lock.acquire(wanted == "exclusive", timeout=LONG) is True
    lock.release()


@pytest.mark.parametrize("wanted", MODES)
def test_a_waiter_gets_it_when_it_is_released(lock, machine, is_waiting, wanted):
    with lock.exclusive():
        machine.tell("acquire", exclusive=wanted == "exclusive")
        eventually(is_waiting)
    assert machine.answer() is True
    assert machine.ask("mode") == wanted


def test_a_killed_holder_gives_it_back(lock, machine):
    machine.ask("acquire", exclusive=True)
    assert lock.acquire(blocking=False) is False
    machine.kill()
    assert lock.acquire(exclusive=True, timeout=LONG) is True
    lock.release()


def test_one_that_is_killed_while_it_waits_keeps_nobody_waiting(lock, machine, is_waiting, place, lock_name):
    with lock, Machine(place, lock_name) as reader:
        machine.tell("acquire", exclusive=True)
        eventually(is_waiting)
        machine.kill()
        assert reader.ask("acquire", timeout=LONG) is True


def test_a_stopped_process_goes_on_holding_it(lock, machine):
    machine.ask("acquire", exclusive=True)
    machine.signal(signal.SIGSTOP)
    assert lock.acquire(timeout=0.1) is False
    machine.signal(signal.SIGCONT)
    assert machine.ask("release") is None
    assert lock.acquire(timeout=LONG) is True
    lock.release()


def test_a_writer_comes_in_among_readers_that_overlap_without_pause(lock, machine):
    stop = threading.Event()
    inside = threading.Barrier(3)

    def read():
        with lock:
            inside.wait(LONG)
        while not stop.is_set():
            with lock:
                pass

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(LONG)
    try:
        assert machine.ask("acquire", exclusive=True, timeout=LONG) is True
        assert machine.ask("release") is None
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_reader_comes_in_among_writers_in_a_row(lock, machine):
    stop = threading.Event()

    def write():
        while not stop.is_set():
            with lock.exclusive():
                pass

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert machine.ask("acquire", timeout=LONG) is True
        assert machine.ask("release") is None
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# --- storms -----------------------------------------------------------------------------------------------------------

SECONDS = STRESS_SECONDS * sized(5, 5)
PROCESSES = 50 if STRESS_SECONDS >= 10 else sized(3, 8)  # 50 in `make stress-postgres`


@pytest.fixture
def table(sql):
    sql("DROP TABLE IF EXISTS storm")
    sql("CREATE TABLE storm AS SELECT 0 AS value")


@pytest.mark.stress
@pytest.mark.parametrize("writes", [1, 10], ids=["readers", "writers"])
def test_a_storm_loses_no_update(sql, table, tmp_path, conninfo, place, lock_name, writes):
    with contextlib.ExitStack() as stack:
        machines = [
            stack.enter_context(Machine(place, lock_name, referee=str(tmp_path / "referee"))) for _ in range(PROCESSES)
        ]
        for machine in machines:
            machine.tell("work", seconds=SECONDS, conninfo=conninfo, writes=writes)
        done = [machine.answer() for machine in machines]
    assert all(isinstance(each, list) for each in done), done
    ((value,),) = sql("SELECT value FROM storm")
    assert value == sum(wrote for wrote, _ in done)
    print(
        f"{PROCESSES} processes in {SECONDS:g} s: {value} writes, {sum(read for _, read in done)} reads, no update lost"
    )


@pytest.mark.stress
def test_a_storm_of_kills(table, tmp_path, conninfo, request):
    """No two write at once, whoever is killed in the middle of what; and the others go on."""
    options = {"bound": 2, "referee": str(tmp_path / "referee")}
    call = {"conninfo": conninfo, "writes": 10}
    chance = random.Random(7)
    with contextlib.ExitStack() as stack:

        def start(seconds):
            machine = stack.enter_context(Machine(conninfo, request.node.name, **options))
            machine.tell("work", seconds=seconds, **call)
            return machine

        longer = SECONDS + 60  # than the storm: only what went wrong is heard of meanwhile
        machines = [start(longer) for _ in range(PROCESSES - 1)]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            machines[chance.randrange(len(machines))].kill()
            alive = [machine for machine in machines if machine.alive]
            machines = [*alive, start(longer)]
            assert [machine.answer() for machine in machines if machine.said] == []
        last = start(0.1)
        for machine in machines:
            machine.kill()
        assert isinstance(last.answer(), list)
