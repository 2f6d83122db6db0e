"""Flask under gunicorn with gevent workers, its ``request`` and ``g`` on xctx.

Flask's proxies are made with ``werkzeug.local.LocalProxy`` when Flask is imported, so another one is put there
before: then ``flask.request``, ``flask.g``, ``flask.session`` and ``flask.current_app`` are :class:`xctx.LocalProxy`
objects. The application keeps who is asking in an xlocal of its own, and library code finds both with no argument, in
each of the greenlets that serve requests at the same time.

    python examples/flask_gunicorn.py                      # starts gunicorn, asks it, says what was wrong, stops it
    cd examples; gunicorn -k gevent flask_gunicorn:app     # serves

Exits with 1 if any answer was wrong or anything stayed bound.
"""

import argparse
import json
import os
import sys
import time

import werkzeug.local

import xctx
from xctx import debug

werkzeug.local.LocalProxy = xctx.LocalProxy

import flask  # noqa: E402  (after the exchange)

PAUSES = 5  # times that a request gives way to the others


class Current(xctx.xlocal):
    """Who is asking."""

    user: str


current = Current()
app = flask.Flask(__name__)
serving = xctx.local(key=xctx.keys.process)  # what the requests of this worker have in common
serving.now = serving.most = 0


# --- library code: it gets no arguments ------------------------------------------------------------------------------


def audit_line():
    return f"{current.user} asked for {flask.request.path}, ticket {flask.g.ticket}"


# --- the application -------------------------------------------------------------------------------------------------


@app.before_request
def open_ticket():
    flask.g.ticket = flask.request.args["ticket"]


@app.route("/item/<int:number>")
def item(number):
    serving.now += 1
    serving.most = max(serving.most, serving.now)
    with current(user=flask.request.headers.get("X-User") or flask.request.args["user"]):
        seen = [audit_line()]
        for _ in range(PAUSES):
            time.sleep(0.002)  # gevent's: the others go on
            seen.append(audit_line())
    serving.now -= 1
    return {"seen": seen, "worker": os.getpid()}


@app.route("/state")
def state():
    return {
        "worker": os.getpid(),
        "kind": type(flask.request).__module__ + "." + type(flask.request).__name__,
        "bindings": debug.live_bindings(),
        "at once": serving.most,
        "unit": xctx.keys.greenlet.current().kind,
    }


# --- the run ---------------------------------------------------------------------------------------------------------


def expected(number):
    return [f"user{number} asked for /item/{number}, ticket {number * 7}"] * (PAUSES + 1)


def main(argv=None):
    from serving import ask_all, report, server

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=500, metavar="N", help="how many (default: 500)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes of gunicorn's (default: 2)")
    options = parser.parse_args(argv)

    here = os.path.dirname(os.path.abspath(__file__))
    command = ["-m", "gunicorn", "--worker-class", "gevent", "--workers", str(options.workers), "--chdir", here]
    with server(*command, "--bind", "127.0.0.1:0", "--graceful-timeout", "5", "flask_gunicorn:app") as port:
        print(f"gunicorn with {options.workers} gevent workers listens on port {port}")
        paths = [f"/item/{number}?user=user{number}&ticket={number * 7}" for number in range(options.requests)]
        answers = ask_all(port, paths)
        states = {told["worker"]: told for told in ask_all(port, ["/state?ticket=0"] * 40)}
    wrong = [number for number, told in enumerate(answers) if told["seen"] != expected(number)]
    left = sum(told["bindings"] for told in states.values())
    most = max(told["at once"] for told in states.values())
    kinds = {told["kind"] for told in states.values()}
    units = {told["unit"] for told in states.values()}
    report(
        [
            ("requests", len(answers)),
            ("workers that served them", len({told["worker"] for told in answers})),
            ("most at once in a worker", most),
            ("wrong answers", len(wrong)),
            ("bindings left afterwards", left),
        ]
    )
    print(f"  flask.request is a {', '.join(kinds)}, in a {', '.join(units)}")
    if wrong:
        print(f"wrong: {json.dumps(answers[wrong[0]])}", file=sys.stderr)
    sound = not wrong and not left and most > 1 and kinds == {"xctx.LocalProxy"} and units == {"greenlet"}
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
