"""Fencing tokens: numbers that grow with each exclusive grant, so that a late writer can be refused."""

import pytest
from helpers.waiting import LONG
from machines import Machine

from xctx.postgres import LockLost, SharedLock


@pytest.fixture
def lock(conninfo, name):
    return SharedLock(name, conninfo, fencing=True)


@pytest.fixture
def elsewhere(conninfo, name):
    return SharedLock(name, conninfo + " application_name=elsewhere", fencing=True)


@pytest.fixture(params=["with a table", "without"])
def table(request, sql):
    sql("DROP TABLE IF EXISTS xctx_fencing")
    if request.param == "with a table":
        sql("CREATE TABLE xctx_fencing (lock bigint PRIMARY KEY, token bigint NOT NULL)")


def test_a_token_grows_with_each_grant(lock, elsewhere, table):
    tokens = []
    for _ in range(3):
        for one in (lock, elsewhere):
            with one.exclusive(timeout=LONG):
                tokens.append(one.token)
    assert tokens == sorted({*tokens})
    with lock.upgradable(timeout=LONG):
        assert lock.token > tokens[-1]


def test_a_process_that_was_killed_had_a_smaller_one(lock, conninfo, name, table):
    with Machine(conninfo, name, fencing=True) as machine:
        machine.ask("acquire", exclusive=True)
        theirs = machine.ask("token")
        machine.kill()
    with lock.exclusive(timeout=LONG):
        assert lock.token > theirs


def test_which_units_have_none(lock, conninfo, name, sql):
    with pytest.raises(ValueError, match="this one holds it not at all"):
        lock.token
    with lock, pytest.raises(ValueError, match="this one holds it shared"):
        lock.token
    with pytest.raises(ValueError, match="make it with fencing=True"):
        SharedLock(name + "2", conninfo).token
    with pytest.raises(LockLost):
        with lock.exclusive():
            for session in lock.sessions():
                sql("SELECT pg_terminate_backend(%s)", session.pid)
            while True:
                lock.token


def test_a_user_who_may_not_make_the_table_is_told(lock, conninfo, name, sql):
    sql("DROP TABLE IF EXISTS xctx_fencing")
    sql("DROP ROLE IF EXISTS guest")
    sql("CREATE ROLE guest LOGIN")
    sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    guest = SharedLock(name, conninfo.replace("user=xctx", "user=guest"), fencing=True)
    with pytest.raises(RuntimeError, match="cannot be acquired: permission denied for schema public"):
        guest.acquire(exclusive=True)
    assert guest.acquire()  # a reader needs no token
    guest.release()
    with lock.exclusive(timeout=LONG):
        assert lock.token == 1
