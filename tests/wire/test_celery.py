"""Celery, for real: worker processes, one for each kind of pool, over a broker in the file system."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.packages import installed

if not installed("celery") or not hasattr(os, "fork"):
    pytest.skip("Celery is not installed here, or its workers do not run here", allow_module_level=True)

from wire_names import current

import xctx

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
POOLS = ["prefork", "threads", "solo", *(["gevent"] if installed("gevent") else [])]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """The module of the tasks, as a program that sends them imports it."""
    folder = tmp_path_factory.mktemp("celery")
    for name in ("messages", "control", "results"):
        (folder / name).mkdir()
    os.environ["XCTX_CELERY_FOLDER"] = str(folder)
    import celery_files
    import celery_tasks

    import xctx.celery

    with celery_tasks.app.connection_for_write() as connection:  # so that two processes need not make it at a time
        for queue in ("celery", *POOLS):
            celery_tasks.app.amqp.queues[queue](connection.default_channel).declare()
        assert isinstance(connection.transport, celery_files.Transport)
    yield celery_tasks
    xctx.celery.uninstall()
    celery_tasks.app.close()


@contextlib.contextmanager
def running(pool, concurrency, queue, log):
    """result(sent): waits for a task of that queue, which a worker with such a pool runs."""
    import celery.exceptions

    command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", f"--pool={pool}"]
    command += [f"--concurrency={concurrency}", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    command += [f"--queues={queue}", "--loglevel=WARNING"]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}", "XCTX_CELERY_WORKER": "1"},
            start_new_session=True,
        )
    try:

        def result(sent):
            try:
                return sent.get(timeout=60, interval=0.02)
            except celery.exceptions.TimeoutError:
                raise AssertionError(f"no result; the worker's status is {process.poll()}: {log.read_text()}") from None

        yield result
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module", params=POOLS)
def worker(request, tasks, tmp_path_factory):
    """A worker that runs one task at a time, each where others ran, but for greenlets."""
    with running(request.param, 1, "celery", tmp_path_factory.mktemp("log") / "worker.log") as result:
        yield result


BOUND = {"request_id": "r-1", "attempt": 1}


def test_a_task_has_what_was_bound_where_it_was_sent_and_the_next_has_nothing_of_it(tasks, worker):
    with current(**BOUND, secret="s"):
        sent = tasks.seen.delay()
    assert worker(sent) == [BOUND]
    assert worker(tasks.seen.delay()) == [{}]
    with current(request_id="r-2"):
        failing, after = tasks.fails.delay(), tasks.seen.delay()
    with pytest.raises(LookupError, match="r-2"):
        worker(failing)
    assert worker(after) == [{"request_id": "r-2"}]
    assert worker(tasks.seen.delay()) == [{}]
    assert worker(tasks.pid.delay()) == worker(tasks.pid.delay()) != os.getpid()  # a single process had all these


def test_retries_have_what_the_first_try_had_and_what_it_bound(tasks, worker):
    with current(request_id="r-1"):
        sent = tasks.retried.delay()
    assert worker(sent) == {"request_id": "r-1", "attempt": 2}


def test_chains_and_groups(tasks, worker):
    from celery import group

    with current(**BOUND):
        chain = (tasks.seen.s() | tasks.seen.s() | tasks.seen.s()).delay()
        both = group(tasks.seen.s(), tasks.seen.s()).delay()
    assert worker(chain) == [BOUND] * 3
    assert worker(both) == [[BOUND], [BOUND]]


def test_a_task_that_sends_another(tasks, worker):
    with current(**BOUND):
        sent = tasks.sends.delay()
    inner = tasks.app.AsyncResult(worker(sent))
    assert worker(inner) == [{"request_id": "r-1/inner", "attempt": 1}]


def test_headers_of_others(tasks, worker):
    with current(request_id="r-1"):
        sent = tasks.seen.apply_async(headers={"baggage": "attempt=7,user=ada,request-id=old", "other": 1})
    assert worker(sent) == [{"request_id": "r-1", "attempt": 7}]
    assert worker(tasks.seen.apply_async(headers={"baggage": "rubbish,,attempt=x"})) == [{}]
    assert worker(tasks.seen.apply_async(headers={"baggage": {"not": "text"}})) == [{}]


def test_a_task_run_eagerly_sees_what_its_caller_has_bound(tasks):
    with current(**BOUND, secret="s"):
        assert tasks.seen.apply().get() == [{**BOUND, "secret": "s"}]
        assert tasks.seen.apply(headers={"baggage": "attempt=2"}).get() == [{**BOUND, "attempt": 2, "secret": "s"}]
        assert tasks.retried.apply().get() == {**BOUND, "secret": "s"}
        tasks.app.conf.task_always_eager = True
        try:
            assert (tasks.seen.s() | tasks.seen.s()).delay().get() == [{**BOUND, "secret": "s"}] * 2
        finally:
            tasks.app.conf.task_always_eager = False
        assert vars(current) == {**BOUND, "secret": "s"}
    assert vars(current) == {}


def test_installing_twice_is_as_once_and_uninstalling_undoes_it(tasks):
    from celery import signals

    import xctx.celery

    receivers = [signals.before_task_publish, signals.task_prerun, signals.task_postrun]
    before = [len(each.receivers) for each in receivers]
    xctx.celery.install(current)
    assert [len(each.receivers) for each in receivers] == before
    xctx.celery.uninstall()
    with current(**BOUND):
        assert tasks.seen.apply(headers={"baggage": "attempt=2"}).get() == [BOUND]
    with pytest.raises(TypeError, match="carries nothing"):
        xctx.celery.install(xctx.xlocal())
    xctx.celery.install()
    with current(**BOUND):
        assert tasks.seen.apply(headers={"baggage": "attempt=2"}).get() == [{**BOUND, "attempt": 2}]


def test_a_task_is_a_unit_of_work_and_the_next_starts_clean(tasks, worker):
    for name in "abc":
        assert worker(tasks.leaves_open.delay(name)) == [[], {}]
        with pytest.raises(LookupError):
            worker(tasks.leaves_open.delay(name, fails=True))


def test_run_eagerly_it_is_one_inside_its_callers(tasks):
    with xctx.work() as unit:
        tasks.kept.caller = 1
        assert tasks.leaves_open.apply(["a"]).get() == ([], {})
        assert xctx.work.current() is unit
        assert vars(tasks.kept) == {"caller": 1}
        assert not vars(current)


@pytest.mark.parametrize("pool", [pool for pool in POOLS if pool != "solo"])
def test_tasks_that_run_at_the_same_time_are_kept_apart(pool, tasks, tmp_path):
    size = 3
    with running(pool, size, pool, tmp_path / "worker.log") as result:
        for turn in range(4):
            sent = []
            for number in range(size):
                with current(request_id=f"{turn}/{number}"):
                    sent.append(tasks.together.apply_async([f"{pool}-{turn}", number, size], queue=pool))
            for number, each in enumerate(sent):
                bound = {"request_id": f"{turn}/{number}"}
                found, seen, met = result(each)
                assert (found, met) == ([[], bound], size)
                assert seen == [[{"number": number}, {**bound, "attempt": number}]]
