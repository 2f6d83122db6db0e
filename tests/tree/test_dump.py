"""``python -m xctx dump``: the tree of another process."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest
from helpers.interpreters import TIMEOUT, environment, run_python
from helpers.packages import offers

from xctx._lock import names
from xctx._tree import answering, asking

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="processes listen on Linux alone")
SIGNUM = (signal.SIGRTMIN if hasattr(signal, "SIGRTMIN") else 34) + 6

LISTENS = """
import signal, sys, threading, time
import xctx
xctx.debug.listen()
current, store = xctx.xlocal(), xctx.local()
def ready():
    print("ready", flush=True)
def until_told():
    sys.stdin.readline()
"""
BOUND = """
store.secret = "kept"
with xctx.work(), current(user="ann"):
    ready()
    until_told()
"""


class Target:
    """A process that says when it is ready, and runs until it is told to go on."""

    def __init__(self, source, *options):
        self.process = subprocess.Popen(
            [sys.executable, *options, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that what was not read yet is seen by select
            env=environment(),
        )
        self.pid = self.process.pid

    def __enter__(self):
        assert self.line() == "ready"
        return self

    def line(self):
        assert select.select([self.process.stdout], [], [], TIMEOUT)[0], "the process says nothing"
        return self.process.stdout.readline().decode().strip()

    def goes_on(self):
        """Tells it to go on, and gives what it says until its end."""
        said, _ = self.process.communicate(b"\n", timeout=TIMEOUT)
        assert self.process.returncode == 0
        return said.decode()

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def dump(pid, *options):
    return run_python("-m", "xctx", "dump", pid, *options, dev=False)


def sockets():
    place = names.directory()
    return [name for name in os.listdir(place) if name.startswith(".dump-")] if os.path.isdir(place) else []


def one_thread(tree):
    (node,) = [node for node in tree.walk() if node.kind == "thread"]
    return node


def test_what_is_printed(tmp_path):
    with Target(LISTENS + BOUND) as target:
        done = dump(target.pid)
        assert (done.stderr, done.returncode) == ("", 0)
        assert f"process {target.pid}: {sys.executable} -c" in done.stdout
        assert "bound __main__.current (flow): user: str\n" in done.stdout
        done = dump(target.pid, "--values")
        assert "bound __main__.current (flow): user: str = 'ann'\n" in done.stdout
        assert "kept  __main__.store (greenlet): secret: str = 'kept'\n" in done.stdout
        done = dump(target.pid, "--json")
        assert json.loads(done.stdout)["pid"] == target.pid
        done = dump(target.pid, "--html", tmp_path / "tree.html")
        assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
        assert "<details" in (tmp_path / "tree.html").read_text()
        assert not [name for name in sockets() if name.startswith(f".dump-{target.pid}.")]
        target.goes_on()


def test_nothing_is_left_of_it_in_the_process():
    source = LISTENS + (
        "import os\n"
        "def count(what):\n"
        "    return len(os.listdir(f'/proc/self/{what}'))\n"
        "before = count('fd')\n"
        "ready()\n"
        "until_told()\n"
        "while count('task') > 1: time.sleep(0.001)\n"
        "print(count('fd') == before, threading.active_count())\n"
    )
    with Target(source, "-X", "dev", "-W", "error") as target:
        assert one_thread(asking.ask(target.pid)).name == "MainThread"
        assert target.goes_on() == "True 1\n"


def test_a_process_that_waits_for_a_lock():
    if not offers("SharedLock"):
        pytest.skip("there are no locks here")
    source = LISTENS + (
        "lock = xctx.SharedLock()\n"
        "held, over = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with lock.exclusive():\n"
        "        held.set()\n"
        "        over.wait()\n"
        "threading.Thread(target=hold, name='holder', daemon=True).start()\n"
        "held.wait()\n"
        "threading.Thread(target=lambda: (until_told(), over.set()), daemon=True).start()\n"
        "ready()\n"
        "with lock.shared():\n"
        "    print('got it')\n"
    )
    with Target(source) as target:
        tree = asking.ask(target.pid)
        while not (locks := next(node for node in tree.walk() if node.name == "MainThread").locks):
            tree = asking.ask(target.pid)
        assert (locks[0].name, locks[0].wanted) == ("__main__.lock", "shared")
        holder = next(node for node in tree.walk() if node.name == "holder")
        assert (holder.locks[0].name, holder.locks[0].held) == ("__main__.lock", "exclusive")
        assert target.goes_on() == "got it\n"


def test_a_process_under_gevent(gevent):
    source = (
        "from gevent import monkey; monkey.patch_all()\n" + LISTENS + "import gevent\n"
        "def serve(name):\n"
        "    with current(user=name):\n"
        "        gevent.sleep(1000)\n"
        "workers = [gevent.spawn(serve, name) for name in ('ann', 'bob')]\n"
        "gevent.sleep(0)\n"
        "ready()\n"
        "gevent.sleep(1000)\n"
    )
    with Target(source) as target:
        tree = asking.ask(target.pid, values=True)
        users = [each.names[0].value for node in tree.walk() for each in node.bound]
        assert sorted(users) == ["'ann'", "'bob'"]


def test_a_process_under_asyncio():
    source = LISTENS + (
        "import asyncio\n"
        "async def main():\n"
        "    with current(user='ann'):\n"
        "        asyncio.get_running_loop().call_soon(ready)\n"
        "        await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    with Target(source) as target:
        (task,) = [node for node in asking.ask(target.pid).walk() if node.kind == "task"]
        assert "(main)" in task.name
        assert task.bound[0].names[0].name == "user"


def test_a_forked_child_listens_too():
    source = LISTENS + (
        "import os\n"
        "r, w = os.pipe()\n"
        "with current(user='ann'):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        signal.alarm(100)\n"
        "        store.mine = 1\n"
        "        os.write(w, b'x')\n"
        "        while True: signal.pause()\n"
        "    os.read(r, 1)\n"
        "    ready()\n"
        "    print(child, flush=True)\n"
        "    until_told()\n"
        "    os.kill(child, 9)\n"
        "    os.waitpid(child, 0)\n"
    )
    with Target(source) as target:
        child = int(target.line())
        tree = asking.ask(child)
        assert tree.pid == child
        node = one_thread(tree)
        assert (node.bound, [each.names[0].name for each in node.kept]) == ((), ["mine"])
        assert one_thread(asking.ask(target.pid)).bound
        target.goes_on()


STORM = """
try:
    lock = xctx.SharedLock()
except NotImplementedError:
    lock = threading.Lock()
over = threading.Event()
turns = [0] * 3
def work(number):
    while not over.is_set():
        turns[number] += 1
        with xctx.work(), current(user=number):
            store.n = [number]
            with lock:
                pass
threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
threading.Thread(target=lambda: (until_told(), over.set())).start()
ready()
work(2)
for thread in threads:
    thread.join()
print(all(turns))
"""


def test_a_storm_of_signals():
    with Target(LISTENS + STORM) as target:
        trees, failed = [], []

        def asks():
            try:
                trees.extend(asking.ask(target.pid, values=True, timeout=TIMEOUT) for _ in range(5))
            except BaseException as exc:
                failed.append(exc)

        threads = [threading.Thread(target=asks) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            os.kill(target.pid, SIGNUM)  # while nobody asks, or another one does
            threads[0].join(0.001)
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(trees) == 20
        assert target.goes_on() == "True\n"


def test_a_forked_child_of_one_that_answers():
    """A thread that the child does not have was answering."""
    source = LISTENS + (
        "import os\n"
        "from xctx._tree import answering\n"
        "answering.answering.busy.acquire()\n"
        "child = os.fork()\n"
        "if child:\n"
        "    print('ready')\n"
        "    print(child, flush=True)\n"
        "    until_told()\n"
        "    os.kill(child, 9)\n"
        "    os.waitpid(child, 0)\n"
        "else:\n"
        "    signal.alarm(100)\n"
        "    while True: signal.pause()\n"
    )
    with Target(source) as target:
        child = int(target.line())
        assert asking.ask(child).pid == child
        target.goes_on()


# --- who cannot be asked ---------------------------------------------------------------------------------------------

listens_unasked = hasattr(sys, "remote_exec")


@pytest.mark.skipif(listens_unasked, reason="here every process can be asked")
def test_a_process_that_does_not_listen():
    with Target("print('ready', flush=True); input()") as target:
        done = dump(target.pid)
        assert (done.stdout, done.returncode) == ("", 1)
        assert f"process {target.pid} does not listen: it has to call xctx.debug.listen()" in done.stderr
        assert target.process.poll() is None


@pytest.mark.skipif(listens_unasked, reason="here every process can be asked")
def test_a_process_whose_handler_was_taken_away_is_not_killed():
    source = LISTENS + f"signal.signal({SIGNUM}, signal.SIG_DFL)\nready()\nuntil_told()\n"
    with Target(source) as target:
        with pytest.raises(RuntimeError, match="does not listen"):
            asking.ask(target.pid)
        target.goes_on()


def test_a_process_that_is_gone():
    with Target(LISTENS + "ready()") as target:
        target.process.wait(TIMEOUT)
        done = dump(target.pid)
    assert (done.stdout, done.returncode) == ("", 1)
    assert f"there is no process {target.pid}" in done.stderr


def test_a_process_of_another_user(monkeypatch):
    with Target(LISTENS + BOUND) as target:
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: 12345)
            with pytest.raises(PermissionError, match=rf"process {target.pid} is of user \d+: ask as that user"):
                asking.ask(target.pid)
        target.goes_on()


def test_a_process_that_is_stopped():
    with Target(LISTENS + BOUND) as target:
        os.kill(target.pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError, match=f"process {target.pid} has not answered in time"):
            asking.ask(target.pid, timeout=0.2)
        assert not [name for name in sockets() if name.startswith(f".dump-{target.pid}.")]
        os.kill(target.pid, signal.SIGCONT)
        assert one_thread(asking.ask(target.pid)).bound  # nobody waits any more for the first answer
        target.goes_on()


@pytest.mark.parametrize("when", ["before", "in the middle"])
def test_a_process_that_dies_while_it_answers(when):
    dies = {
        "before": "answering.answer = lambda path: os._exit(3)\n",
        "in the middle": "class Told(str):\n"
        "    def encode(self):\n"
        "        threading.Timer(0.01, os._exit, [3]).start()\n"
        "        return b'{\"pid\": 1'\n"
        "answering.told = lambda values: Told()\n",
    }[when]
    with Target(LISTENS + "import os\nfrom xctx._tree import answering\n" + dies + BOUND) as target:
        with pytest.raises(ProcessLookupError, match=f"process {target.pid} ended"):
            asking.ask(target.pid, timeout=TIMEOUT)
    assert not [name for name in sockets() if name.startswith(f".dump-{target.pid}.")]


def test_what_was_left_by_one_that_was_killed_is_removed():
    with Target(LISTENS + BOUND) as target:
        os.close(names.open_directory(names.directory()))
        path = os.path.join(names.directory(), f"{answering.socket_prefix(target.pid)}left")
        left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        left.bind(path)
        left.close()
        assert one_thread(asking.ask(target.pid)).bound
        # It is removed in the same turn, perhaps after the answer.
        os.kill(target.pid, SIGNUM)
        asking.ask(target.pid)
        assert not os.path.exists(path)
        target.goes_on()


def test_a_tree_that_cannot_be_made():
    source = LISTENS + (
        "from xctx._tree import growing\n"
        "def fails(**options): raise MemoryError('no room')\n"
        "growing.tree = fails\n" + BOUND
    )
    with Target(source) as target:
        with pytest.raises(RuntimeError, match=f"process {target.pid} says: MemoryError: no room"):
            asking.ask(target.pid)
        target.goes_on()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x"], "invalid int value"),
        (["0"], "a process has a number above 0"),
        (["1", "--json", "--html", "x"], "not allowed"),
    ],
)
def test_misuse(arguments, said):
    done = dump(*arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert said in done.stderr


# --- listening -------------------------------------------------------------------------------------------------------


def test_listening_again(python):
    said = python(
        "import os, xctx\n"
        "from xctx._tree.answering import signal_of\n"
        "xctx.debug.listen()\n"
        "before = os.listdir('/proc/self/fd')\n"
        "xctx.debug.listen()\n"
        "print(os.listdir('/proc/self/fd') == before)\n"
        "os.closerange(3, 100)\n"
        "print(signal_of('self'))\n"
        "xctx.debug.listen()\n"
        f"print(signal_of('self') == {SIGNUM})\n"
    )
    assert said.split() == ["True", "None", "True"]


def test_another_signal():
    source = LISTENS.replace("listen()", "listen(signal.SIGUSR2)") + BOUND
    with Target(source) as target:
        assert answering.signal_of(target.pid) == signal.SIGUSR2
        assert one_thread(asking.ask(target.pid)).bound
        target.goes_on()


def test_it_is_not_loaded_before(python):
    assert python("import sys, xctx; print('xctx._tree' in sys.modules)") == "False\n"


@pytest.mark.skipif(not listens_unasked, reason="CPython 3.14 and later can be asked unprepared")
def test_a_process_that_was_not_prepared():
    # The interpreter is asked between two steps of Python code: one that waits in C comes to none.
    steps = "import select\n    while not select.select([sys.stdin], [], [], 0.01)[0]:\n        pass\n    until_told()"
    source = LISTENS.replace("xctx.debug.listen()", "") + BOUND.replace("until_told()", steps)
    with Target(source) as target:
        try:
            tree = asking.ask(target.pid, values=True)
        except RuntimeError as exc:
            pytest.skip(f"nothing can be run there: {exc}")
        assert one_thread(tree).bound[0].names[0].value == "'ann'"
        target.goes_on()
    with Target("print('ready', flush=True)\nimport time\nwhile True: time.sleep(0.01)") as target:
        with pytest.raises(RuntimeError, match="it does not use xctx"):
            asking.ask(target.pid)
