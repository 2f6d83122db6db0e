"""One request, and its id in the logs of all who work for it: threads, greenlets, tasks, processes, a Celery worker.

A server gets a request whose ``baggage`` header carries an id, and has the work done all over the place. Nobody passes
the id on: the middleware binds it, what starts the work takes it along, and the filter of the log handler looks it up.

    python -m pip install celery gevent         # either may be missing
    python examples/one_request.py
"""

import asyncio
import contextlib
import http.client
import importlib.util
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import xctx
import xctx.celery
import xctx.concurrent
import xctx.logging
import xctx.wsgi


class Current(xctx.xlocal):
    request_id: Annotated[str, xctx.carried("request-id")]


current = Current()
log = logging.getLogger("example")


def work(where: str) -> str | None:
    """What is done everywhere. It is told where it is, but not for which request."""
    log.info("work in %s", where)
    return getattr(current, "request_id", None)


async def work_in_task(where: str) -> str | None:
    await asyncio.sleep(0)
    return work(where)


# --- all that a request has done elsewhere ----------------------------------------------------------------------------


GEVENT = importlib.util.find_spec("gevent") is not None
CELERY = importlib.util.find_spec("celery") is not None and os.name == "posix"  # so is its broker in the file system


def do_it_all() -> list[str | None]:
    """Has the work done by everyone, and gives the id that each of them saw."""
    done = [work("the request itself")]
    with xctx.concurrent.ThreadPoolExecutor(1) as threads:
        done.append(threads.submit(work, "a thread pool").result())
    spawn = multiprocessing.get_context("spawn")
    with xctx.concurrent.ProcessPoolExecutor(1, mp_context=spawn, initializer=set_up_logging) as processes:
        done.append(processes.submit(work, "a process pool").result())
    if GEVENT:
        from xctx.gevent import spawn as spawn_greenlet

        done.append(spawn_greenlet(work, "a greenlet").get())

    async def main() -> str | None:
        return await xctx.concurrent.create_task(work_in_task("an asyncio task"))

    done.append(asyncio.run(main()))
    if CELERY:
        done.append(celery_app().send_task("work", ["a Celery worker"]).get(timeout=120, interval=0.02))
    return done


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    done = do_it_all()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(map(str, done)).encode()]


# --- what has to be set up once, in each process ----------------------------------------------------------------------


def set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(xctx.logging.Filter(request_id=current))
    handler.setFormatter(logging.Formatter("[%(request_id)s] %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def celery_app() -> Any:
    from celery import Celery

    folder = os.environ["EXAMPLE_FOLDER"]
    places = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": f"{folder}/control"}
    app = Celery("example", broker="filesystem://", backend=f"file://{folder}/results", set_as_current=False)
    app.conf.update(
        broker_transport_options={**places, "polling_interval": 0.05},
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    app.task(work, name="work")
    xctx.celery.install()
    return app


def run_celery_worker() -> None:
    set_up_logging()
    celery_app().worker_main(
        ["--quiet", "worker", "--loglevel=ERROR", "--pool=solo", "--without-gossip", "--without-mingle"]
    )


# --- the program ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def celery_worker() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("control", "results"):
            Path(folder, name).mkdir()
        os.environ["EXAMPLE_FOLDER"] = folder
        worker = multiprocessing.get_context("spawn").Process(target=run_celery_worker, daemon=True)
        worker.start()
        try:
            yield
        finally:
            worker.kill()
            worker.join()


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def main() -> None:
    set_up_logging()
    with (
        celery_worker() if CELERY else contextlib.nullcontext(),
        make_server("127.0.0.1", 0, xctx.wsgi.Middleware(application), handler_class=Quiet) as server,
    ):
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            client = http.client.HTTPConnection("127.0.0.1", server.server_port)
            client.request("GET", "/", headers={"Baggage": "request-id=r-42"})
            done = client.getresponse().read().decode().split()
            client.close()
        finally:
            server.shutdown()
    assert set(done) == {"r-42"}, done
    log.info("all %d of them worked for r-42", len(done))


if __name__ == "__main__":
    # Other processes import what is to run there by name, and `__main__` is another module for each of them.
    sys.path.insert(0, str(Path(__file__).parent))
    import one_request

    one_request.main()
