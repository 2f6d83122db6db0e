"""Ids of a sequence, in batches: exactly once, whichever unit asks, and what becomes of them when something fails."""

import subprocess
import sys
import threading

import pytest
from helpers.interpreters import environment
from helpers.units import in_fork
from helpers.waiting import LONG

import xctx
from xctx.postgres import sequence


@pytest.fixture(params=[1, 10], ids=["increment of 1", "increment of 10"])
def increment(request):
    return request.param


@pytest.fixture
def ids(sql, conninfo, increment):
    sql("DROP SEQUENCE IF EXISTS ids")
    sql(f"CREATE SEQUENCE ids INCREMENT BY {increment}")
    made = sequence("ids", conninfo, 100)
    yield made
    made.close()


def test_as_many_as_are_wanted(ids):
    assert ids() == [*range(1, 101)]
    assert ids(20) == [*range(101, 121)]
    assert ids.size == 100


def test_as_the_source_of_an_executor(ids):
    with xctx.BatchExecutor.from_batches(ids, ids.size, prefetch=25) as executor:
        assert [executor.load() for _ in range(250)] == [*range(1, 251)]


def test_threads_and_processes_get_each_id_once(ids, conninfo):
    script = f"""
        import xctx, xctx.postgres
        ids = xctx.postgres.sequence("ids", {conninfo!r}, 50)
        executor = xctx.BatchExecutor.from_batches(ids, ids.size)
        print(*[executor.load() for _ in range(500)])
    """
    import textwrap

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, env=environment()
        )
        for _ in range(2)
    ]
    executor = xctx.BatchExecutor.from_batches(ids, ids.size)
    mine = []
    threads = [threading.Thread(target=lambda: mine.extend(executor.load() for _ in range(250))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = mine + [int(each) for process in processes for each in process.communicate(timeout=LONG)[0].split()]
    assert len(every) == len({*every}) == 2000


def test_the_hub_runs_meanwhile(ids, gevent):
    ticks = []
    ticker = gevent.spawn(lambda: [ticks.append(gevent.sleep(0)) for _ in range(10**6)])
    got = gevent.spawn(ids)
    assert got.get(timeout=LONG) == [*range(1, 101)]
    ticker.kill()
    assert ticks


def test_a_connection_that_ended_is_replaced(ids, sql):
    first = ids(10)
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'xctx ids ids'")
    assert {*ids(10)}.isdisjoint(first)


def test_a_forked_child_has_a_connection_of_its_own(ids):
    first = ids(10)
    theirs = in_fork(lambda: ids(10))
    mine = ids(10)
    assert len({*first, *theirs, *mine}) == 30


def test_errors(conninfo, sql):
    with pytest.raises(TypeError, match="a sequence's name is a str, not 7"):
        sequence(7, conninfo)
    with pytest.raises(ValueError, match="size is a number of ids from 1 to 1000000, not 0"):
        sequence("ids", conninfo, 0)
    with pytest.raises(LookupError, match="there is no sequence 'nothing': relation \"nothing\" does not exist"):
        sequence("nothing", conninfo)()
    with pytest.raises(LookupError, match="what has that name is something else"):
        sequence("pg_class", conninfo)()
    for how in ("INCREMENT BY -1", "CYCLE"):
        sql("DROP SEQUENCE IF EXISTS odd")
        sql(f"CREATE SEQUENCE odd {how}")
        with pytest.raises(ValueError, match="counts down, or begins again at its end"):
            sequence("odd", conninfo)()
    with pytest.raises(ConnectionError, match="no ids of the sequence 'ids' can be had"):
        sequence("ids", "host=127.0.0.1 port=1 connect_timeout=2")()
