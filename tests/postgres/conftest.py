"""Fixtures of the tests with a real server: `make test-postgres` runs them."""

import postgres_server
import psycopg
import pytest

import xctx.postgres


@pytest.fixture(scope="session")
def running_server():
    with postgres_server.server() as made:
        yield made


@pytest.fixture
def server(running_server):
    return running_server


@pytest.fixture
def conninfo(server):
    return server.conninfo


@pytest.fixture
def name(request):
    return request.node.name


@pytest.fixture
def sql(server):
    """sql(statement): the rows of a statement, in a session of its own."""

    def run(statement, *arguments):
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def lock(conninfo, name):
    return xctx.postgres.SharedLock(name, conninfo)
