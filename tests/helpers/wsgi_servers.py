"""Servers of WSGI applications, each in a thread of this process, for the length of a block that gets the port."""

import contextlib
import gc
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from helpers.packages import installed


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = False

    def handle_error(self, request, client_address):
        pass  # a client that goes away


class Handler(WSGIRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def wsgiref(app):
    with make_server("127.0.0.1", 0, app, Server, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def gevent(app):
    started = threading.Event()
    said = []

    def serve():
        import gevent
        from gevent.pywsgi import WSGIServer

        server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None)
        server.start()
        stop = gevent.get_hub().loop.async_()
        said.extend((server.server_port, stop))
        started.set()
        gevent.get_hub().wait(stop)
        server.stop(timeout=30)
        gc.collect()  # sockets in garbage are closed while there is a loop
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=serve)
    thread.start()
    assert started.wait(60)
    try:
        yield said[0]
    finally:
        said[1].send()
        thread.join()


def each_server():
    """Parameters of a fixture: a thread for each request, and a greenlet where gevent is installed."""
    return [wsgiref, pytest.param(gevent, marks=pytest.mark.skipif(not installed("gevent"), reason="no gevent"))]
