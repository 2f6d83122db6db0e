"""Programs of others under ``python -m xctx run``, unchanged: servers, workers, a test run.

Each program has a store of threading's, and some have one of werkzeug's or asgiref's. It is set at the beginning of a
request and read after a pause, while others are answered. The answer says whether it found its own value,
and of which class the store is, so a process that is not patched is found out.
"""

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from helpers.interpreters import environment
from helpers.packages import installed

pytestmark = pytest.mark.slow

PATIENCE = 60
REQUESTS = 24

FLASK = """
import os, sys, threading, time
import flask, werkzeug.local
app = flask.Flask(__name__)
thread_store, context_store = threading.local(), werkzeug.local.Local()

def of_xctx(store):
    return any(cls.__module__.startswith("xctx") for cls in type(store).__mro__)

@app.route("/<int:number>")
def answer(number):
    thread_store.number = context_store.number = flask.g.number = number
    time.sleep(0.01)
    apart = thread_store.number == context_store.number == flask.g.number == int(flask.request.path[1:]) == number
    patched = of_xctx(thread_store) and of_xctx(context_store) and of_xctx(flask.g) and of_xctx(flask.request)
    return {"apart": apart, "patched": patched, "process": os.getpid()}
"""

ASGI = """
import asyncio, json, os, threading
from asgiref.local import Local
from asgiref.sync import sync_to_async
thread_store, context_store = threading.local(), Local()

def of_xctx(store):
    return any(cls.__module__.startswith("xctx") for cls in type(store).__mro__)

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    number = int(scope["path"][1:])
    context_store.number = number
    await asyncio.sleep(0.01)
    def look():
        return context_store.number
    def look_back():
        context_store.number = -number
    apart = context_store.number == number == await sync_to_async(look)()
    await sync_to_async(look_back)()
    apart = apart and context_store.number == -number
    patched = of_xctx(thread_store) and of_xctx(context_store)
    body = json.dumps({"apart": apart, "patched": patched, "process": os.getpid()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""

MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "site_of_tests"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

DJANGO = """
import os, threading, time
from asgiref.local import Local
from django.http import JsonResponse
from django.urls import path
SECRET_KEY = "no secret"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
thread_store, context_store, critical = threading.local(), Local(), Local(thread_critical=True)

def of_xctx(store):
    return any(cls.__module__.startswith("xctx") for cls in type(store).__mro__)

def answer(request, number):
    thread_store.number = context_store.number = critical.number = number
    time.sleep(0.01)
    apart = thread_store.number == context_store.number == critical.number == number
    patched = of_xctx(thread_store) and of_xctx(context_store) and of_xctx(critical)
    return JsonResponse({"apart": apart, "patched": patched, "process": os.getpid()})

urlpatterns = [path("<int:number>", answer)]
"""

CELERY = """
import os, threading, time
import celery
app = celery.Celery("tasks", broker="filesystem://", backend="file://" + os.environ["RESULTS"])
folder = os.environ["QUEUE"]
app.conf.broker_transport_options = {
    "data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "/control",
}
app.conf.worker_hijack_root_logger = False
store = threading.local()

@app.task
def answer(number):
    store.number = number
    time.sleep(0.01)
    patched = any(cls.__module__.startswith("xctx") for cls in type(store).__mro__)
    return {"apart": store.number == number, "patched": patched, "process": os.getpid()}
"""


def needs(*packages):
    missing = [package for package in packages if not installed(package)]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}")


@contextlib.contextmanager
def running(folder, *command, **variables):
    """A program of a process group of its own, which is ended afterwards."""
    with open(folder / "said", "w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "xctx", "run", *map(str, command)],
            cwd=folder, stdout=said, stderr=said, start_new_session=True,
            env=environment([folder], without=("PYTHONSAFEPATH",), **variables),
        )  # fmt: skip
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def ask(port, number):
    """The answer to a request, which waits until the server is up."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=PATIENCE) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def check_answers(folder, port):
    """Asks many times at once; gives the processes that answered."""
    try:
        ask(port, 1)
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda number: ask(port, number), range(1, REQUESTS + 1)))
    except Exception as exc:
        raise AssertionError((folder / "said").read_text()) from exc
    assert [each for each in answers if not each["apart"]] == []
    assert [each for each in answers if not each["patched"]] == []
    return {each["process"] for each in answers}


@needs("flask", "gunicorn", "gevent")
@pytest.mark.parametrize("worker", ["gevent", "gthread"])
def test_gunicorn(tmp_path, worker):
    (tmp_path / "served.py").write_text(FLASK)
    port = free_port()
    options = [
        "-k",
        worker,
        "--threads",
        "4",
        "--workers",
        "2",
        "--bind",
        f"127.0.0.1:{port}",
        "--graceful-timeout",
        "5",
    ]
    with running(tmp_path, "--all", "-m", "gunicorn", *options, "served:app") as server:
        assert server.pid not in check_answers(tmp_path, port)
    assert server.returncode == 0


@needs("uvicorn", "asgiref")
@pytest.mark.parametrize("workers", [1, 2])
def test_uvicorn(tmp_path, workers):
    (tmp_path / "served.py").write_text(ASGI)
    port = free_port()
    options = ["--workers", workers, "--port", port, "--loop", "asyncio", "--http", "h11"]
    with running(tmp_path, "--all", "-m", "uvicorn", *options, "served:app") as server:
        assert (server.pid in check_answers(tmp_path, port)) == (workers == 1)


@needs("django")
def test_django_and_its_reloader(tmp_path):
    (tmp_path / "manage.py").write_text(MANAGE)
    site = tmp_path / "site_of_tests.py"
    site.write_text(DJANGO)
    port = free_port()
    with running(tmp_path, "--all", "manage.py", "runserver", port) as server:
        before = check_answers(tmp_path, port)
        assert server.pid not in before
        end = time.monotonic() + PATIENCE
        while (after := check_answers(tmp_path, port)) == before and time.monotonic() < end:
            site.write_text(DJANGO)  # until the reloader looks at it
            os.utime(site, (time.time() + 10, time.time() + 10))
            time.sleep(1)
        assert after != before


@needs("celery")
@pytest.mark.parametrize(
    "pool", [*(pytest.param(pool, marks=pytest.mark.thorough) for pool in ("solo", "threads", "gevent")), "prefork"]
)
def test_celery(tmp_path, pool):
    if pool == "gevent" and not installed("gevent"):
        pytest.skip("no gevent")
    (tmp_path / "tasks.py").write_text(CELERY)
    for name in ("queue", "results", "queue/control"):
        (tmp_path / name).mkdir()
    told = {"QUEUE": str(tmp_path / "queue"), "RESULTS": str(tmp_path / "results")}
    asking = "import json, sys, tasks; from celery import group; " \
        "print(json.dumps(group(tasks.answer.s(n) for n in range(12))().get(timeout=60)))"  # fmt: skip
    options = ["--pool", pool, "--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    with running(tmp_path, "--all", "-m", "celery", "-A", "tasks", "worker", *options, **told) as worker:
        done = subprocess.run(
            [sys.executable, "-c", asking], capture_output=True, text=True, timeout=2 * PATIENCE, cwd=tmp_path,
            env=environment([tmp_path], **told),
        )  # fmt: skip
        assert done.returncode == 0, (done.stderr, (tmp_path / "said").read_text())
        answers = json.loads(done.stdout)
        assert all(each["apart"] and each["patched"] for each in answers)
        assert (worker.pid in {each["process"] for each in answers}) == (pool != "prefork")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_pytest(tmp_path, workers):
    (tmp_path / "test_it.py").write_text(
        "import threading\ndef test():\n    assert 'xctx' in threading.local.__mro__[1].__module__\n"
        "def test_fails():\n    assert not 'fails'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "xctx", "run", "--all", "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers],
        capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
