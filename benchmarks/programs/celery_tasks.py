"""Tasks of Celery, whose queue is a folder in ``PROGRAM_FOLDER``. They know nothing of xctx."""

import os
import threading
import time

import celery

FOLDER = os.environ["PROGRAM_FOLDER"]

app = celery.Celery("celery_tasks", broker="filesystem://", backend="file://" + FOLDER + "/results")
app.conf.broker_transport_options = {
    "data_folder_in": FOLDER + "/queue",
    "data_folder_out": FOLDER + "/given",
    "control_folder": FOLDER + "/control",
    "polling_interval": 0.05,  # seconds. By default a worker that has found the queue empty sleeps for one
}
app.conf.worker_prefetch_multiplier = 0  # otherwise it takes sixteen, and looks for more when it has slept
app.conf.worker_hijack_root_logger = False
store = threading.local()


def set_up():
    for name in ("results", "queue", "given", "control"):
        os.mkdir(f"{FOLDER}/{name}")


def hand_over():
    """Lets the worker see what was given, all at once: it fails where it reads a message that is being written."""
    for name in os.listdir(f"{FOLDER}/given"):
        os.rename(f"{FOLDER}/given/{name}", f"{FOLDER}/queue/{name}")


@app.task
def work(number):
    """Notes in the thread's store what the task is about, and reads it, as code deep below a task does.

    Its result also says when that was, so that what waits for results has no part in a rate.
    """
    store.number, store.seen = number, 0
    for _ in range(50):
        store.seen += store.number == number
    return {"number": number, "seen": store.seen, "name": celery.current_task.name, "at": time.monotonic()}


@app.task
def process():
    return {"process": os.getpid(), "classes": [each.__module__ for each in type(store).__mro__]}
