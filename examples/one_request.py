"""One request, and its id in the logs of all who work for it: threads, greenlets, tasks, processes, a Dask worker.

A server gets a request whose ``baggage`` header carries an id, and has the work done all over the place. Nobody passes
the id on: the middleware binds it, what starts the work takes it along, and the filter of the log handler looks it up.

    python -m pip install distributed gevent    # either may be missing
    python examples/one_request.py
"""

import asyncio
import contextlib
import http.client
import importlib.util
import logging
import multiprocessing
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import xctx
import xctx.concurrent
import xctx.dask
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
DASK = importlib.util.find_spec("distributed") is not None


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
    if DASK:
        import distributed

        done.append(distributed.default_client().submit(work, "a Dask worker").result())
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


# --- the program ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def dask_worker() -> Iterator[None]:
    """A cluster with one worker process, whose client takes along what is bound where something is submitted."""
    import distributed

    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(set_up_logging)
        xctx.dask.install(client)
        yield


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def main() -> None:
    set_up_logging()
    with (
        dask_worker() if DASK else contextlib.nullcontext(),
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
