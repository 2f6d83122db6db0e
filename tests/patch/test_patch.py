"""What a patch replaces and takes back, in whatever order. Each program runs in an interpreter of its own."""

import pytest
from helpers.interpreters import run_script
from helpers.packages import installed

ORIGINALS = {
    "threading": "local",
    "_threading_local": "local",
    "gevent.local": "local",
    "werkzeug.local": "Local",
    "asgiref.local": "Local",
    "werkzeug.local:proxies": "LocalProxy",
}

BEGIN = """
import sys, threading
import xctx
from xctx import patch

def is_patched(cls):
    return any(each in (xctx.local, xctx.LocalProxy) for each in cls.__mro__[1:])

def left():
    return {each.name for each in patch.report() if not each.replaced}
"""


def needed(*packages):
    for package in packages:
        if not installed(package):
            pytest.skip(f"{package} is not installed here")


@pytest.fixture(params=ORIGINALS)
def original(request):
    """A module and the name of a class in it."""
    module = request.param.partition(":")[0]
    needed(module.partition(".")[0])
    return module, ORIGINALS[request.param]


def test_importing_xctx_imports_none_of_it():
    assert (
        run_script("import sys, xctx; print([name for name in sys.modules if 'patch' in name and 'xctx' in name])")
        == "[]\n"
    )


def test_patching_imports_none_of_the_libraries():
    script = BEGIN + (
        "patch.all()\n"
        "print([name for name in ('gevent', 'werkzeug', 'asgiref', 'asyncio', 'concurrent.futures', 'multiprocessing')"
        " if name in sys.modules])"
    )
    assert run_script(script) == "[]\n"


@pytest.mark.parametrize("order", ["before", "after"])
def test_each_is_replaced_and_put_back(original, order):
    module, name = original
    imports = f"from {module} import {name} as mine"
    script = BEGIN + "\n".join(
        [imports if order == "after" else "", "handle = patch.all()", imports if order == "before" else "",
         f"import {module}", f"assert mine is {module}.{name} and is_patched(mine), mine",
         f"assert (mine.__module__, mine.__name__) == ({module!r}, {name!r})",
         "handle.undo()", f"assert mine is {module}.{name} and not is_patched(mine), mine",
         "again = patch.all()", f"assert mine is {module}.{name} and is_patched(mine)",
         "patch.undo()", f"assert mine is {module}.{name} and not is_patched(mine) and patch.report() == []"]
    )  # fmt: skip
    run_script(script)


def test_a_name_that_a_program_has_from_xctx_stays():
    run_script(
        BEGIN + "from xctx import local, LocalProxy\nwith patch.all():\n    pass\n"
        "assert local is xctx.local and LocalProxy is xctx.LocalProxy"
    )


def test_parts_are_independent():
    needed("werkzeug")
    run_script(
        BEGIN + "import werkzeug.local as w\n"
        "with patch.locals():\n    assert is_patched(w.Local) and not is_patched(w.LocalProxy)\n"
        "with patch.proxies():\n    assert is_patched(w.LocalProxy) and not is_patched(w.Local)\n"
        "with patch.carry():\n    assert not is_patched(w.LocalProxy) and not is_patched(w.Local)\n"
    )


def test_what_two_have_asked_for_stays_until_both_are_undone():
    run_script(
        BEGIN + "one = patch.locals(); two = patch.all(); start = threading.Thread.start\n"
        "assert repr(two) == '<patch of locals, proxies, carry>'\n"
        "one.undo(); one.undo()\nassert is_patched(threading.local)\n"
        "two.undo()\nassert not is_patched(threading.local) and start is not threading.Thread.start\n"
        "assert repr(two) == '<patch of locals, proxies, carry, undone>'\n"
        "patch.undo()\n"
        "one = patch.locals(); two = patch.all(); one.undo(); patch.undo(); two.undo()\n"
        "assert not is_patched(threading.local)\n"
        "patch.locals(); assert is_patched(threading.local); patch.undo()\n"
        "assert not is_patched(threading.local)\n"
    )


def test_the_same_class_each_time():
    run_script(
        BEGIN + "with patch.locals():\n    first = threading.local\n"
        "with patch.locals():\n    assert threading.local is first\n"
    )


def test_classes_and_objects_that_exist_are_reported():
    run_script(
        BEGIN + "class Mine(threading.local):\n    pass\nclass Ours(Mine):\n    pass\n"
        "store, ours = threading.local(), Ours()\n"
        "assert patch.report() == []\n"
        "patch.locals()\n"
        "names = left()\n"
        "assert {'__main__.Mine', '__main__.Ours', '__main__.store', '__main__.ours'} <= names, names\n"
        "class New(threading.local):\n    pass\nmade = threading.local()\n"
        "assert left() == names\n"
        "replaced = {each.name: each for each in patch.report() if each.replaced}\n"
        "assert replaced['threading.local'].why.startswith('in ') and 'threading' in replaced['threading.local'].why\n"
        "assert str(replaced['threading.local']).startswith('replaced  threading.local: in ')\n"
    )


def test_a_class_that_somebody_else_has_put_there_is_reported():
    run_script(
        BEGIN + "class Other: pass\nthreading.local = Other\npatch.locals()\n"
        "assert threading.local is Other and 'threading.local' in left()\n"
    )


def test_a_class_made_under_the_patch_works_when_it_is_undone():
    run_script(
        BEGIN + "import copy, pickle\nhandle = patch.locals()\n"
        "class Mine(threading.local):\n    def __init__(self, a):\n        self.a = a\n"
        "store, plain = Mine(1), threading.local()\nplain.b = 2\n"
        "assert pickle.loads(pickle.dumps(threading.local)) is threading.local\n"
        "named = pickle.dumps(threading.local)\n"
        "handle.undo()\n"
        "assert (store.a, plain.b, copy.copy(plain).b) == (1, 2, 2) and isinstance(store, Mine)\n"
        "assert pickle.loads(named) is threading.local and not is_patched(threading.local)\n"
        "seen = []\nthread = threading.Thread(target=lambda: seen.extend([store.a, hasattr(plain, 'b')]))\n"
        "thread.start(); thread.join()\nassert seen == [1, False]\n"
    )


@pytest.mark.parametrize("order", ["before", "after"])
def test_gevent_may_patch_before_or_after(order):
    needed("gevent")
    monkey = "import gevent.monkey; gevent.monkey.patch_all()"
    run_script(
        BEGIN + f"{monkey if order == 'before' else ''}\nhandle = patch.all()\n{monkey if order == 'after' else ''}\n"
        "import _thread, gevent, gevent.local, gevent.threading, _threading_local\n"
        "names = lambda: {threading.local, gevent.local.local, gevent.threading.local,"
        " _threading_local.local, _thread._local}\n"
        "assert len(names()) == 1 and is_patched(threading.local), names()\n"
        "store = threading.local()\nstore.a = 1\n"
        "assert not gevent.spawn(hasattr, store, 'a').get()\n"
        "assert not gevent.get_hub().threadpool.apply(hasattr, (store, 'a'))\n"
        "handle.undo()\n"
        "assert names() == {gevent.monkey.api.get_original and gevent.local.local} and not "
        "is_patched(threading.local)\n"
        "assert not is_patched(gevent.monkey.get_original('threading', 'local'))\n"
        "assert store.a == 1\n"
    )


def test_gevents_dumps_tell_of_the_stores():
    needed("gevent")
    run_script(
        BEGIN + "patch.locals()\nimport gevent, gevent.local\n"
        "store = gevent.local.local()\n"
        "def work():\n    store.a = 5\n    gevent.sleep(10)\n"
        "one = gevent.spawn(work)\ngevent.sleep(0)\n"
        "assert gevent.local.all_local_dicts_for_greenlet(one) == [((type(store), id(store)), {'a': 5})]\n"
        "assert gevent.local.all_local_dicts_for_greenlet(gevent.getcurrent()) == []\n"
        "one.kill()\n"
        "patch.undo()\nassert gevent.local.all_local_dicts_for_greenlet(one) == []\n"
    )


def test_a_forked_child_is_patched_and_can_undo_it():
    run_script(
        BEGIN + "import os, warnings\nwarnings.simplefilter('ignore')\nhandle = patch.locals()\n"
        "store = threading.local()\nstore.a = 1\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    right = is_patched(threading.local) and not hasattr(store, 'a')\n"
        "    handle.undo()\n"
        "    os._exit(0 if right and not is_patched(threading.local) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0 and is_patched(threading.local)\n"
    )


def test_threads_that_patch_and_undo_and_import_at_the_same_time():
    run_script(
        BEGIN + "import importlib\n"
        "def work():\n"
        "    for _ in range(30):\n"
        "        with patch.all():\n"
        "            assert is_patched(threading.local)\n"
        "            store = threading.local()\n"
        "            store.a = 1\n"
        "            for name in ('_threading_local', 'multiprocessing.pool'):\n"
        "                sys.modules.pop(name, None)\n"
        "                try:\n"
        "                    importlib.import_module(name)\n"
        "                except (KeyError, ImportError):\n"
        "                    pass  # another thread has popped it\n"
        "        assert store.a == 1\n"
        "failed = []\n"
        "threading.excepthook = failed.append\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "assert not failed, failed\n"
        "assert not is_patched(threading.local) and patch.report() == []\n"
        "assert not any('xctx' in type(finder).__module__ for finder in sys.meta_path)\n"
    )


def test_what_passes_for_a_module_is_left_alone():
    # cffi puts objects into sys.modules that say they are modules and have no __dict__; cryptography has one.
    run_script(
        BEGIN + "import _threading_local, types\n"
        "class Lib:\n"
        "    __slots__ = ()\n"
        "    __class__ = property(lambda self: types.ModuleType)\n"
        "class Strange(types.ModuleType):\n"
        "    __dict__ = property(lambda self: 1 / 0)\n"
        "    def __getattribute__(self, name):\n"
        "        return {'__spec__': None}[name]\n"
        "class Loads(types.ModuleType):\n"
        "    def __getattr__(self, name):\n"
        "        raise ImportError(name)\n"
        "strange = Strange('strange')\n"
        "types.ModuleType.__dict__['__dict__'].__get__(strange)['mine'] = threading.local\n"
        "sys.modules.update(lib=Lib(), strange=strange, loads=Loads('loads'), none=None, number=1, "
        "never=types.ModuleType.__new__(types.ModuleType))\n"
        "assert isinstance(sys.modules['lib'], types.ModuleType)\n"
        "with patch.all():\n"
        "    assert is_patched(threading.local)\n"
        "    assert types.ModuleType.__dict__['__dict__'].__get__(strange)['mine'] is threading.local\n"
        "    assert patch.report() != [] and not any('looked through' in each.why for each in patch.report())\n"
        "assert not is_patched(threading.local)\n"
        "assert types.ModuleType.__dict__['__dict__'].__get__(strange)['mine'] is threading.local\n"
    )


# --- the import system -----------------------------------------------------------------------------------------------


def test_a_module_has_the_loader_that_it_would_have():
    run_script(
        BEGIN + "import importlib, importlib.machinery, importlib.util, inspect\n"
        "handle = patch.locals()\nimport _threading_local\n"
        "assert type(_threading_local.__loader__) is importlib.machinery.SourceFileLoader\n"
        "assert type(_threading_local.__spec__.loader) is importlib.machinery.SourceFileLoader\n"
        "assert is_patched(_threading_local.local) and 'class local' in inspect.getsource(_threading_local)\n"
        "importlib.reload(_threading_local)\nassert is_patched(_threading_local.local)\n"
        "assert importlib.util.find_spec('_threading_local').origin == _threading_local.__file__\n"
        "handle.undo()\nassert not is_patched(_threading_local.local)\n"
        "importlib.reload(_threading_local)\nassert not is_patched(_threading_local.local)\n"
    )


def test_a_library_that_cannot_be_imported_fails_as_it_would(tmp_path):
    (tmp_path / "werkzeug").mkdir()
    (tmp_path / "werkzeug" / "__init__.py").write_text("")
    (tmp_path / "werkzeug" / "local.py").write_text("raise ImportError('as it would')")
    run_script(
        BEGIN + "patch.all()\ntry:\n    import werkzeug.local\nexcept ImportError as exc:\n"
        "    assert str(exc) == 'as it would'\n"
        "else:\n    raise AssertionError\nassert 'werkzeug.local' not in sys.modules\n"
        "try:\n    import asgiref.nothing\nexcept ImportError:\n    pass\n",
        path=[tmp_path],
    )


def test_a_library_that_looks_otherwise_is_reported(tmp_path):
    (tmp_path / "werkzeug").mkdir()
    (tmp_path / "werkzeug" / "__init__.py").write_text("")
    (tmp_path / "werkzeug" / "local.py").write_text("def Local():\n    pass\n")
    run_script(
        BEGIN + "patch.locals()\nimport werkzeug.local\nassert 'werkzeug.local.Local' in left()\n"
        "assert werkzeug.local.Local() is None\n",
        path=[tmp_path],
    )


# --- werkzeug and Flask ----------------------------------------------------------------------------------------------


def test_a_local_manager_releases_every_kind_of_store():
    needed("werkzeug")
    run_script(
        BEGIN
        + "import contextvars\nfrom werkzeug.local import Local, LocalManager, LocalStack, release_local, LocalProxy\n"
        "old = Local()\nwith patch.locals():\n"
        "    for store in (old, Local(), Local(contextvars.ContextVar('v')), xctx.local(), "
        "xctx.local(key=xctx.keys.context)):\n"
        "        for arranged in (store, [store]):\n"
        "            store.a = 1\n"
        "            assert LocalProxy(store, 'a') == 1 and isinstance(store, Local)\n"
        "            LocalManager(arranged).cleanup()\n"
        "            assert not hasattr(store, 'a'), store\n"
        "        store.a = 2\n        release_local(store)\n        assert not hasattr(store, 'a')\n"
        "    new = Local()\n    new.a, new.b = 1, 2\n    assert list(new) == [('a', 1), ('b', 2)] and new('a') == 1\n"
        "    assert type(new('a')) is LocalProxy\n"
        "    assert not isinstance([], Local) and not isinstance(LocalStack(), Local)\n"
        "assert old('a')._get_current_object is not None and isinstance(old, Local) and not isinstance(new, Local)\n"
    )


def test_flasks_objects():
    needed("flask")
    run_script(
        BEGIN + "import flask, flask.globals\nfrom flask import request, g, session, current_app\nbefore = [request]\n"
        "app = flask.Flask('app'); app.secret_key = 'no secret'\n"
        "with patch.proxies():\n"
        "    for name in ('request', 'g', 'session', 'current_app'):\n"
        "        assert globals()[name] is getattr(flask, name) is getattr(flask.globals, name)\n"
        "        assert xctx.is_proxy(globals()[name])\n"
        "        try:\n            globals()[name].some\n        except RuntimeError as exc:\n"
        "            assert str(exc).startswith('Working outside of')\n        else:\n            raise "
        "AssertionError\n"
        "        assert repr(globals()[name]) == '<LocalProxy unbound>'and not globals()[name]\n"
        "    assert before[0] is not request and isinstance(before[0], flask.globals.LocalProxy)\n"
        "    assert isinstance(request, flask.globals.LocalProxy)\n"
        "    with app.test_request_context('/here?a=1'):\n"
        "        g.a = 5; session['b'] = 6\n"
        "        assert (request.path, request.args['a'], g.a, session['b'], current_app.name) == ('/here', "
        "'1', 5, 6, 'app')\n"
        "        assert flask.g.a == 5 == flask.globals.g.a and before[0].path == '/here'\n"
        "    assert 'flask.globals.request' in {each.name for each in patch.report() if each.replaced}\n"
        "assert request is before[0] is flask.request and not xctx.is_proxy(request)\n"
    )


def test_proxies_of_programs():
    needed("werkzeug")
    run_script(
        BEGIN + "import contextvars\nfrom werkzeug.local import Local, LocalProxy, LocalStack\n"
        "class Thing:\n    inner = 7\n"
        "variable, local_, stack = contextvars.ContextVar('variable'), Local(), LocalStack()\n"
        "variable.set(Thing()); local_.thing = 8; stack.push(Thing())\n"
        "by = {'variable': LocalProxy(variable, 'inner'), 'local': local_('thing'), 'stack': stack('inner'),\n"
        "      'call': LocalProxy(lambda: 9), 'dotted': LocalProxy(variable, 'inner.real')}\n"
        "globals().update(by)\n"
        "class Mine(LocalProxy):\n    pass\nmine = Mine(lambda: 1)\n"
        "empty = LocalProxy(contextvars.ContextVar('empty'), unbound_message='said by the program')\n"
        "with patch.all():\n"
        "    for name, value in (('variable', 7), ('local', 8), ('stack', 7), ('call', 9), ('dotted', 7)):\n"
        "        assert xctx.is_proxy(globals()[name]) and globals()[name] == value and by[name] == value, name\n"
        "    try:\n        empty.a\n    except RuntimeError as exc:\n        assert str(exc) == 'said by the program'\n"
        "    assert {'__main__.Mine', '__main__.mine'} <= left(), left()\n"
        "    made = LocalProxy(lambda: 3)\n    assert made + 1 == 4 and made * 2 == 6\n"
        "    made += 1\n    assert made == 4\n"
        "    class New(LocalProxy):\n        pass\n    assert New(lambda: 3) + 1 == 4\n"
        "assert not xctx.is_proxy(variable) and globals()['call'] is by['call']\n"
    )


# --- asgiref ---------------------------------------------------------------------------------------------------------

ASGIREF = """
import asyncio
from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async

def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start(); thread.join()
    return found[0]

def critical():
    store = Local(thread_critical=True)
    store.a = "sync"
    told = []
    async def child(): return getattr(store, "a", None)
    async def main():
        told.append(getattr(store, "a", None))
        store.a = "task"
        told.append(await asyncio.create_task(child()))
        async def other():
            store.a = "other"
            await asyncio.sleep(0)
            return store.a
        told.append(await asyncio.gather(other(), child()))
        told.append(store.a)
        told.append(await sync_to_async(lambda: getattr(store, "a", None))())
    asyncio.run(main())
    told += [store.a, in_thread(lambda: getattr(store, "a", None))]
    async_to_sync(child)()
    del store.a
    told.append(hasattr(store, "a"))
    return told

def usual():
    store = Local()
    store.a = 1
    told = []
    async def main():
        told.append(getattr(store, "a", None))
        store.a = 2
        await sync_to_async(setattr)(store, "a", 3)
        told.append(store.a)
    async_to_sync(main)()
    told.append(store.a)
    told.append(in_thread(lambda: getattr(store, "a", None)))
    return told

def executors():
    # A thread in a copied context is not the one that waits for the outer task.
    threads = []
    def inner():
        async def main(): await sync_to_async(lambda: threads.append(threading.current_thread()))()
        asyncio.run(main())
        threads.append(threading.current_thread())
    async def outer(): await asyncio.to_thread(inner)
    async_to_sync(outer)()
    return threads[0] is threading.main_thread()
"""


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("question", ["critical", "usual", "executors"])
def test_asgiref_finds_what_it_expects(question, order):
    needed("asgiref")
    stock = run_script(BEGIN + ASGIREF + f"\nprint({question}())")
    place = "" if order == "after" else "patch.locals()\n"
    script = BEGIN + place + ASGIREF + ("patch.locals()\n" if order == "after" else "")
    script += "assert any(each is xctx.local for each in Local.__mro__)\n"
    assert run_script(script + f"print({question}())") == stock
