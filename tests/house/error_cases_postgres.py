"""The exceptions of locks and sequences on PostgreSQL that need no server: see error_cases.py."""

import sys

import xctx
import xctx.postgres
from xctx._postgres.session import driver


def made(**arguments):
    return lambda: xctx.postgres.SharedLock(**{"name": "cache", "conninfo": "", **arguments})


def other_options():
    kept = made(name="options")()
    made(name="options", bound=20)()
    del kept


def token_of_nobody():
    _ = made(name="token", fencing=True)().token


def token_of_none():
    _ = made(name="no token")().token


def lost():
    lock = made(name="lost")()
    lock._local.acquire()  # as if the server had granted it, and taken it away
    lock.release()


def without_the_driver():
    before = sys.modules.get("psycopg")
    sys.modules["psycopg"] = None
    try:
        driver()
    finally:
        if before is None:
            del sys.modules["psycopg"]
        else:
            sys.modules["psycopg"] = before


POSTGRES = [
    (
        TypeError,
        "a connection string or a psycopg_pool.ConnectionPool was wanted, not …",
        "``postgres.SharedLock(name, conninfo)``, ``postgres.sequence(name, conninfo)``",
        made(conninfo=7),
    ),
    (
        ModuleNotFoundError,
        "xctx.postgres needs psycopg 3, as in `pip install xctx[postgres]`: …",
        "a lock is acquired, or ids are fetched",
        without_the_driver,
    ),
    (
        ValueError,
        "bound is a number of seconds from 1 to 86400, not …",
        "``SharedLock(bound=…)``",
        made(bound=0.1),
    ),
    (
        ValueError,
        "turn is a number of seconds, more than 0 and no more than the bound, not …",
        "``SharedLock(turn=…)``",
        made(turn=0),
    ),
    (
        TypeError,
        "… cannot be called: a function was wanted that takes the lock",
        "``SharedLock(on_lost=…)``",
        made(on_lost=7),
    ),
    (
        ValueError,
        "the lock … is in use with other options in this process: (bound, turn, machine, fencing) are …, not …",
        "two objects for one lock differ",
        other_options,
    ),
    (
        xctx.postgres.LockLost,
        "the lock … was lost while it was held: …",
        "the server gave it away, or may have; raised by each use of the lock by a unit that holds it",
        lost,
    ),
    (
        ValueError,
        "the lock … has no fencing tokens: make it with fencing=True",
        "``lock.token``",
        token_of_none,
    ),
    (
        ValueError,
        "a unit that holds the lock exclusively has a token; this one holds it …",
        "``lock.token``",
        token_of_nobody,
    ),
    (
        TypeError,
        "a sequence's name is a str, not …",
        "``sequence(name, conninfo)``",
        lambda: xctx.postgres.sequence(7, ""),
    ),
    (
        ValueError,
        "size is a number of ids from 1 to 1000000, not …",
        "``sequence(name, conninfo, size)``",
        lambda: xctx.postgres.sequence("ids", "", 0),
    ),
]

LEFT_OUT = {
    "the lock … cannot be acquired: the program is ending": "at the end of the program",
    "this process stood still for longer than the bound of … s": "the reason in a LockLost",
    "the server has not answered for … s": "the reason in a LockLost",
    "a pooler has passed the connection to another session": "the reason in a LockLost",
    "the server of the lock … cannot be reached: …": "takes a server that is down: test_postgres_failures.py",
    "no ids of the sequence … can be had: …": "takes a server that is down: test_postgres_sequence.py",
    "there is no sequence …: …": "takes a server: test_postgres_sequence.py",
    "there is no sequence …: what has that name is something else": "takes a server: test_postgres_sequence.py",
    "the sequence … counts down, or begins again at its end: its values are not ids": "takes a server: "
    "test_postgres_sequence.py",
}
