"""Units that libraries start take bindings along where the program asked for it, and no others do."""

import pytest
from helpers.interpreters import run_script
from helpers.packages import installed

import xctx
from xctx import patch

BEGIN = """
import asyncio, concurrent.futures, contextvars, multiprocessing.pool, sys, threading
import xctx
from xctx import patch

x = xctx.xlocal(key=xctx.keys.greenlet)

def look(*ignored):
    return getattr(x, "a", None)

def in_thread(make):
    found = []
    thread = make(lambda: found.append(look()))
    thread.start(); thread.join()
    return found[0]
"""

HANDED_OVER = {
    "a thread": "in_thread(lambda f: threading.Thread(target=f))",
    "a timer": "in_thread(lambda f: threading.Timer(0, f))",
    "a thread of a class with run": "in_thread(lambda f: type('T', (threading.Thread,), {'run': lambda self: f()})())",
    "submit": "concurrent.futures.ThreadPoolExecutor(1).submit(look).result()",
    "map of an executor": "[*concurrent.futures.ThreadPoolExecutor(1).map(look, [1])][0]",
    "run_in_executor": "asyncio.run(by_loop())",
    "to_thread": "asyncio.run(to_thread())",
    **{
        f"{method} of ThreadPool": f"in_pool(lambda pool: {call})"
        for method, call in {
            "apply": "pool.apply(look)", "apply_async": "pool.apply_async(look).get()", "map": "pool.map(look, [1])[0]",
            "map_async": "pool.map_async(look, [1]).get()[0]", "imap": "[*pool.imap(look, [1])][0]",
            "imap_unordered": "[*pool.imap_unordered(look, [1])][0]", "starmap": "pool.starmap(look, [(1,)])[0]",
            "starmap_async": "pool.starmap_async(look, [(1,)]).get()[0]", "func=": "pool.apply(func=look)",
        }.items()
    },
}  # fmt: skip
BY_GEVENT = {
    "spawn": "gevent.spawn(look).get()",
    "spawn_later": "gevent.spawn_later(0, look).get()",
    "a function had by name": "spawn(look).get()",
    "spawn of a pool": "gevent.pool.Pool(1).spawn(look).get()",
    "spawn of a group": "gevent.pool.Group().spawn(look).get()",
    "map of a pool": "gevent.pool.Pool(1).map(look, [1])[0]",
    "imap of a pool": "[*gevent.pool.Pool(1).imap(look, [1])][0]",
    "imap_unordered of a group": "[*gevent.pool.Group().imap_unordered(look, [1])][0]",
    "apply_async of a pool": "gevent.pool.Pool(1).apply_async(look).get()",
    "ThreadPool": "gevent.threadpool.ThreadPool(1).spawn(look).get()",
    "gevent's ThreadPoolExecutor": "gevent.threadpool.ThreadPoolExecutor(1).submit(look).result()",
}
MORE = """
def in_pool(ask):
    with multiprocessing.pool.ThreadPool(1) as pool:
        return ask(pool)

async def by_loop():
    return await asyncio.get_running_loop().run_in_executor(None, look)

async def to_thread():
    with x(a=1):
        return await asyncio.to_thread(look)
"""


def check(script, begin=""):
    run_script(begin + BEGIN + MORE + script, "-W", "ignore::ResourceWarning")


@pytest.mark.sampled
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("how", HANDED_OVER)
def test_it_sees_what_is_bound(how, order):
    bound = "with x(a=1):\n    seen = " + HANDED_OVER[how] + "\n"
    check(
        f"handle = patch.carry()\n{bound}assert seen == 1\n"
        + f"assert {HANDED_OVER[how]} == {1 if how == 'to_thread' else None}\n"
        f"handle.undo()\n{bound}assert seen is None, seen\n",
        "import xctx.patch; xctx.patch.carry().undo(); handle = xctx.patch.carry()\n" if order == "before" else "",
    ) if order == "after" else check(
        f"{bound}assert seen == 1\nhandle.undo()\n{bound}assert seen is None, seen\n",
        "import xctx.patch\nhandle = xctx.patch.carry()\n",
    )


@pytest.mark.skipif(not installed("gevent"), reason="no gevent")
@pytest.mark.sampled
@pytest.mark.parametrize("monkey", ["", "import gevent.monkey; gevent.monkey.patch_all()\n"])
@pytest.mark.parametrize("how", BY_GEVENT)
def test_greenlets_see_what_is_bound(how, monkey):
    imports = "import gevent, gevent.pool, gevent.threadpool\nfrom gevent import spawn\n"
    bound = "with x(a=1):\n    seen = " + BY_GEVENT[how] + "\n"
    check(
        f"{imports}handle = patch.carry()\n{bound}assert seen == 1\nhandle.undo()\n{bound}assert seen is None, seen\n",
        monkey,
    )


def test_the_threads_of_a_pool_take_nothing_along():
    check(
        "patch.carry()\nexecutor = concurrent.futures.ThreadPoolExecutor(1)\n"
        "with x(a=1):\n    assert executor.submit(look).result() == 1\n"
        "assert executor.submit(look).result() is None\n"
        "with multiprocessing.pool.ThreadPool(1) as pool:\n    assert pool.apply(look) is None\n"
    )


def test_what_a_context_is_given_for_stays(monkeypatch):
    check(
        "patch.carry()\nv = contextvars.ContextVar('v', default=0)\nexecutor = "
        "concurrent.futures.ThreadPoolExecutor(1)\n"
        "executor.submit(v.set, 5).result()\nassert executor.submit(v.get).result() == 5  # as without a patch\n"
        "async def main():\n    v.set(6)\n    return await asyncio.to_thread(v.get)\n"
        "assert asyncio.run(main()) == 6\n"
    )


def test_a_thread_does_not_hold_itself():
    check(
        "import gc, weakref\ngc.disable()\npatch.carry()\n"
        "with x(a=1):\n    thread = threading.Thread(target=look); thread.start(); thread.join()\n"
        "assert 'run' not in vars(thread)\ngone = weakref.ref(thread)\ndel thread\nassert gone() is None\n"
        "thread = threading.Thread(target=look)\nwith x(a=1):\n    thread.start()\n"
        "try:\n    thread.start()\nexcept RuntimeError:\n    pass\nthread.join()\nassert 'run' not in vars(thread)\n"
    )


@pytest.mark.parametrize(
    ("lists", "taken"),
    [("allow=['library']", True), ("allow=['lib']", False), ("deny=['library']", False), ("deny=['lib']", True),
     ("allow=['library.inner']", False), ("allow=[]", False)],
)  # fmt: skip
@pytest.mark.parametrize("how", ["threading", "executor"])
def test_lists_of_callers(tmp_path, lists, taken, how):
    (tmp_path / "library.py").write_text(
        "import concurrent.futures, threading\n"
        "def threading_(function):\n    found = []\n    thread = threading.Thread(target=lambda: "
        "found.append(function()))\n"
        "    thread.start(); thread.join()\n    return found[0]\n"
        "def executor_(function):\n    return concurrent.futures.ThreadPoolExecutor(1).submit(function).result()\n"
    )
    run_script(
        BEGIN + f"import library\npatch.carry({lists})\nwith x(a=1):\n"
        f"    assert library.{how}_(look) == {1 if taken else None}\n",
        path=[tmp_path],
    )


def test_two_patches_take_along_what_either_does():
    check(
        "one, two = patch.carry(allow=['nobody']), patch.carry(allow=['__main__'])\n"
        "with x(a=1):\n    assert in_thread(lambda f: threading.Thread(target=f)) == 1\n"
        "    two.undo()\n    assert in_thread(lambda f: threading.Thread(target=f)) is None\n"
    )


def test_what_xctx_starts_is_as_it_was():
    check(
        "import xctx.concurrent\npatch.carry()\nwith x(a=1):\n"
        "    assert in_thread(lambda f: xctx.concurrent.Thread(target=f)) == 1\n"
        "    assert in_thread(lambda f: xctx.concurrent.Thread(target=f, bindings='empty')) is None\n"
        "    assert xctx.concurrent.ThreadPoolExecutor(1, bindings='empty').submit(look).result() is None\n"
        "    assert xctx.concurrent.ThreadPoolExecutor(1).submit(look).result() == 1\n"
    )


def test_somebody_who_patched_the_same_method_later_keeps_it():
    check(
        "handle = patch.carry()\nstart = threading.Thread.start\ncalls = []\n"
        "def theirs(self):\n    calls.append(1)\n    start(self)\n"
        "threading.Thread.start = theirs\nhandle.undo()\nassert threading.Thread.start is theirs\n"
        "with x(a=1):\n    assert in_thread(lambda f: threading.Thread(target=f)) is None\nassert calls == [1]\n"
    )


WRAPPED = """
import threading
start = threading.Thread.start

def wrapped(self):
    run = getattr(self.run, "__func__", self.run)
    def wrapping(*given):
        calls.append(1)
        return run(threading.current_thread(), *given[1:])
    self.run = wrapping
    return start(self)

threading.Thread.start = wrapped
calls = []
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_thread_whose_run_was_wrapped_by_others_takes_it_along(tmp_path, order):
    # As Sentry does. Nothing is denied with its name but what it starts itself.
    (tmp_path / "sentry_sdk" / "integrations").mkdir(parents=True)
    for name in ("", "integrations"):
        (tmp_path / "sentry_sdk" / name / "__init__.py").write_text("")
    (tmp_path / "sentry_sdk" / "integrations" / "threading.py").write_text(WRAPPED)
    (tmp_path / "sentry_sdk" / "worker.py").write_text(
        "import threading\ndef begin(look):\n    found = []\n    thread = threading.Thread(target=lambda: "
        "found.append(look()))\n    thread.start(); thread.join()\n    return found[0]\n"
    )
    wrap = "from sentry_sdk.integrations.threading import calls\nfrom sentry_sdk import worker\n"
    carry = "patch.carry(deny=['sentry_sdk'])\n"
    run_script(
        BEGIN + "import gc, weakref\ngc.disable()\n" + (wrap + carry if order == "before" else carry + wrap)
        + "class Thread(threading.Thread):\n    def run(self):\n        found.append(look())\n"
        "for kind in (lambda: Thread(), lambda: threading.Thread(target=lambda: found.append(look()))):\n"
        "    found = []\n    with x(a=1):\n        thread = kind(); thread.start(); thread.join()\n"
        "    assert found == calls == [1] and vars(thread)['run'].__name__ == 'wrapping'\n"
        "    gone = weakref.ref(thread)\n    del thread\n    assert gone() is None\n    calls.clear()\n"
        "with x(a=1):\n    assert worker.begin(look) is None and calls == [1]\n",
        path=[tmp_path],
    )  # fmt: skip


def test_a_thread_that_is_started_twice_or_run_again():
    check(
        "patch.carry()\nseen = []\n"
        "class Thread(threading.Thread):\n    def run(self):\n        seen.append(look())\n"
        "class Again(threading.Thread):\n"
        "    def start(self):\n        super().start()\n"
        "    def _bootstrap_inner(self):\n"
        "        run = self.run\n        def twice():\n            run()\n            run()\n"
        "        self.run = twice\n        super()._bootstrap_inner()\n"
        "    def run(self):\n        seen.append(look())\n"
        "class Fixed(Thread):\n    run = property(lambda self: lambda: seen.append(look()))\n"
        "for cls, wanted in ((Thread, [1]), (Again, [1, None]), (Fixed, [None])):\n"
        "    with x(a=1):\n        thread = cls(); thread.start(); thread.join()\n"
        "        try:\n            thread.start()\n        except RuntimeError:\n            pass\n"
        "    assert seen == wanted, (cls, seen)\n    seen.clear()\n"
    )


def test_the_threads_of_pools_that_others_keep_take_nothing_along(tmp_path):
    # As anyio's and trio's do, which give work its context themselves.
    (tmp_path / "anyio").mkdir()
    (tmp_path / "anyio" / "__init__.py").write_text("")
    (tmp_path / "anyio" / "_backends.py").write_text(
        "import threading\ndef begin(thread):\n    thread.start()\n    thread.join()\n"
    )
    run_script(
        BEGIN + "from anyio import _backends\npatch.carry()\nfound = []\nwith x(a=1):\n"
        "    _backends.begin(threading.Thread(target=lambda: found.append(look())))\nassert found == [None]\n",
        path=[tmp_path],
    )


def test_wrong_lists():
    with pytest.raises(ValueError, match=r"allow and deny cannot both be given, they were \('a',\) and \('b',\)"):
        patch.carry(allow=["a"], deny=["b"])
    with pytest.raises(TypeError, match="allow is names of modules, not one string: 'a'"):
        patch.carry(allow="a")
    with pytest.raises(TypeError, match="deny is names of modules, not 1"):
        patch.all(deny=[1])
    assert patch.report() == [] and xctx.patch is patch


def test_where_nothing_is_bound_what_is_handed_over_stays_as_it_is():
    check("""
def caller(*ignored):
    return sys._getframe(1).f_code.co_name

def ask():
    with multiprocessing.pool.ThreadPool(1) as pool:
        return pool.apply(caller), concurrent.futures.ThreadPoolExecutor(1).submit(caller).result()

plain = ask()
handle = patch.carry()
assert ask() == plain
with x(a=1):
    assert ask() != plain
with xctx.work():
    assert ask() != plain
assert ask() == plain
""")
