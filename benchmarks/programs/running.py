"""The programs' commands, started with and without xctx. Nothing else differs."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import xctx
from benchmarks.programs import client, counting

HERE = Path(__file__).parent
RUNNERS = {"xctx": ("-m", "xctx", "run", "--all"), "without": ()}
PATIENCE = 300  # seconds until a server answers, on a busy machine and under valgrind
CONNECTIONS = 8


@dataclasses.dataclass(frozen=True)
class Program:
    """A program and what is asked of it.

    Attributes:
        name: as results show it.
        module: its module here, which has `set_up`.
        command: arguments for the interpreter; {port} and {threads} are filled in.
        pages: name -> (path, texts that the answer has, whether a user is logged in).
        together: the path of requests that wait for each other, and what their answers have.
        log_in: the path that gives a cookie, or the cookie itself if it has no slash.
        needs: modules that it needs.
        fewer: page -> how many times the instructions it costs under xctx are aimed to fit into those without.
    """

    name: str
    module: str
    command: tuple
    pages: dict
    together: tuple
    log_in: str
    needs: tuple
    fewer: dict = dataclasses.field(default_factory=dict)

    told = "requests"

    def missing(self):
        """The first module that it needs and that is not installed, or None."""
        return next((name for name in self.needs if importlib.util.find_spec(name) is None), None)

    @contextlib.contextmanager
    def serving(self, contender, place, variables, *, valgrind=False, threads=4):
        server = Server(self, contender, place, variables, valgrind, threads)
        try:
            yield server
        finally:
            end(server.started, server.log)


GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "1", "--timeout", "0", "--log-level", "error")
FLASK_PAGES = {"page": ("/page/{number}", ("{tenant}", "ada (reader)", "row 24"), True)}
FLASK_TOGETHER = ("/together/{number}", ("{tenant}", "ada"))
DJANGO_PAGES = {
    "login page": ("/admin/login/", ("csrfmiddlewaretoken", "Log in"), False),
    "list of users": ("/admin/auth/user/", ("user19", "First 19"), True),
}
DJANGO_ASYNC = ("/together_async/{number}", ("{tenant}",))
DJANGO_TOGETHER = ("/together/{number}", ("{tenant}",))
newest = 1.10 if sys.version_info < (3, 12) else 1.06

PROGRAMS = [
    Program(
        "Flask under gunicorn gevent", "flask_site", (*GUNICORN, "-k", "gevent", "flask_site:app"), FLASK_PAGES,
        FLASK_TOGETHER, "/login/ada", ("flask_login", "sqlalchemy", "gunicorn", "gevent"), {"page": newest},
    ),
    Program(
        "Flask under gunicorn gthread", "flask_site",
        (*GUNICORN, "-k", "gthread", "--threads", "{threads}", "flask_site:app"),
        FLASK_PAGES, FLASK_TOGETHER, "/login/ada", ("flask_login", "gunicorn"), {"page": newest},
    ),
    Program(
        "Django under gunicorn gthread", "django_site",
        (*GUNICORN, "-k", "gthread", "--threads", "{threads}", "django_site:wsgi"),
        DJANGO_PAGES, DJANGO_TOGETHER, "sessionid=known-session", ("django", "gunicorn"),
    ),
    Program(
        "Django under uvicorn", "django_site",
        ("-m", "uvicorn", "--port", "{port}", "--loop", "uvloop", "--http", "httptools", "--log-level", "error",
         "--lifespan", "off", "django_site:asgi"),
        DJANGO_PAGES, DJANGO_ASYNC, "sessionid=known-session", ("django", "uvicorn", "uvloop", "httptools"),
        {"login page": 1.10},
    ),
]  # fmt: skip


def prepared(module, place):
    """Makes in a folder what a program reads. Gives the environment in which it runs."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XCTX"))}
    variables |= {
        "PROGRAM_FOLDER": str(place),
        "PYTHONPATH": os.pathsep.join([str(HERE), str(Path(xctx.__file__).parents[1])]),
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "ignore",
    }
    subprocess.run([sys.executable, "-c", f"import {module}; {module}.set_up()"], env=variables, check=True)
    return variables


def started(command, contender, place, variables, valgrind):
    """A process of a group of its own, and the file with what it says."""
    whole = [sys.executable, *RUNNERS[contender], *command]
    if valgrind:
        whole = counting.under_valgrind(whole, place)
    log = open(place / f"{contender}.log", "w+")  # noqa: SIM115  closed in end()
    process = subprocess.Popen(
        whole, cwd=place, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    return process, log


def end(process, log):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log.close()


def check(contender, told):
    """Sees that a program has the classes that it should have.

    Raises:
        RuntimeError: it has others.
    """
    if any(each.startswith("xctx.") for each in told["classes"]) != (contender == "xctx"):
        raise RuntimeError(f"the classes {contender} are of {', '.join(told['classes'])}")


class Server:
    """A program that serves.

    Attributes:
        process: the pid of what answers.
    """

    def __init__(self, program, contender, place, variables, valgrind, threads):
        with socket.socket() as made:
            made.bind(("127.0.0.1", 0))
            self.port = made.getsockname()[1]
        command = [each.format(port=self.port, threads=threads) for each in program.command]
        self.program = program
        self.started, self.log = started(command, contender, place, variables, valgrind)
        try:
            told = json.loads(self.answer_at_last("/process")[1])
            check(contender, told)
        except BaseException:
            end(self.started, self.log)
            raise
        self.process = told["process"]
        self.cookie = program.log_in
        if "/" in self.cookie:
            self.cookie = client.cookies_of(client.Connection(self.port, self.cookie, ()).answer()[0])

    def answer_at_last(self, path):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return client.Connection(self.port, path, ()).answer()
            except OSError:
                if time.monotonic() > end or self.started.poll() is not None:
                    self.log.seek(0)
                    raise RuntimeError(f"{self.program.name} does not answer: {self.log.read()[-2000:]}") from None
                time.sleep(0.2)

    def serve(self, page, count):
        client.one_after_the_other(self.port, *self.asked(page), count)

    def load(self, page, seconds):
        return client.load(self.port, *self.asked(page), CONNECTIONS, seconds)

    def asked(self, page):
        path, wanted, logged_in = self.program.pages[page]
        return path, wanted, self.cookie if logged_in else ""

    def together(self, count):
        return client.together(self.port, *self.program.together, self.cookie, count)
