"""Tasks of Celery, whose queue is a folder: ``PROGRAM_FOLDER``. They know nothing of xctx."""

import os
import threading

import celery

FOLDER = os.environ["PROGRAM_FOLDER"]

app = celery.Celery("celery_tasks", broker="filesystem://", backend="file://" + FOLDER + "/results")
app.conf.broker_transport_options = {
    "data_folder_in": FOLDER + "/queue",
    "data_folder_out": FOLDER + "/queue",
    "control_folder": FOLDER + "/control",
}
app.conf.worker_hijack_root_logger = False
store = threading.local()


def set_up():
    for name in ("results", "queue", "control"):
        os.mkdir(f"{FOLDER}/{name}")


@app.task
def work(number):
    """Notes in the thread's store what the task is about, and reads it, as code deep below a task does."""
    store.number, store.seen = number, 0
    for _ in range(50):
        store.seen += store.number == number
    return {"number": number, "seen": store.seen, "name": celery.current_task.name}


@app.task
def process():
    return {"process": os.getpid(), "classes": [each.__module__ for each in type(store).__mro__]}
