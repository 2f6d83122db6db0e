"""Requests, one after the other or many at once; every answer is looked at. One thread serves all connections."""

import json
import selectors
import socket
import time


class Connection:
    """One connection, with one request under way; made anew when the server closes it."""

    def __init__(self, port, request, wanted, number=0):
        """
        Args:
            request: number -> the path.
            wanted: texts that the answer must have, of which "{tenant}" stands for this request's.
        """
        self.port, self.path, self.wanted, self.number = port, request, wanted, number
        self.socket, self.received = None, b""

    def send(self, cookie=""):
        self.number += 1
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port))
        lines = [f"GET {self.path.format(number=self.number)} HTTP/1.1", "Host: localhost"]
        lines += [f"X-Tenant: tenant{self.number}", f"Cookie: {cookie}", "", ""]
        self.received = b""
        self.socket.sendall("\r\n".join(lines).encode())

    def receive(self):
        """The head and the body of the answer, once they are complete; None before.

        Raises:
            ValueError: it is not the answer to this request.
        """
        part = self.socket.recv(65536)
        self.received += part
        head, found, body = self.received.partition(b"\r\n\r\n")
        headers = head.lower()
        if found and b"content-length:" in headers:
            complete = len(body) >= int(headers.partition(b"content-length:")[2].split(b"\r\n")[0])
        else:
            complete = found and (body.endswith(b"0\r\n\r\n") if b"chunked" in headers else not part)
        if not complete:
            if not part:
                raise ValueError(f"closed in the middle of an answer: {self.received[:300]!r}")
            return None
        if head.split(b" ")[1] not in (b"200", b"302") or not all(
            text.format(tenant=f"tenant{self.number}").encode() in body for text in self.wanted
        ):
            raise ValueError(f"no answer to request {self.number} of {self.path}: {self.received[:800]!r}")
        if b"connection: close" in headers or headers.startswith(b"http/1.0"):
            self.close()
        return head, body

    def answer(self, cookie=""):
        """Sends a request, and waits for its answer."""
        self.send(cookie)
        while (found := self.receive()) is None:
            pass
        return found

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def cookies_of(head):
    """What a client sends back of the cookies that it was given."""
    lines = head.decode().split("\r\n")
    return "; ".join(
        line.partition(":")[2].partition(";")[0].strip() for line in lines if line.lower().startswith("set-cookie:")
    )


def one_after_the_other(port, path, wanted, cookie, count):
    connection = Connection(port, path, wanted)
    try:
        for _ in range(count):
            connection.answer(cookie)
    finally:
        connection.close()


def load(port, path, wanted, cookie, connections, seconds):
    """Seconds a request, of so many connections."""
    every = [Connection(port, path, wanted, number * 1_000_000) for number in range(connections)]
    try:
        with selectors.DefaultSelector() as selector:
            count, begin = 0, time.perf_counter()
            for each in every:
                send(selector, each, cookie)
            while (now := time.perf_counter()) < begin + seconds or not count:
                for key, _ in selector.select(timeout=30):
                    if receive(selector, key.data):
                        count += 1
                        send(selector, key.data, cookie)
        return (now - begin) / count
    finally:
        for each in every:
            each.close()


def together(port, path, wanted, cookie, count):
    """The memory that the server told, with so many requests in progress."""
    every = [Connection(port, path + f"?count={count}", wanted, number) for number in range(count)]
    try:
        with selectors.DefaultSelector() as selector:
            for each in every:
                send(selector, each, cookie)
            waiting = set(every)
            while waiting:
                for key, _ in selector.select(timeout=120):
                    if found := receive(selector, key.data):
                        waiting.discard(key.data)
        return json.loads(found[1])["memory"]
    finally:
        for each in every:
            each.close()


def send(selector, connection, cookie):
    fresh = connection.socket is None
    connection.send(cookie)
    if fresh:
        selector.register(connection.socket, selectors.EVENT_READ, connection)


def receive(selector, connection):
    """The answer, once it is complete. A connection that is closed then is looked at no more."""
    kept = connection.socket
    key = selector.get_key(kept)
    found = connection.receive()
    if found and connection.socket is None:
        selector.unregister(key.fd)
    return found
