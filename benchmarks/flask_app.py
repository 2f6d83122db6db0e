"""The Flask application that bench_flask serves, its locals on xctx or on werkzeug: nothing else differs.

    python -m benchmarks.flask_app xctx gevent       # or werkzeug, or threads

Prints {"port": ..., "proxy": ...} once it serves, and serves until its standard input ends.
"""

import json
import socket
import sys
import threading

from benchmarks.macro import allow_files, resident

ROWS = 50

PAGE = """<!doctype html><title>{{ tenant.name }}</title>
<p>{{ g.user }} at {{ request.path }}, {{ session.get("theme", "plain") }}
<table>{% for row in rows %}
<tr class="{{ 'mine' if row.owner == g.user else 'other' }}"><td>{{ row.name }}<td>{{ price(row) }}
{%- endfor %}
</table>
"""


class Tenant:
    def __init__(self, name):
        self.name = name
        self.rate = len(name)


def make_app(locals_of, pause, make_event):
    """The application.

    Args:
        locals_of: "xctx" or "werkzeug".
        pause: called in each request, lets others run.
        make_event: makes an event that requests can wait for.
    """
    import werkzeug.local

    if locals_of == "xctx":
        import xctx

        if "flask" in sys.modules:
            raise RuntimeError("flask was imported before: its proxies are werkzeug's")
        werkzeug.local.LocalProxy = xctx.LocalProxy
        current = xctx.local()
        tenant = xctx.LocalProxy(current, "tenant")
    elif locals_of == "werkzeug":
        current = werkzeug.local.Local()
        tenant = current("tenant")
    else:
        raise ValueError(f"locals are of xctx or of werkzeug, not of {locals_of!r}")

    import flask
    import jinja2
    from flask import g, request

    app = flask.Flask(__name__)
    app.secret_key = "not a secret"
    app.jinja_loader = jinja2.DictLoader({"page.html": PAGE})
    rows = [{"name": f"row {number}", "owner": f"user {number % 5}", "cost": number} for number in range(ROWS)]

    def price(row):
        # As in real code, deep below the view and without arguments for it.
        factor = 2 if request.args.get("double") else 1
        return row["cost"] * factor * tenant.rate + (0 if g.user == row["owner"] else 1)

    @app.before_request
    def begin():
        current.tenant = Tenant(request.headers.get("X-Tenant", "nobody"))
        g.user = f"user {request.view_args['number'] % 5}"

    @app.teardown_request
    def end(error):
        del current.tenant

    @app.route("/api/<int:number>")
    def api(number):
        pause()
        return {"number": number, "user": g.user, "tenant": tenant.name, "path": request.path}

    @app.route("/page/<int:number>")
    def page(number):
        pause()
        return flask.render_template("page.html", rows=rows, price=price, tenant=tenant)

    gathered = {"count": 0, "event": make_event(), "resident": 0}
    gathering = threading.Lock()

    @app.route("/together/<int:number>")
    def together(number):
        """Waits until so many requests are in progress; tells how much memory is in use then."""
        with gathering:
            gathered["count"] += 1
            event = gathered["event"]
            if gathered["count"] == int(request.args["count"]):
                gathered.update(count=0, event=make_event(), resident=resident())
                event.set()
        event.wait()
        return {"number": number, "user": g.user, "tenant": tenant.name, "resident": gathered["resident"]}

    return app, type(flask.request).__module__.partition(".")[0]


def main(locals_of, server):
    allow_files(4096)
    if server == "gevent":
        from gevent import monkey

        monkey.patch_all()
        import gevent
        from gevent.event import Event
        from gevent.pywsgi import WSGIServer

        app, proxy = make_app(locals_of, lambda: gevent.sleep(0), Event)
        serving = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=sys.stderr, backlog=1024)
        serving.start()
        port = serving.server_port
        wait = gevent.get_hub().threadpool.apply
    else:
        import time

        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log_request(self, *args):
                pass

        app, proxy = make_app(locals_of, lambda: time.sleep(0), threading.Event)
        serving = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
        port = serving.server_port
        threading.Thread(target=serving.serve_forever, daemon=True).start()

        def wait(read):
            read()

    # Inherited by what is accepted. Head and body are sent apart: the body would wait until the client acknowledges the
    # head, tens of milliseconds in which neither side works.
    serving.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(json.dumps({"port": port, "proxy": proxy}), flush=True)
    wait(sys.stdin.buffer.raw.read)


if __name__ == "__main__":
    main(*sys.argv[1:])
