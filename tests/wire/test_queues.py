"""RQ and Dramatiq, for real: workers in threads and in processes, the latter over a Redis server."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.packages import installed
from helpers.waiting import eventually

if not (installed("rq") and installed("dramatiq")) or not hasattr(os, "fork"):
    pytest.skip("RQ or Dramatiq is not installed here, or does not run here", allow_module_level=True)

import queue_jobs
import rq
from wire_names import current, wire

import xctx
import xctx.dramatiq
import xctx.rq

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PATIENCE = 60
needs_redis = pytest.mark.skipif(not shutil.which("redis-server"), reason="no Redis server is installed here")


@pytest.fixture(scope="module")
def redis_socket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "socket"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(socket.exists)
        yield socket
    finally:
        server.kill()
        server.wait(PATIENCE)


@pytest.fixture
def redis(redis_socket):
    import redis

    with redis.Redis(unix_socket_path=str(redis_socket)) as connection:
        connection.flushall()
        yield connection


@contextlib.contextmanager
def running(*command, **variables):
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", **variables},
        start_new_session=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


# --- RQ ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_redis
@pytest.mark.parametrize("worker", ["rq.Worker", "rq.SimpleWorker"])
def test_jobs_of_rq(worker, redis, redis_socket):
    queue = rq.Queue(connection=redis, job_class=xctx.rq.Job)
    shared = {"of": "the program"}
    with current(request_id="r-17", secret="stays"):
        jobs = [queue.enqueue(queue_jobs.seen, "first", meta=shared)]
    jobs.append(queue.enqueue(queue_jobs.seen, "second", meta=shared))
    with current(request_id="r-18", attempt=1):
        jobs.append(queue.enqueue(queue_jobs.seen_by_coroutine, "third"))
    assert shared == {"of": "the program"}
    assert jobs[0].meta == {"of": "the program", "baggage": "request-id=r-17"}
    url = f"unix://{redis_socket}"
    options = ["worker", "--burst", "--url", url, "--job-class", "xctx.rq.Job", "--worker-class", worker]
    with running("-m", "rq.cli", *options) as process:
        process.wait(PATIENCE)  # it ends by itself when there is no more to do
    assert process.returncode == 0
    assert [job.get_status(refresh=True) for job in jobs] == ["finished"] * 3
    found = [job.return_value() for job in jobs]
    assert [each["bound"] for each in found] == [
        {"request_id": "r-17"}, {}, {"request_id": "r-18", "attempt": 1},
    ]  # fmt: skip
    assert [each["kept"] for each in found] == [{}] * 3
    assert all(each["work"] for each in found)
    assert (len({each["process"] for each in found}) == 1) == (worker == "rq.SimpleWorker")


@needs_redis
def test_a_job_of_rq_that_is_tried_again_has_what_it_had(redis, tmp_path):
    queue = rq.Queue(connection=redis, job_class=xctx.rq.Job)
    with current(request_id="r-17"):
        job = queue.enqueue(queue_jobs.fails_at_first, str(tmp_path / "seen"), retry=rq.Retry(max=1))
    rq.SimpleWorker([queue], connection=redis, job_class=xctx.rq.Job).work(burst=True, logging_level="CRITICAL")
    assert job.get_status(refresh=True) == "finished"
    assert [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()] == [{"request_id": "r-17"}] * 2
    assert vars(current) == {} and xctx.work.current() is None


@needs_redis
def test_a_subclass_says_which_xlocals_take_part_and_is_told_what_does_not(redis):
    reports = []

    class Other(xctx.xlocal):
        tenant: str

    wire.declare(other := Other(), tenant=str)

    class Job(xctx.rq.Job):
        xlocals = (other,)

        def report(name, reason):
            reports.append(name)

    with current(request_id="r-17"), other(tenant=5):
        job = rq.Queue(connection=redis, job_class=Job).enqueue(queue_jobs.seen)
    assert job.meta == {} and reports == ["tenant"]


# --- Dramatiq ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker():
    """That of queue_jobs, with a worker of one thread."""
    import dramatiq

    queue_jobs.told.clear()
    queue_jobs.broker.flush_all()
    worker = dramatiq.Worker(queue_jobs.broker, worker_timeout=10, worker_threads=1)
    worker.start()
    yield queue_jobs.broker
    worker.stop()


def done(broker, actor):
    broker.join(actor.queue_name, fail_fast=False)
    return queue_jobs.told


@pytest.mark.parametrize("actor", [queue_jobs.look, queue_jobs.look_as_coroutine])
def test_messages_of_dramatiq(broker, actor):
    with current(request_id="r-17", secret="stays"):
        actor.send("first")
    actor.send("second")
    with current(request_id="r-18", attempt=1):
        actor.send_with_options(args=("third",), delay=1)
    found = {each["name"]: each for each in done(broker, actor)}
    eventually(lambda: len(queue_jobs.told) == 3)
    found = {each["name"]: each for each in queue_jobs.told}
    assert {name: each["bound"] for name, each in found.items()} == {
        "first": {"request_id": "r-17"}, "second": {}, "third": {"request_id": "r-18", "attempt": 1},
    }  # fmt: skip
    assert [each["kept"] for each in found.values()] == [{}] * 3
    assert all(each["work"] for each in found.values())


def test_a_message_that_is_tried_again_has_what_it_had(broker):
    with current(request_id="r-17"):
        queue_jobs.look.send("again", fails=2)
    eventually(lambda: len(queue_jobs.told) == 3, PATIENCE)
    # What an attempt left bound, the next one has in its place only if it was carried: `attempt` was, on purpose.
    assert [each["bound"]["request_id"] for each in queue_jobs.told] == ["r-17"] * 3
    assert [each["kept"] for each in queue_jobs.told] == [{}] * 3


def test_the_next_of_a_pipeline_has_what_the_first_had(broker):
    import dramatiq

    with current(request_id="r-17"):
        pipeline = queue_jobs.first.message("one") | queue_jobs.look.message()
        assert isinstance(pipeline, dramatiq.pipeline)
        pipeline.run()
    eventually(lambda: len(queue_jobs.told) == 2)
    assert [(each["name"], each["bound"]["request_id"]) for each in queue_jobs.told] == [
        ("one", "r-17"), ("one then", "r-17"),
    ]  # fmt: skip


def test_after_a_message_that_is_skipped_nothing_stays_bound(broker):
    with current(request_id="r-17"):
        queue_jobs.skipped.send("never")
    queue_jobs.look.send("next")
    eventually(lambda: len(queue_jobs.told) == 1)
    assert [each["bound"] for each in queue_jobs.told] == [{}]


def test_the_chosen_xlocals_take_part_and_what_does_not_go_is_told():
    import dramatiq
    from dramatiq.brokers.stub import StubBroker

    reports, broker = [], StubBroker()

    class Other(xctx.xlocal):
        tenant: str

    wire.declare(other := Other(), tenant=str)
    for _ in range(2):  # again replaces
        xctx.dramatiq.install(broker, other, report=lambda name, reason: reports.append(name))
    assert [type(each) is xctx.dramatiq.Middleware for each in broker.middleware].count(True) == 1
    assert type(broker.middleware[0]) is xctx.dramatiq.Middleware

    @dramatiq.actor(broker=broker)
    def work():
        pass

    with current(request_id="r-17"), other(tenant=5):
        assert "baggage" not in work.send().options
    assert reports == ["tenant"]
    with pytest.raises(TypeError, match="carries nothing"):
        xctx.dramatiq.install(broker, xctx.xlocal())


@pytest.mark.slow
@needs_redis
def test_a_worker_of_processes(redis, redis_socket, tmp_path):
    url = f"unix://{redis_socket}"
    sending = (
        "import sys, queue_jobs\nfrom wire_names import current\nfor number in range(6):\n"
        "    with current(request_id=f'r-{number}'): queue_jobs.look.send(str(number), sys.argv[1])\n"
    )
    seen = tmp_path / "seen"
    subprocess.run(
        [sys.executable, "-c", sending, str(seen)], check=True, timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "XCTX_REDIS": url},
    )  # fmt: skip
    with running("-m", "dramatiq", "--processes", "2", "--threads", "2", "queue_jobs", XCTX_REDIS=url):
        end = time.monotonic() + PATIENCE
        while not seen.exists() or len(seen.read_text().splitlines()) < 6:
            assert time.monotonic() < end
            time.sleep(0.01)
    found = [json.loads(line) for line in seen.read_text().splitlines()]
    assert sorted((each["name"], each["bound"]["request_id"]) for each in found) == [
        (str(number), f"r-{number}") for number in range(6)
    ]
    assert [each["kept"] for each in found] == [{}] * 6
