"""A Flask application under load, its locals on xctx beside werkzeug's: requests a second, and memory.

Both servers run all the time, each in a process of its own; a client process loads one, then the other, and so on, so
the two halves of a round are seconds apart. Under gevent's pywsgi where gevent is installed, else under werkzeug's
threaded server (a new connection and a new thread for each request).
"""

import contextlib
import importlib.util
import json
import subprocess

from benchmarks import rooms
from benchmarks.macro import Macro, figures_of

CONTENDERS = ["xctx", "werkzeug"]
PATHS = {"small JSON answer": "api", "page of 50 rows": "page"}
CONNECTIONS = 32
AT_ONCE = 500
MEMORY = f"memory with {AT_ONCE} requests in progress"
ROUNDS, SECONDS = 7, 1.2
QUICK_ROUNDS, QUICK_SECONDS = 2, 0.5


def server_kind():
    return "gevent" if importlib.util.find_spec("gevent") else "threads"


def macros():
    under = "gevent's pywsgi" if server_kind() == "gevent" else "werkzeug's threaded server"
    return [
        Macro(
            f"Flask under {under}",
            CONTENDERS,
            dict.fromkeys(PATHS, ("second", "requests")) | {MEMORY: "byte"},
            lambda quick: rounds(*((QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS))),
            lambda quick: QUICK_ROUNDS if quick else ROUNDS,
            lambda quick: (QUICK_SECONDS if quick else SECONDS) * 5 + 1,
            needs=("flask", "psutil"),
        )
    ]


def rounds(count, seconds):
    """For each round, {measure: {contender: figure}}: seconds a request, and bytes."""
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(serving(name)) for name in CONTENDERS}
        for path in PATHS.values():
            for name in CONTENDERS:
                loaded(ports[name], path, min(seconds, 0.4))  # warm
        for number in range(count):
            figures = {measure: {} for measure in [*PATHS, MEMORY]}
            order = CONTENDERS[::-1] if number % 2 else CONTENDERS
            for measure, path in PATHS.items():
                for name in order:
                    figures[measure][name] = loaded(ports[name], path, seconds)
            for name in CONTENDERS:
                told = figures_of("benchmarks.http_client", str(ports[name]), "together", str(AT_ONCE), "together")
                figures[MEMORY][name] = told["resident"]
            yield figures


def loaded(port, path, seconds):
    """Seconds a request, as the client had them."""
    told = figures_of("benchmarks.http_client", str(port), path, str(CONNECTIONS), str(seconds))
    return told["seconds"] / told["requests"]


@contextlib.contextmanager
def serving(locals_of):
    """Runs the application in a process of its own: gives its port."""
    command = rooms.command("benchmarks.flask_app", locals_of, server_kind())
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server with locals of {locals_of} did not start")
            told = json.loads(line)
            if told["proxy"] != locals_of:
                raise RuntimeError(f"the server's proxies are of {told['proxy']}, not of {locals_of}")
            yield told["port"]
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
