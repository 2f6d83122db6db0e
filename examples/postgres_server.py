"""A PostgreSQL server of one's own: in a temporary directory, on a free port of the loopback, gone at the end of the
block.

It needs the programs of PostgreSQL: Debian's package ``postgresql``, which `make test-postgres` and `make
example-postgres-machines` install where there is none. Run as a program, this tells where they are. They refuse to run
as root: then they run as another user.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

USERS = ("postgres", "nobody")  # as whom the server runs where this process is root's


def programs():
    """The directory of PostgreSQL's programs, of the latest version that is installed, or None."""
    found = shutil.which("initdb")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return Path(found).parent if found else places[-1].parent if places else None


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Server:
    """A server, which `server()` starts.

    Attributes:
        conninfo: how it is reached.
        data: the directory of its cluster.
        port: of the loopback.
    """

    def __init__(self, directory):
        self._programs = programs()
        if self._programs is None:
            raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
        self._directory = Path(directory)
        self.data = self._directory / "data"
        self._user = None
        if os.getuid() == 0:
            self._user = next(user for user in USERS if _exists(user))
            entry = pwd.getpwnam(self._user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        self._process = None
        self.port = free_port()
        self.conninfo = f"host=127.0.0.1 port={self.port} user=xctx dbname=postgres"

    def run(self, program, *arguments, **options):
        """Runs one of PostgreSQL's programs, or another, as the server's user."""
        place = self._programs / program
        return subprocess.Popen(
            [place if place.exists() else program, *map(str, arguments)],
            user=self._user,
            group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
            extra_groups=None if self._user is None else [],
            cwd=self._directory,
            start_new_session=True,  # an interrupt of the terminal is for the program that uses the server
            **options,
        )

    def prepare(self):
        """Makes the cluster."""
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        made = self.run("initdb", "-D", self.data, "-U", "xctx", "-A", "trust", "--no-sync", "-E", "UTF8", **quiet)
        said, _ = made.communicate()
        if made.returncode:
            raise RuntimeError(f"initdb failed: {said}")

    def start(self, **settings):
        """Starts the server and waits until it can be used."""
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self._directory,
            "fsync": "off", "max_connections": 200, "log_min_messages": "fatal", **settings,
        }  # fmt: skip
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = self._directory / "log"
        started = self.run(
            "pg_ctl", "-D", self.data, "-l", log, "-o", options, "-w", "-s", "start", stdout=subprocess.DEVNULL
        )
        if started.wait():
            raise RuntimeError(f"the server does not start: {log.read_text() if log.exists() else ''}")

    def stop(self, how="fast"):
        """Stops the server: 'smart', 'fast', or 'immediate', which is like a crash."""
        self.run("pg_ctl", "-D", self.data, "-m", how, "-w", "-s", "stop", stdout=subprocess.DEVNULL).wait()

    def restart(self):
        self.stop()
        self.start()

    @property
    def pid(self):
        """The number of the server's first process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @contextlib.contextmanager
    def guarded(self):
        """A process removes the server if this one is killed before it does so."""
        command = [sys.executable, __file__, "guard", self._directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
            try:
                yield
            finally:
                guard.kill()  # a forked child may keep the pipe open

    def remove(self):
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._directory, ignore_errors=True)


def _exists(user):
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@contextlib.contextmanager
def server():
    """with server() as made: made.conninfo"""
    with contextlib.ExitStack() as stack:
        made = Server(tempfile.mkdtemp(prefix="xctx-postgres-"))
        stack.enter_context(made.guarded())
        stack.callback(made.remove)
        made.prepare()
        made.start()
        yield made


if __name__ == "__main__":
    if sys.argv[1:2] == ["guard"]:
        sys.stdin.read()  # until the process that has the other end of the pipe has ended
        if os.path.exists(sys.argv[2]):
            Server(sys.argv[2]).remove()
        raise SystemExit
    if programs() is None:
        raise SystemExit("PostgreSQL is not installed")
    print(programs())
