"""A network that can fail: forwards connections to a server, until it is cut or goes silent."""

import contextlib
import select
import socket
import threading


class Proxy:
    """Listens on `port` and forwards to the server's port.

    `cut()` ends all connections; `silence()` forwards nothing any more, in either direction, and ends none.
    """

    def __init__(self, port):
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._silent = threading.Event()
        self._pairs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._pairs.append((client, server))
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client, server):
        with contextlib.suppress(OSError, ValueError):
            while True:
                for source in select.select([client, server], [], [])[0]:
                    if self._silent.is_set():
                        return
                    data = source.recv(65536)
                    if not data:
                        return self._end(client, server)
                    (server if source is client else client).sendall(data)

    def _end(self, *sockets):
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self):
        for pair in self._pairs:
            self._end(*pair)

    def silence(self):
        self._silent.set()

    def close(self):
        self._listener.close()
        for pair in self._pairs:
            self._end(*pair)
            for each in pair:
                each.close()
