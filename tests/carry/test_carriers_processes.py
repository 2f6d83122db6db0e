"""Processes and their pools that take bindings along."""

import concurrent.futures
import multiprocessing
import multiprocessing.pool

import pytest
from carry_module import ALL, START_METHODS, VAR, look, look_at_var

import xctx
import xctx.concurrent


@pytest.fixture
def x(key_name):
    """An xlocal of a module, as those that cross processes are."""
    return ALL[key_name]


@pytest.fixture(scope="module", params=START_METHODS)
def start_method(request):
    return multiprocessing.get_context(request.param)


@pytest.fixture(scope="module")
def process_pool(start_method):
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=start_method) as pool:
        yield pool


@pytest.fixture(scope="module")
def multiprocessing_pool(start_method):
    with start_method.Pool(1) as pool:
        yield pool
        pool.close()
        pool.join()


def test_process_pools(process_pool, x, key_name):
    with x(a=1):
        future = process_pool.submit(xctx.carry(look), key_name)
        assert list(process_pool.map(xctx.carry(look), [key_name])) == [{"a": 1}]
    assert future.result() == {"a": 1}
    assert process_pool.submit(look, key_name).result() == {}


def test_pools_of_multiprocessing(multiprocessing_pool, x, key_name):
    with x(a=1):
        assert multiprocessing_pool.apply(xctx.carry(look), (key_name,)) == {"a": 1}
        assert multiprocessing_pool.map(xctx.carry(look), [key_name] * 3) == [{"a": 1}] * 3
    assert multiprocessing_pool.apply(look, (key_name,)) == {}


@pytest.mark.sampled
def test_a_process_of_its_own(start_method, x, key_name):
    here, there = start_method.Pipe()
    with x(a=1):
        process = start_method.Process(target=xctx.carry(send), args=(there, key_name))
    process.start()
    assert here.recv() == {"a": 1}
    process.join()
    assert process.exitcode == 0


def send(pipe, key_name):
    pipe.send(look(key_name))


@pytest.mark.sampled
def test_an_executor_of_processes_that_carries(start_method, x, key_name):
    with xctx.concurrent.ProcessPoolExecutor(1, mp_context=start_method, contextvars=[VAR]) as pool:
        token = VAR.set(7)
        with x(a=1):
            futures = [pool.submit(look, key_name), pool.submit(look_at_var)]
            mapped = pool.map(look, [key_name] * 2)
        VAR.reset(token)
        assert [future.result() for future in futures] == [{"a": 1}, 7]
        assert list(mapped) == [{"a": 1}] * 2
        assert pool.submit(look, key_name).result() == {}
        assert pool.submit(look_at_var).result() is None


@pytest.mark.sampled
def test_a_pool_that_carries(start_method, x, key_name):
    with xctx.concurrent.Pool(1, context=start_method) as pool:
        with x(a=1):
            seen = [
                pool.apply(look, (key_name,)),
                pool.apply_async(look, (key_name,)).get(),
                *pool.map(look, [key_name]),
                *pool.map_async(look, [key_name]).get(),
                *pool.starmap(look, [(key_name,)]),
                *pool.starmap_async(look, [(key_name,)]).get(),
                *pool.imap(look, [key_name]),
                *pool.imap_unordered(look, [key_name]),
            ]
        assert seen == [{"a": 1}] * 8
        assert pool.apply(look, (key_name,)) == {}
        pool.close()
        pool.join()


class Sender(xctx.concurrent.Process):
    def __init__(self, pipe, key_name, **kwargs):
        super().__init__(**kwargs)
        self.pipe = pipe
        self.key_name = key_name

    def run(self):
        super().run()
        self.pipe.send(look(self.key_name))


@pytest.mark.sampled
@pytest.mark.parametrize("bindings", ["copy", "empty"])
@pytest.mark.parametrize("method", START_METHODS)
def test_a_process_that_carries(method, x, key_name, bindings):
    # With the default start method, which is that of the whole program.
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        here, there = multiprocessing.Pipe()
        process = Sender(there, key_name, bindings=bindings)
        with x(a=1):
            process.start()
        assert here.recv() == ({"a": 1} if bindings == "copy" else {})
        process.join()
        plain = xctx.concurrent.Process(target=send, args=(there, key_name))
        with x(a=2):
            plain.start()
        assert here.recv() == {"a": 2}
        plain.join()
        assert (process.exitcode, plain.exitcode) == (0, 0)
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.mark.sampled
def test_processes_that_start_empty(start_method, x, key_name):
    with xctx.concurrent.ProcessPoolExecutor(1, mp_context=start_method, bindings="empty") as pool:
        with x(a=1):
            assert pool.submit(look, key_name).result() == {}
    with xctx.concurrent.Pool(1, context=start_method, bindings="empty") as pool:
        with x(a=1):
            assert pool.apply(look, (key_name,)) == {}
        pool.close()
        pool.join()


# Threads
