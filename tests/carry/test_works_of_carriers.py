"""Executors, threads, processes and greenlets: work in the unit of work of its caller, or in one of its own."""

import concurrent.futures as futures
import multiprocessing

import pytest
import work_module

import xctx
from xctx import concurrent

kept = work_module.kept


def look():
    seen = dict(vars(kept)), xctx.work.current() is not None
    kept.there = True
    return seen


def by_pool(**how):
    with concurrent.ThreadPoolExecutor(1, **how) as pool:
        return [pool.submit(look).result(), *pool.map(lambda _: look(), range(2))]


def by_any_executor(**how):
    with concurrent.CarryingExecutor(futures.ThreadPoolExecutor(1), **how) as pool:
        return [pool.submit(look).result(), *pool.map(lambda _: look(), range(2))]


def by_thread(**how):
    seen = []
    for _ in range(3):
        thread = concurrent.Thread(target=lambda: seen.append(look()), **how)
        thread.start()
        thread.join()
    return seen


def by_greenlet(**how):
    pytest.importorskip("gevent")
    import xctx.gevent

    return [xctx.gevent.spawn(look, **how).get() for _ in range(3)]


def by_greenlets(**how):
    pytest.importorskip("gevent")
    import xctx.gevent

    return xctx.gevent.Pool(1, **how).map(lambda _: look(), range(3))


def by_threads_of_gevent(**how):
    pytest.importorskip("gevent")
    import xctx.gevent

    pool = xctx.gevent.ThreadPool(1, **how)
    try:
        return pool.map(lambda _: look(), range(3))
    finally:
        pool.kill()


carriers = pytest.mark.parametrize(
    "by", [by_pool, by_any_executor, by_thread, by_greenlet, by_greenlets, by_threads_of_gevent]
)


@carriers
def test_in_the_callers(by):
    with xctx.work():
        kept.a = 1
        assert by() == [({"a": 1}, True), ({"a": 1, "there": True}, True), ({"a": 1, "there": True}, True)]
        assert kept.there


@carriers
def test_in_new_ones(by):
    with xctx.work():
        kept.a = 1
        assert by(work="new") == [({}, True)] * 3
        assert vars(kept) == {"a": 1}
    assert by(work="new") == [({}, True)] * 3


@carriers
def test_that_start_empty(by):
    with xctx.work():
        kept.a = 1
        assert by(bindings="empty", work="new") == [({}, True)] * 3
        assert [in_one for _, in_one in by(bindings="empty")] == [False] * 3


def test_in_processes():
    with xctx.work():
        kept.a = 1
        for work in ("same", "new"):
            with concurrent.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), work=work) as pool:
                expected = {"there": True} if work == "new" else {"a": 1, "there": True}
                assert pool.submit(work_module.look).result() == (expected, None, True)
                assert pool.submit(work_module.outside).result() is False
        assert vars(kept) == {"a": 1}


def test_misuse():
    with pytest.raises(ValueError, match="work is 'same' or 'new', not 'old'"):
        concurrent.ThreadPoolExecutor(1, work="old")
