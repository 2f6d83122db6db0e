"""A client that keeps many requests going, in a process of its own, and looks at every answer.

    python -m benchmarks.http_client PORT PATH CONNECTIONS SECONDS
    python -m benchmarks.http_client PORT PATH CONNECTIONS together

Prints {"requests": ..., "seconds": ...}, or what the last answer told when each connection has made one request, all of
them in progress together. Fails at the first answer that is not the one to its request. One thread
serves all connections, so that it takes as little as possible from the server beside it.
"""

import json
import selectors
import socket
import sys
import time

from benchmarks.macro import allow_files


class Connection:
    """One connection, with one request under way; made anew when the server closes it."""

    def __init__(self, selector, port, path, number):
        self.selector, self.port, self.path, self.number = selector, port, path, number
        self.socket = None
        self.received = b""

    def send(self):
        self.number += 1
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port))
            self.selector.register(self.socket, selectors.EVENT_READ, self)
        path, _, query = self.path.partition("?")
        request = (
            f"GET /{path}/{self.number}?{query} HTTP/1.1\r\nHost: localhost\r\nX-Tenant: tenant{self.number}\r\n\r\n"
        )
        self.received = b""
        self.socket.sendall(request.encode())

    def receive(self):
        """Whether the answer is complete now; it is checked, then.

        Raises:
            ValueError: it is not the answer to this request.
        """
        part = self.socket.recv(65536)
        self.received += part
        head, found, body = self.received.partition(b"\r\n\r\n")
        headers = head.lower()
        length = int(headers.partition(b"content-length:")[2].split(b"\r\n")[0]) if found else None
        if length is None or len(body) < length:
            if not part:
                raise ValueError(f"closed in the middle of an answer: {self.received[:200]!r}")
            return False
        user, tenant = f"user {self.number % 5}".encode(), f"tenant{self.number}".encode()
        if b" 200 " not in head.split(b"\r\n")[0] or user not in body or tenant not in body:
            raise ValueError(f"no answer to request {self.number}: {self.received[:500]!r}")
        if b"connection: close" in headers or headers.startswith(b"http/1.0"):
            self.close()
        return True

    def close(self):
        if self.socket is not None:
            self.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None


def load(port, path, connections, seconds):
    """(requests answered, seconds it took)"""
    with selectors.DefaultSelector() as selector:
        every = [Connection(selector, port, path, number * 1_000_000) for number in range(connections)]
        for each in every:
            each.send()
        count, begin = 0, time.perf_counter()
        end = begin + seconds
        while (now := time.perf_counter()) < end:
            for key, _ in selector.select(timeout=10):
                if key.data.receive():
                    count += 1
                    key.data.send()
        for each in every:
            each.close()
    return count, now - begin


def together(port, path, connections):
    """The answer, as JSON, to the last of requests that are all in progress at the same time."""
    with selectors.DefaultSelector() as selector:
        every = [Connection(selector, port, f"{path}?count={connections}", number) for number in range(connections)]
        for each in every:
            each.send()
        waiting = set(every)
        while waiting:
            for key, _ in selector.select(timeout=60):
                if key.data.receive():
                    waiting.discard(key.data)
                    answer = key.data.received.partition(b"\r\n\r\n")[2]
                    key.data.close()
    return json.loads(answer)


def main(port, path, connections, seconds):
    allow_files(int(connections) + 100)
    if seconds == "together":
        print(json.dumps(together(int(port), path, int(connections))))
        return
    count, took = load(int(port), path, int(connections), float(seconds))
    print(json.dumps({"requests": count, "seconds": took}))


if __name__ == "__main__":
    main(*sys.argv[1:])
