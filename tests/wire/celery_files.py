"""A broker and a result store in a folder for Celery, like its own, except that no process reads an incomplete file.

Celery's own open a file under the name that others look for, and then write it; a process that looks in between gets
nothing, and the worker ends or the result is lost.
"""

import os
import time
import uuid

from celery.backends.filesystem import FilesystemBackend
from kombu.transport import filesystem
from kombu.utils import json


class Channel(filesystem.Channel):
    def _put(self, queue, payload, **kwargs):
        folder = self.data_folder_out
        path = os.path.join(folder, f"{uuid.uuid4()}.part")
        with open(path, "w") as file:
            file.write(json.dumps(payload))
        os.rename(path, os.path.join(folder, f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg"))


class Transport(filesystem.Transport):
    Channel = Channel


class Results(FilesystemBackend):
    def set(self, key, value):
        path = self._filename(b"." + uuid.uuid4().hex.encode())
        with open(path, "wb") as file:
            file.write(value if isinstance(value, bytes) else value.encode())
        os.replace(path, self._filename(key))
