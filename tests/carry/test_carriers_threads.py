"""Threads and their pools that take bindings along."""

import asyncio
import concurrent.futures
import contextvars
import sys

import pytest
from carry_module import ALL, VAR, look, look_and_set, look_at_var

import xctx
import xctx.concurrent


@pytest.fixture
def x(key_name):
    """An xlocal of a module, as those that cross processes are."""
    return ALL[key_name]


@pytest.mark.parametrize("bindings", ["copy", "empty"])
def test_threads_that_carry(x, key_name, bindings):
    seen = []

    class Looker(xctx.concurrent.Thread):
        def run(self):
            seen.append(look(key_name))
            super().run()

    looker = Looker(target=lambda: seen.append(look(key_name)), bindings=bindings)
    plain = xctx.concurrent.Thread(target=lambda: seen.append(look(key_name)), bindings=bindings)
    with x(a=1):
        looker.start()
        plain.start()
    looker.join()
    plain.join()
    assert seen == [{"a": 1} if bindings == "copy" else {}] * 3


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads take a context from 3.14 on")
def test_a_thread_given_a_context_runs_in_it():
    context = contextvars.Context()
    context.run(VAR.set, "given")
    seen = []
    thread = xctx.concurrent.Thread(target=lambda: seen.append((VAR.get(), look("greenlet"))), context=context)
    with ALL["greenlet"](a=1):
        thread.start()
    thread.join()
    assert seen == [("given", {"a": 1})]


@pytest.mark.parametrize("bindings", ["copy", "empty"])
def test_thread_pools_that_carry(x, key_name, bindings):
    expected = {"a": 1} if bindings == "copy" else {}
    with (
        xctx.concurrent.ThreadPoolExecutor(1, bindings=bindings) as pool,
        concurrent.futures.ThreadPoolExecutor(1) as inner,
        xctx.concurrent.CarryingExecutor(inner, bindings=bindings) as outer,
    ):
        with x(a=1):
            first = [pool.submit(look, key_name), outer.submit(look, key_name)]
            mapped = [*pool.map(look, [key_name]), *outer.map(look, [key_name])]
        assert [future.result() for future in first] == [expected] * 2
        assert mapped == [expected] * 2
        assert pool.submit(look, key_name).result() == {}
        assert outer.submit(look, key_name).result() == {}


def test_nothing_that_work_sets_reaches_later_work():
    with xctx.concurrent.ThreadPoolExecutor(1) as pool:
        assert pool.submit(look_and_set, 5).result() is None
        assert pool.submit(look_and_set, 6).result() is None
    with xctx.concurrent.ThreadPoolExecutor(1, contextvars=[VAR]) as pool:
        token = VAR.set(1)
        future = pool.submit(look_and_set, 5)
        VAR.reset(token)
        assert future.result() == 1
        assert pool.submit(look_at_var).result() is None


def test_a_pools_own_threads_are_hidden_from_work():
    """What an initializer leaves bound in a worker is not seen by work that took something along."""
    x = ALL["greenlet"]
    with xctx.concurrent.ThreadPoolExecutor(1, initializer=lambda: x(mine=1).__enter__()) as pool:
        assert pool.submit(look, "greenlet").result() == {}
        with x(a=1):
            assert pool.submit(look, "greenlet").result() == {"a": 1}


@pytest.mark.parametrize(
    "make",
    [
        lambda: xctx.concurrent.ThreadPoolExecutor(bindings="share"),
        lambda: xctx.concurrent.ProcessPoolExecutor(bindings="share"),
        lambda: xctx.concurrent.CarryingExecutor(None, bindings="share"),
        lambda: xctx.concurrent.Thread(bindings="share"),
        lambda: xctx.concurrent.Process(bindings="share"),
        lambda: xctx.concurrent.Pool(bindings="share"),
        lambda: asyncio.run(xctx.concurrent.to_thread(int, bindings="share")),
    ],
)
def test_work_that_runs_at_the_same_time_shares_no_context(make):
    with pytest.raises(ValueError, match="'copy' or 'empty' here, not 'share'"):
        make()


def test_an_unknown_way():
    with pytest.raises(ValueError, match="'copy', 'share' or 'empty', not 'some'"):
        xctx.concurrent.ThreadPoolExecutor(bindings="some")
    with pytest.raises(ValueError, match="'error' or 'skip', not 'some'"):
        xctx.concurrent.ProcessPoolExecutor(missing="some")


# asyncio
