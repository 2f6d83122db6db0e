"""xctx.debug.tree: who is running, what is bound and kept for each, which locks it has."""

import asyncio
import contextvars
import gc
import json
import os
import re
import textwrap
import threading
import weakref
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.browser import BROWSER, WIDTHS, browse, what_sticks_out
from helpers.interpreters import run_python, run_script
from helpers.packages import installed, offers

import xctx
from xctx import debug, keys
from xctx._tree.growing import LONGEST, shown
from xctx._tree.nodes import tree_of

current = xctx.xlocal()
by_task = xctx.xlocal(key=keys.task)
store = xctx.local()
of_work = xctx.local(key=keys.work)
in_context = xctx.local(key=keys.context)


def only(tree, kind, name):
    """The one node of the kind whose name begins so."""
    (found,) = [node for node in tree.walk() if node.kind == kind and node.name.startswith(name)]
    return found


def bound(node):
    """What is bound there in xlocals of this module: by the name of the xlocal, names and values."""
    return {each.store.rpartition(".")[2]: {one.name: one.value for one in each.names} for each in node.bound}


def kept(node):
    return {each.store.rpartition(".")[2]: {one.name: one.value for one in each.names} for each in node.kept}


class Running:
    """A thread that runs a function, which is given a way to stand still until the test is over."""

    def __init__(self, name, func):
        self.there, self.go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=func, args=(self.stand_still,), name=name)

    def stand_still(self):
        self.there.set()
        self.go.wait(60)

    def __enter__(self):
        self.thread.start()
        assert self.there.wait(60)
        return self

    def __exit__(self, *exc):
        self.go.set()
        self.thread.join()


# --- units of each kind ----------------------------------------------------------------------------------------------


def test_the_process_and_its_threads():
    def work(stand_still):
        store.n = 1
        with current(user="ann"):
            stand_still()

    with Running("a worker", work):
        tree = debug.tree(values=True)
        assert tree.pid == os.getpid()
        assert tree.root.kind == "process"
        node = only(tree, "thread", "a worker")
        assert node in tree.root.children
        assert bound(node) == {"current": {"user": "'ann'"}}
        assert kept(node) == {"store": {"n": "1"}}
        assert any(each.name == "MainThread" for each in tree.root.children)
        assert only(debug.tree(), "thread", "a worker").bound[0].names == (debug.Named("user", "str", None),)
    assert not [node for node in debug.tree().walk() if node.name == "a worker"]


def test_a_thread_that_xctx_has_not_met():
    with Running("a stranger", lambda stand_still: stand_still()):
        node = only(debug.tree(), "thread", "a stranger")
        assert (node.bound, node.kept, node.locks, node.children) == ((), (), (), ())


def test_what_is_kept_for_the_process():
    of_process = xctx.local(key=keys.process)
    of_process.a = [1]
    assert any(each.key == "process" and each.names[0][:2] == ("a", "list") for each in debug.tree().root.kept)


def test_what_a_context_keeps():
    def work(stand_still):
        in_context.a = 1
        stand_still()

    with Running("keeper", work):
        assert kept(only(debug.tree(values=True), "thread", "keeper")) == {"in_context": {"a": "1"}}


def test_a_context_in_which_nothing_runs():
    context = contextvars.Context()

    def bind():
        current(user="in a context").__enter__()

    context.run(bind)
    found = [node for node in debug.tree(values=True).walk() if node.kind == "context" and node.id == hex(id(context))]
    assert [bound(node) for node in found] == [{"current": {"user": "'in a context'"}}]


def test_a_callables_key():
    number = contextvars.ContextVar("number", default=0)
    by_number = xctx.local(key=keys.Key(number.get, "number"))
    by_number.a = 1
    (node,) = [node for node in debug.tree(values=True).walk() if node.kind == "value"]
    assert node.name == "of the key 'number'"
    assert [each.names for each in node.kept] == [(debug.Named("a", "int", "1"),)]


def test_tasks_under_their_loop():
    async def sleeper(name):
        store.n = name
        with by_task(name=name):
            await asyncio.sleep(1000)

    async def main():
        with current(user="ann"), by_task(name="main"):
            tasks = [asyncio.create_task(sleeper(name), name=name) for name in ("first", "second")]
            await asyncio.sleep(0)
            tree = debug.tree(values=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return tree, debug.tree()

    tree, afterwards = asyncio.run(main())
    (loop,) = [node for node in tree.walk() if node.kind == "loop"]
    assert {node.name.partition(" ")[0] for node in loop.children} >= {"first", "second"}
    assert any(loop in node.children for node in tree.root.children if node.name == "MainThread")
    for name in "first", "second":
        node = only(tree, "task", name)
        assert bound(node) == {"current": {"user": "'ann'"}, "by_task": {"name": f"'{name}'"}}
        assert "sleeper" in node.name
    assert [bound(node) for node in loop.children if "main" in node.name] == [
        {"current": {"user": "'ann'"}, "by_task": {"name": "'main'"}}
    ]
    assert not [node for node in afterwards.walk() if node.name.startswith("first")]


def test_tasks_keep_what_is_theirs():
    by_tasks = xctx.local(key=keys.task)

    async def sleeper():
        by_tasks.a = 1
        await asyncio.sleep(1000)

    async def main():
        task = asyncio.create_task(sleeper(), name="keeper")
        await asyncio.sleep(0)
        tree = debug.tree(values=True)
        task.cancel()
        return tree

    (names,) = only(asyncio.run(main()), "task", "keeper").kept
    assert (names.key, names.names) == ("task", (debug.Named("a", "int", "1"),))


def test_a_task_that_is_half_made():
    """The loop is asked in the middle of making a task; CPython's methods of the task would crash then."""
    printed = run_script(
        textwrap.dedent("""
        import asyncio
        import xctx

        seen = []

        class Loop(asyncio.SelectorEventLoop):
            def get_debug(self):
                seen.append([node.name.split()[0] for node in xctx.debug.tree().walk() if node.kind == "task"])
                return super().get_debug()

        async def main():
            await asyncio.create_task(asyncio.sleep(0), name="whole")

        loop = Loop()
        try:
            loop.run_until_complete(asyncio.Task(main(), loop=loop, name="main"))
        finally:
            loop.close()
        print(seen[0], ["main"] in seen)
        """)
    )
    assert printed == "[] True\n"


@pytest.mark.skipif(not installed("trio"), reason="trio is not installed")
def test_tasks_of_trio():
    import trio

    async def sleeper():
        with by_task(name="trio"):
            await trio.sleep(1000)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper, name="a task of trio")
            await trio.testing.wait_all_tasks_blocked()
            tree = debug.tree(values=True)
            nursery.cancel_scope.cancel()
        return tree

    import trio.testing

    assert bound(only(trio.run(main), "task", "a task of trio")) == {"by_task": {"name": "'trio'"}}


def test_greenlets(greenlet):
    def work(name):
        store.n = name
        with current(user=name):
            greenlet.getcurrent().parent.switch()

    workers = [greenlet.greenlet(work) for _ in range(2)]
    for number, worker in enumerate(workers):
        worker.switch(number)
    with current(user="main"):
        tree = debug.tree(values=True)
    for number, worker in enumerate(workers):
        (node,) = [node for node in tree.walk() if node.kind == "greenlet" and node.id == hex(id(worker))]
        assert (bound(node), kept(node)) == ({"current": {"user": f"{number}"}}, {"store": {"n": f"{number}"}})
    (main,) = [node for node in tree.root.children if node.name == "MainThread"]
    assert bound(main)["current"] == {"user": "'main'"}
    for worker in workers:
        worker.switch()


FROZEN = """
import gc, greenlet, xctx
from xctx import debug
greenlet.getcurrent()
gc.freeze()
store = xctx.local()
def work():
    store.n = 1
    greenlet.getcurrent().parent.switch()
worker = greenlet.greenlet(work)
worker.switch()
print([node.kind for node in debug.tree().walk() if node.id == hex(id(worker))])
"""


def test_greenlets_whose_parent_is_frozen(greenlet, python):
    assert python(FROZEN) == "['greenlet']\n"


needs_locks = pytest.mark.skipif(not offers("SharedLock"), reason="there are no locks here")

GEVENT = """
from gevent import monkey
monkey.patch_all()
import gc, gevent, xctx
from gevent.hub import Hub
from xctx._runtime.scheduling import start_system_thread, unpatched
from xctx._tree.growing import tree

current, store, lock = xctx.xlocal(), xctx.local(), xctx.SharedLock()

def serve(name):
    store.name = name
    with current(user=name), lock.exclusive():
        gevent.sleep(1000)

def check(tree):
    (hub,) = [node for node in tree.walk() if node.name.startswith("gevent.hub.Hub")]
    (main,) = [node for node in tree.root.children if node.name == "MainThread"]
    assert hub in main.children, tree
    assert main.bound[0].names[0].value == "'main'", tree
    first, second = sorted(hub.children, key=lambda node: node.kept)
    assert [node.bound[0].names[0].value for node in (first, second)] == ["'first'", "'second'"], tree
    assert [(node.locks[0].held, node.locks[0].wanted) for node in (first, second)] == [
        ("exclusive", None), (None, "exclusive")], tree
    assert first.locks[0].name == "__main__.lock", tree

workers = [gevent.spawn(serve, name) for name in ("first", "second")]
gevent.sleep(0.01)
found = []
with current(user="main"):
    check(tree(values=True))
    start_system_thread(lambda: found.append(tree(values=True, without=unpatched("get_ident")())))
    while not found:
        gevent.sleep(0.001)
check(found[0])
assert sum(isinstance(each, Hub) for each in gc.get_objects()) == 1   # looking makes none
print("well")
"""


@needs_locks
def test_greenlets_under_a_hub_that_runs(gevent, python):
    assert python(GEVENT) == "well\n"


def test_units_of_work():
    def work(stand_still):
        with xctx.work(), current(user="ann"):
            of_work.a = 1
            with xctx.work():
                of_work.a = 2
                stand_still()

    with Running("worker", work):
        tree = debug.tree(values=True)
    node = only(tree, "thread", "worker")
    inner, outer = node.works
    (outermost,) = [each for each in tree.root.children if each.id == outer]
    assert (outermost.kind, kept(outermost)) == ("work", {"of_work": {"a": "1"}})
    (innermost,) = outermost.children
    assert (innermost.id, kept(innermost)) == (inner, {"of_work": {"a": "2"}})


def test_a_forked_child(in_fork):
    store.n = 1
    with current(user="ann"), xctx.work():

        def look():
            store.m = 2
            tree = debug.tree(values=True)
            (thread,) = [node for node in tree.walk() if node.kind == "thread"]
            return (
                tree.pid == os.getpid(),
                bound(thread),
                kept(thread),
                [n for n in tree.walk() if n.kind == "work"] == [],
            )

        assert in_fork(look) == (True, {}, {"store": {"m": "2"}}, True)


# --- locks -----------------------------------------------------------------------------------------------------------


@needs_locks
@pytest.mark.parametrize("named", [False, True])
def test_locks_that_are_held_and_waited_for(named, tmp_path, eventually):
    lock = xctx.SharedLock.at(tmp_path / "ledger") if named else xctx.SharedLock()

    def holds(stand_still):
        with lock.exclusive():
            stand_still()

    def waits():
        with lock.shared():
            pass

    with Running("holder", holds):
        waiter = threading.Thread(target=waits, name="waiter")
        waiter.start()
        eventually(lambda: lock.waiters)
        tree = debug.tree()
    waiter.join()
    (held,), (wanted,) = only(tree, "thread", "holder").locks, only(tree, "thread", "waiter").locks
    assert (held.held, held.times, held.wanted) == ("exclusive", 1, None)
    assert (wanted.held, wanted.wanted) == (None, "shared")
    assert wanted.waits_for >= 0
    assert held.name == wanted.name
    assert held.name == str(tmp_path / "ledger") if named else "SharedLock at 0x" in held.name
    assert re.search(r"waits for \S.* shared, for \d+\.\d s", str(tree))
    assert not [each for node in debug.tree().walk() for each in node.locks]


# --- values ----------------------------------------------------------------------------------------------------------


class Hostile:
    def __repr__(self):
        raise ValueError("no")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1, "1"),
        (Hostile(), "<test_tree.Hostile, whose repr raised ValueError>"),
        ([Hostile()], "[<test_tree.Hostile, whose repr raised ValueError>]"),
    ],
)
def test_a_value_as_text(value, said):
    assert shown(value).replace(f"{__name__}.", "test_tree.") == said


class Long:
    def __repr__(self):
        return "y" * 1000


@pytest.mark.parametrize("value", ["x" * 1000, list(range(100000)), {i: "x" * 1000 for i in range(100)}, Long()])  # noqa: C420
def test_a_long_value_is_cut(value):
    assert len(shown(value)) <= LONGEST


def test_a_repr_that_looks_itself_and_binds():
    seen = []

    class Curious:
        def __repr__(self):
            store.more = 1
            with current(user="inside"):
                seen.append(debug.tree())
            return "curious"

    with current(user=Curious()):
        tree = debug.tree(values=True)
    assert "user: " in str(tree)
    assert "curious" in str(tree)
    assert seen


def test_nothing_is_kept_alive():
    class Value:
        pass

    value = Value()
    gone = weakref.ref(value)
    with current(user=value):
        tree = debug.tree(values=True)
    del value
    gc.collect()
    assert gone() is None
    assert "Value" in str(tree)


# --- how it is written -----------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that elements nest, and that nothing is fetched from elsewhere."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.summaries = [], [], 0
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert not {"src", "href", "style"} & {name for name, _ in attributes}
        assert tag not in ("script", "link", "img", "iframe")
        self.summaries += tag == "summary"
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_text_json_and_page_tell_the_same():
    with xctx.work(), current(user="<script>alert('&')</script>"):
        tree = debug.tree(values=True)
    assert tree_of(json.loads(tree.json())) == tree
    assert "<script>alert('&')</script>" in str(tree)
    page = Page(tree.html())
    assert "<script>alert('&')</script>" in "".join(page.text)
    assert page.summaries == sum(1 for _ in tree.walk())
    assert "prefers-color-scheme: dark" in tree.html()
    assert "url(" not in tree.html()


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no browser is installed here")
@pytest.mark.sampled
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_of_the_page(width, scheme, tmp_path):
    with xctx.work(), current(user="a" * 190, note="many words " * 17):
        for _ in range(5):
            xctx.work().__enter__()
        page = tmp_path / "tree.html"
        page.write_text(debug.tree(values=True).html())
    assert what_sticks_out(page, width, tmp_path) == ""
    picture = tmp_path / "picture.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browse(tmp_path, width, *dark, f"--screenshot={picture}", page.as_uri())
    assert picture.stat().st_size > 10_000


def test_it_never_changes():
    tree = debug.tree()
    with pytest.raises(AttributeError):
        tree.pid = 1
    with pytest.raises(AttributeError):
        tree.root.name = "other"


# --- others run on meanwhile -----------------------------------------------------------------------------------------


def test_while_threads_bind_keep_and_lock():
    lock = xctx.SharedLock() if offers("SharedLock") else threading.Lock()
    done = threading.Event()
    failed = []

    def work(number):
        try:
            turn = 0
            while not done.is_set():
                turn += 1
                with xctx.work(), current(user=number), by_task(turn=turn):
                    of_work.a = store.b = in_context.c = [turn]
                    with lock:
                        context = contextvars.copy_context()
                        context.run(setattr, in_context, "d", turn)
                del store.b
        except BaseException as exc:
            failed.append(exc)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert len([node for node in debug.tree(values=True).walk() if node.kind == "thread"]) >= 4
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []


@needs_locks
def test_the_manual_shows_what_is_printed(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "operating.rst").read_text()
    blocks = dict(re.findall(r"code-block:: (python|text)\n\n((?:   .*\n|\n)+)", page))  # the last of each kind
    program = tmp_path / "server.py"
    program.write_text(textwrap.dedent(blocks["python"]))
    done = run_python(program)
    assert (done.stderr, done.returncode) == ("", 0)
    printed, shown = (re.sub("0x[0-9a-f]+", "0x1", text) for text in (done.stdout, textwrap.dedent(blocks["text"])))
    assert printed.splitlines()[2:] == shown.strip().splitlines()[2:]


def test_a_local_that_is_half_made():
    """A metaclass is asked for the key in the middle of making a local, which has none yet."""
    seen = []

    class Asking(type):
        @property
        def __xctx_key__(cls):
            seen.append(debug.tree())
            return keys.Key(lambda: 1)

    class Store(xctx.local, metaclass=Asking):
        pass

    store = Store()
    store.a = 1
    assert store.a == 1
    assert seen
