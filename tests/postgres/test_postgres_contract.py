"""The contract of all locks, kept by those over PostgreSQL."""

import itertools

import pytest
from helpers.lock_contract import *  # noqa: F403

import xctx.postgres


@pytest.fixture
def new_lock(conninfo, name):
    numbers = itertools.count()
    return lambda kind="SharedLock", **options: getattr(xctx.postgres, kind)(
        f"{name} {next(numbers)}", conninfo, **options
    )
