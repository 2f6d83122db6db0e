"""Dask, for real: a cluster of worker processes."""

import warnings
from pathlib import Path

import pytest
from helpers.packages import installed

if not installed("distributed"):
    pytest.skip("Dask distributed is not installed here", allow_module_level=True)

from wire_names import current, request_id

import xctx.dask

pytestmark = pytest.mark.slow


def seen(*args, **kwargs):
    return vars(current), *args


async def seen_later(*args):
    return vars(current), *args


class Counter:
    def seen(self):
        return vars(current)


@pytest.fixture(scope="module")
def client():
    """A client of a cluster with one worker process, which has one thread: tasks run where others ran before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dask
        import distributed

        settings = {
            "distributed.worker.daemon": True,  # ends with this process, come what may
            "distributed.comm.timeouts.connect": "90s",
            "distributed.nanny.environ": {"PYTHONPATH": str(Path(__file__).parent)},
        }
        with (
            dask.config.set(settings),
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield xctx.dask.install(client)


BOUND = {"request_id": "r-1", "attempt": 1}


def test_what_is_submitted_or_mapped_runs_with_what_was_bound_and_the_next_with_nothing_of_it(client):
    with current(**BOUND, secret="s"):
        one, many = client.submit(seen, 1), client.map(seen, [1, 2])
    assert one.result(timeout=90) == (BOUND, 1)
    assert client.gather(many) == [(BOUND, 1), (BOUND, 2)]
    assert client.submit(seen, 1).result(timeout=90) == ({}, 1)
    assert client.map(seen, [1])[0].result(timeout=90) == ({}, 1)


def test_two_requests_get_two_results_and_one_gets_its_own_again(client):
    with current(request_id="r-1"):
        first, again = client.submit(seen, 7), client.submit(seen, 7)
    with current(request_id="r-2"):
        second = client.submit(seen, 7)
    assert first.key == again.key != second.key
    assert first.key.startswith("seen-")
    assert first.result(timeout=90)[0] == {"request_id": "r-1"}
    assert second.result(timeout=90)[0] == {"request_id": "r-2"}


def test_coroutine_functions(client):
    with current(**BOUND):
        sent = client.submit(seen_later, 1)
    assert sent.result(timeout=90) == (BOUND, 1)
    assert client.submit(seen_later, 1).result(timeout=90) == ({}, 1)


def test_a_function_that_carries_a_snapshot_of_everything(client):
    with current(**BOUND, secret="s"):
        function = xctx.carry(seen)
    assert client.submit(function, 1).result(timeout=90) == ({**BOUND, "secret": "s"}, 1)


def test_functions_of_a_graph(client):
    import dask

    with current(**BOUND):
        graph = dask.delayed(xctx.dask.carrying(seen))(dask.delayed(seen)(1))
    assert graph.compute(scheduler=client) == (BOUND, ({}, 1))


def test_functions_made_here_and_exceptions(client):
    with current(**BOUND):
        assert client.submit(lambda: request_id()).result(timeout=90) == "r-1"
        failing = client.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failing.result(timeout=90)
    assert client.submit(lambda: request_id()).result(timeout=90) is None


def test_actors_answer_to_many(client):
    with current(**BOUND):
        actor = client.submit(Counter, actor=True).result(timeout=90)
        assert actor.seen().result() == {}


def test_what_cannot_be_sent_is_told_or_refused_where_it_is_submitted(client, caplog):
    with current(request_id="r", attempt="many"):
        assert client.submit(seen).result() == ({"request_id": "r"},)
    assert "cannot carry 'attempt' of Current" in caplog.text
    with pytest.raises(TypeError, match="First input"):
        client.submit(7)
    with pytest.raises(TypeError, match="7 cannot be called"):
        xctx.dask.carrying(7)
    with pytest.raises(TypeError, match="has no method 'submit'"):
        xctx.dask.install(object())


def test_installing_again_is_as_once(client):
    xctx.dask.install(client, current)
    with current(**BOUND):
        assert client.submit(seen, 9).result(timeout=90) == (BOUND, 9)
        assert isinstance(xctx.dask.carrying(seen), xctx.dask.Carrying)
        assert repr(xctx.dask.carrying(seen)).endswith("carrying request-id, attempt>")
    assert xctx.dask.carrying(seen) is seen


kept = xctx.local(key=xctx.keys.work)


def leaves_open(name):
    found = sorted(vars(kept)), vars(current), xctx.work.current() is not None
    kept.name = name
    current(request_id=name).__enter__()
    return found


def test_a_task_is_a_unit_of_work_and_the_next_starts_clean(client):
    assert client.gather(client.map(leaves_open, ["a", "b", "c"])) == [([], {}, True)] * 3
    assert client.submit(leaves_open, "d").result() == ([], {}, True)
