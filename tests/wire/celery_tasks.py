"""The Celery application that test_celery.py runs, in a worker process of its own."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from celery import Celery
from wire_names import current, request_id

import xctx
import xctx.celery

folder = os.environ["XCTX_CELERY_FOLDER"]
app = Celery("tasks")
app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={
        "data_folder_in": f"{folder}/messages",
        "data_folder_out": f"{folder}/messages",
        "control_folder": f"{folder}/control",
        "polling_interval": 0.02,
    },
    broker_transport="celery_files:Transport",
    result_backend=f"celery_files.Results+file://{folder}/results",
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
)
xctx.celery.install()

if "XCTX_CELERY_WORKER" in os.environ and sys.platform == "linux":
    # It ends with the test that started it, come what may; what it forked ends when nobody writes to it.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@app.task
def seen(*before):
    return [*(before[0] if before else ()), vars(current)]


@app.task(bind=True, max_retries=2)
def retried(self):
    if self.request.retries < 2:
        with current(attempt=self.request.retries + 1):
            raise self.retry(countdown=0)
    return vars(current)


@app.task
def sends():
    with current(request_id=f"{request_id()}/inner"):
        return seen.delay().id


@app.task
def fails():
    raise LookupError(request_id())


@app.task
def pid():
    return os.getpid()


kept = xctx.local(key=xctx.keys.work)


@app.task
def leaves_open(name, fails=False):
    """What it finds kept and bound; then it leaves something of both."""
    found = sorted(vars(kept)), vars(current)
    kept.name = name
    current(request_id=name).__enter__()
    if fails:
        raise LookupError(name)
    return found


@app.task
def together(party, number, size):
    """Leaves something kept and bound, like `leaves_open`, and ends only when all of its party run at the same time.

    Gives what it found, all that it saw of its own meanwhile, and how many were there.
    """
    found = sorted(vars(kept)), vars(current)
    kept.number = number
    current(attempt=number).__enter__()
    Path(folder, f"{party}-{number}").touch()
    seen = []
    ends = time.monotonic() + 60
    while (met := len(list(Path(folder).glob(f"{party}-*")))) < size and time.monotonic() < ends:
        seen.append((vars(kept), vars(current)))
        time.sleep(0.002)
    seen.append((vars(kept), vars(current)))
    return found, [each for n, each in enumerate(seen) if each not in seen[:n]], met
