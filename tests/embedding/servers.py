"""Real servers that load two applications, /one and /two, each in an interpreter of its own, on the loopback.

`make test-embedding` installs what they need: Debian's Apache with mod_wsgi, for whose Python it builds xctx in an
environment of its own, and uWSGI from the package index.
"""

import contextlib
import functools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.waiting import LONG, eventually

TREE = Path(__file__).parents[2]
APACHE = shutil.which("apache2", path="/usr/sbin:/usr/bin:/sbin:/bin")
MODULES = Path("/usr/lib/apache2/modules")
# Where `make test-embedding` has put xctx for the Python that mod_wsgi embeds.
FOR_APACHE = next(iter(TREE.glob(".venv-apache/lib/python3*/site-packages")), None)
UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent))
APPLICATIONS = ("one", "two")
# What a server writes when something of Python or xctx went wrong in it.
WRONG = re.compile(
    r"Traceback|Fatal|Segmentation|segfault|core dump|exit signal|Abort|assert|Exception|Error|Warning|xctx|SIGSEGV"
    r"|Timeout|timed out|killed|died",
)
HARMLESS = re.compile(
    r"Python.*(path|version)|WARNING: you are running uWSGI as root|your processes number limit"
    r"|\*\*\*|--enable-threads|thunder|timeout|exited|worker.*buried|mercifully"
)


class Server:
    """A server that runs.

    Attributes:
        port: where it listens on the loopback.
        directory: what it writes, and what applications write.
    """

    def __init__(self, process, port, directory, restart_signal, workers_restart):
        self.process = process
        self.port = port
        self.directory = directory
        self._restart_signal = restart_signal
        self._workers_restart = workers_restart

    def restart(self):
        """Restarts gracefully: what runs is finished by those who began it."""
        if not self._workers_restart:
            self.process.send_signal(self._restart_signal)
            return
        for pid in {int(line.split()[1]) for line in self.lines("begun")}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, self._restart_signal)

    def lines(self, name):
        file = self.directory / name
        return file.read_text().splitlines() if file.exists() else []


@contextlib.contextmanager
def directory_of_run():
    """A directory that a server may read and write which changes its user."""
    made = Path(tempfile.mkdtemp(prefix="embedding-"))
    try:
        made.chmod(0o777)
        shutil.copy(Path(__file__).parent / "application.py", made)
        for name in APPLICATIONS:
            source = f"from application import Application\napplication = Application({name!r})\n"
            (made / f"{name}.py").write_text(source)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def listens(port):
    with socket.socket() as made:
        return made.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(command, directory, restart_signal, log, port_of, workers_restart=False):
    """Runs a server in the block; it must end well, and its log must not tell of anything that went wrong.

    Args:
        restart_signal: restarts it gracefully; sent to those who answer if `workers_restart`.
        port_of: gives the port, or something false as long as it does not listen.
    """
    with open(directory / "output", "wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=directory, start_new_session=True
        )
    try:
        eventually(lambda: process.poll() is not None or port_of())
        assert process.poll() is None, (directory / "output").read_text()
        yield Server(process, port_of(), directory, restart_signal, workers_restart)
        process.terminate()
        status = process.wait(LONG)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    said = "".join(path.read_text(errors="replace") for path in {log, directory / "output"} if path.exists())
    wrong = [line for line in said.splitlines() if WRONG.search(line) and not HARMLESS.search(line)]
    assert not wrong, "\n".join(wrong)
    assert status == 0, (status, said)


def user():
    """As whom Apache serves: it refuses to do so as root."""
    if os.getuid():
        return ""
    name = "www-data"
    return f"User {name}\nGroup {pwd.getpwnam(name).pw_name}"


@contextlib.contextmanager
def apache(daemon):
    """Apache with mod_wsgi: in Apache's own processes, or in those that mod_wsgi starts (`daemon`)."""
    with directory_of_run() as directory:
        site = directory / "site"
        shutil.copytree(FOR_APACHE, site, ignore=shutil.ignore_patterns("Cython", "setuptools*", "pip*"))
        port, log = free_port(), directory / "log"
        place = f"{directory}:{site}"
        how = (
            f"WSGIDaemonProcess tests processes=2 threads=4 maximum-requests=150 graceful-timeout=30 "
            f"python-path={place}\n"
            "WSGIProcessGroup tests"
            if daemon
            else f"WSGIPythonPath {place}"
        )
        modules = "".join(
            f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in ("mpm_event", "authz_core", "wsgi")
        )
        applications = "".join(
            f"WSGIScriptAlias /{name} {directory}/{name}.py\n"
            f"<Location /{name}>\nWSGIApplicationGroup {name}\n</Location>\n"
            for name in APPLICATIONS
        )
        (directory / "apache.conf").write_text(f"""
{modules}
ServerRoot {directory}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {directory}/pid
Mutex file:{directory}
WSGISocketPrefix {directory}/socket
ErrorLog {log}
LogLevel warn
{user()}
StartServers 2
ServerLimit 2
ThreadsPerChild 4
MaxRequestWorkers 8
MinSpareThreads 1
MaxSpareThreads 8
GracefulShutdownTimeout 30
# Otherwise mod_wsgi 4.9.4 with Python 3.11 hangs as it ends any interpreter, also one that imported nothing.
WSGIDestroyInterpreter Off
{how}
{applications}
<Directory {directory}>
Require all granted
</Directory>
""")
        (directory / "log").touch()
        with running(
            [APACHE, "-D", "FOREGROUND", "-f", directory / "apache.conf"],
            directory,
            signal.SIGUSR1,
            log,
            lambda: port if listens(port) else 0,
            daemon,  # what Apache starts anew while requests come in answers some of them with 503
        ) as server:
            yield server


@contextlib.contextmanager
def uwsgi(lazy):
    """uWSGI: which loads the applications and then forks, or forks and loads them in each process (`lazy`)."""
    with directory_of_run() as directory:
        port = free_port()  # not 0: it would have another one after a restart
        command = [UWSGI, "--master", "--http-socket", f"127.0.0.1:{port}", "--processes", "2", "--threads", "4"]
        command += ["--enable-threads", "--manage-script-name", "--need-app", "--die-on-term", "--disable-logging"]
        command += ["--home", sys.prefix, "--pythonpath", directory, "--pythonpath", TREE, "--max-requests", "150"]
        # Otherwise uWSGI ends Python while there are other interpreters, which 3.11 calls a fatal error.
        command += ["--worker-reload-mercy", "30", "--listen", "64", "--skip-atexit-teardown"]
        for name in APPLICATIONS:
            command += ["--mount", f"/{name}={directory}/{name}.py"]
        if lazy:
            command += ["--lazy-apps"]
        with running(
            command, directory, signal.SIGHUP, directory / "output", lambda: port if listens(port) else 0
        ) as server:
            yield server


SERVERS = {
    "mod_wsgi, embedded": functools.partial(apache, daemon=False),
    "mod_wsgi, daemon": functools.partial(apache, daemon=True),
    "uWSGI, forked": functools.partial(uwsgi, lazy=False),
    "uWSGI, lazy": functools.partial(uwsgi, lazy=True),
}


def lacks(name):
    """What a server needs that is not there; an empty string if it has all."""
    if name.startswith("uWSGI"):
        return "" if UWSGI else f"uwsgi is not in {Path(sys.executable).parent}: `make test-embedding` installs it"
    if not APACHE or not (MODULES / "mod_wsgi.so").exists():
        return "Debian's apache2 and libapache2-mod-wsgi-py3 are not there: `make test-embedding` installs them"
    return "" if FOR_APACHE else "xctx is not built for the Python of mod_wsgi: `make test-embedding` does that"
