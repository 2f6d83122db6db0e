"""xctx in the interpreters of one process: each has units, stores and locks of its own.

The programs run in processes of their own, and make interpreters there. Each version has the module for that under
another name, and another way to choose the kind of interpreter.
"""

import importlib.util
import os
import re
import sys

import pytest
from helpers.effort import sized
from helpers.interpreters import TIMEOUT
from helpers.packages import FREE_THREADED, offers

START = f"""
import os, sys, threading, warnings
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    make = interpreters.create
    SHARED, OWN = "legacy", "isolated"
else:
    import _xxsubinterpreters as interpreters
    make = lambda own: interpreters.create(isolated=own)
    SHARED, OWN = False, True
PATH = "import sys; sys.path[:] = {sys.path!r}; import xctx; from xctx._runtime import copies\\n"

def run(interpreter, source):
    failed = interpreters.run_string(interpreter, source)   # up to 3.12 it raises
    if failed is not None:
        raise RuntimeError(failed.errdisplay)

def once(kind, source=""):
    # In an interpreter of its own, which ends then.
    made = make(kind)
    try:
        run(made, PATH + source)
    finally:
        interpreters.destroy(made)

WORK = '''
import threading
x, kept = xctx.xlocal(), xctx.local()
assert not kept.__dict__
kept.a = 1
with x(a=2):
    snapshot = xctx.capture()
    seen = []
    thread = threading.Thread(target=lambda: seen.append((hasattr(x, "a"), hasattr(kept, "a"))))
    thread.start(); thread.join()
    assert seen == [(False, False)]
    assert (x.a, kept.a) == (2, 1)
assert not hasattr(x, "a")
with snapshot:
    assert x.a == 2
with xctx.work():
    per_request = xctx.local(key=xctx.keys.work)
    per_request.b = 3
assert not hasattr(per_request, "b")
for each in (xctx.LocalWrapper([1]), xctx.LocalWrapper({{"a": 1}}), xctx.LocalProxy(lambda: [1])):
    assert len(each) == 1
values = xctx.BatchExecutor(iter(range(100)).__next__, 10)
assert [values.load() for _ in range(20)] == list(range(20))
try:
    lock = xctx.SharedLock()
except NotImplementedError:
    lock = None
if lock is not None:
    with lock:
        pass
    assert lock.acquire(True)
    lock.release()
'''
"""
# Where interpreters share the GIL, and where they do not.
KINDS = ["SHARED", *(["OWN"] if sys.version_info >= (3, 12) else [])]
ONE_GIL = sys.version_info < (3, 12)
HAS_COPIES = sys.platform == "linux"

MAKER = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"

pytestmark = pytest.mark.skipif(not importlib.util.find_spec(MAKER), reason="this Python makes no interpreters")
copies = pytest.mark.skipif(not HAS_COPIES, reason="one interpreter of a process can use xctx")
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def run(python):
    return lambda source, **options: python(START + source, **options).splitlines()


# --- it works in each ---------------------------------------------------------------------------------------------


@copies
@kinds
@pytest.mark.parametrize("first", ["import xctx; ", ""], ids=["the main one imports it first", "another does"])
def test_each_interpreter_can_use_it(run, kind, first):
    assert run(f"{first}\nonce({kind}, WORK)\nexec(PATH + WORK)\nonce({kind}, WORK)\nprint('all')") == ["all"]


@copies
@pytest.mark.skipif(ONE_GIL, reason="one GIL for all interpreters")
def test_interpreters_of_both_kinds_live_beside_each_other(run):
    source = """
made = [make(kind) for kind in (SHARED, OWN, OWN, SHARED)]
for each in made: run(each, PATH + WORK)
exec(PATH + WORK)
for each in reversed(made): run(each, WORK)
for each in made: interpreters.destroy(each)
exec(WORK)
print("all")
"""
    assert run(source) == ["all"]


@copies
@kinds
def test_a_copy_says_of_itself_what_is_true_of_the_original(run, kind):
    source = f"""
import xctx._core, xctx._stores.local
about = lambda module: (module.__file__, module.__spec__.origin, module.__name__)
once({kind}, f'''
import xctx._core, xctx._stores.local
about = lambda module: (module.__file__, module.__spec__.origin, module.__name__)
assert about(xctx._core) == {{about(xctx._core)}}
assert about(xctx._stores.local) == {{about(xctx._stores.local)}}
assert xctx.local.__module__ == {{xctx.local.__module__!r}}
''')
print("same")
"""
    assert run(source) == ["same"]


@copies
@kinds
def test_nothing_of_one_is_seen_in_another(run, kind):
    # A thread state lasts for one `run` on some versions; what is the process's stays in between.
    source = f"""
import xctx, xctx.debug
one, other = make({kind}), make({kind})
run(one, PATH + '''
x, kept, everyone = xctx.xlocal(), xctx.local(), xctx.local(key=xctx.keys.process)
block = x(a=1); block.__enter__()
kept.a = everyone.a = 1
here = x.a, kept.a, everyone.a
''')
run(other, PATH + '''
import xctx.debug
assert not xctx.debug.live_bindings(), xctx.debug.live_bindings()
x, kept, everyone = xctx.xlocal(), xctx.local(), xctx.local(key=xctx.keys.process)
assert not [store for store in (x, kept, everyone) if hasattr(store, "a")]
everyone.a = 2
''')
assert not xctx.debug.live_bindings()
run(one, "print(here, everyone.a)")
for each in (one, other): interpreters.destroy(each)
"""
    assert run(source) == ["(1, 1, 1) 1"]


@copies
@kinds
def test_types_and_keys_of_two_interpreters_are_not_the_same_objects(run, kind):
    source = f"""
import xctx
TELL = "print(id(xctx.keys.thread), id(xctx.local), id(xctx.LocalProxy), id(xctx.BatchExecutor))"
made = [make({kind}) for _ in range(3)]
for each in made: run(each, PATH + TELL)
exec(TELL)
for each in made: interpreters.destroy(each)
"""
    told = [number for line in run(source) for number in line.split()]
    assert len(told) == len(set(told)) == 16


@copies
@kinds
def test_units_end_with_their_interpreter(run, kind):
    source = f"""
once({kind}, '''
import os
class Say:
    def __init__(self, what): self.what = what
    def __del__(self, write=os.write): write(1, self.what)   # globals are cleared by then
kept = xctx.local()
kept.a = Say(b"kept ")
x = xctx.xlocal()
block = x(a=Say(b"bound "))
block.__enter__()
''')
print("after")
"""
    (line,) = run(source)
    assert sorted(line.split()) == ["after", "bound", "kept"]


# --- it is named --------------------------------------------------------------------------------------------------

UNITS = ("process", "thread", "greenlet")


@copies
@kinds
def test_a_unit_says_in_which_interpreter_it_is(run, kind):
    source = f"""
import xctx
SHOW = '''
import re
for key in {UNITS}: print(re.sub("0x[0-9a-f]+", "0", repr(getattr(xctx.keys, key).current())))
with xctx.work(): print(re.sub("0x[0-9a-f]+", "0", repr(xctx.keys.work.current())))
'''
made = make({kind})
run(made, PATH + SHOW)
print(int(made))
exec(SHOW)
interpreters.destroy(made)
"""
    *there, number, process, thread, greenlet, work = run(source)
    inside = f" of interpreter {number}>"
    assert [line.removesuffix(inside) + ">" for line in there] == [process, thread, greenlet, work]
    assert all(line.endswith(inside) for line in there)
    assert thread == "<xctx unit: thread 0>"


@copies
@kinds
def test_a_tree_and_an_explanation_say_of_which_interpreter_they_are(run, kind):
    source = f"""
LOOK = '''
import json, threading, xctx.debug
x = xctx.xlocal()
tree = xctx.debug.tree()
print(tree.text().splitlines()[0].partition(":")[0].replace(str(tree.pid), "PID"))
print(tree.html().partition("<h1>")[2].partition("</h1>")[0].replace(str(tree.pid), "PID"))
print(tree.interpreter, json.loads(tree.json())["interpreter"])
entered, over = threading.Event(), threading.Event()
def bind():
    with x(a=1):
        entered.set()
        over.wait()
thread = threading.Thread(target=bind, name="other")
thread.start()
entered.wait()
print(xctx.debug.explain(x, "a").partition(" that is open ")[2].partition(" binds")[0])
over.set()
thread.join()
'''
import xctx
once({kind}, LOOK)
exec(LOOK)
"""
    first = run(source)
    there, here = first[:4], first[4:]
    number = there[2].split()[0]
    assert int(number)
    assert there == [
        f"process PID, interpreter {number}",
        f"process PID, interpreter {number}",
        f"{number} {number}",
        "in another context" if FREE_THREADED else f"in the thread 'other' of interpreter {number}",
    ]
    where = "in another context" if FREE_THREADED else "in the thread 'other'"  # without a GIL the thread is not known
    assert here == ["process PID", "process PID", "0 0", where]


@copies
@kinds
def test_an_error_about_another_unit_says_in_which_interpreter_that_is(run, kind):
    source = f"""
once({kind}, '''
import contextvars, threading
x = xctx.xlocal(key=xctx.keys.thread)
with x(a=1): context = contextvars.copy_context()
def look():
    try: x.a
    except AttributeError as error: print(error)
thread = threading.Thread(target=context.run, args=(look,))
thread.start(); thread.join()
from xctx._runtime.importable import object_at
try: object_at("os", "nothing")
except LookupError as error: print(error)
''')
"""
    unseen, missing = run(source)
    assert re.search(r"only <xctx unit: thread 0x[0-9a-f]+ of interpreter \d+> sees it", unseen)
    assert re.match(r"this process has no 'nothing' in module 'os' of interpreter \d+: ", missing)


# --- made and ended -----------------------------------------------------------------------------------------------


@copies
@kinds
def test_many_made_and_ended_one_after_the_other_need_one_copy(run, kind):
    rounds = sized(25, 1000)
    source = f"""
import xctx
from xctx._runtime import copies
x = xctx.xlocal()
with x(a=1):
    for _ in range({rounds}): once({kind}, WORK)
    print(copies.count(), x.a)
"""
    assert run(source, timeout=sized(TIMEOUT, 280)) == ["1 1"]


@copies
@kinds
def test_several_threads_make_and_end_them(run, kind):
    source = f"""
import xctx
from xctx._runtime import copies
failed = []
def rounds():
    try:
        for _ in range({sized(5, 334)}): once({kind}, WORK)
    except BaseException as error:
        failed.append(error)
        raise
threads = [threading.Thread(target=rounds) for _ in range(3)]
for each in threads: each.start()
for each in threads: each.join()
print(failed, copies.count() <= 3)
"""
    assert run(source, timeout=sized(TIMEOUT, 280)) == ["[] True"]


@copies
@kinds
def test_a_thread_that_has_used_one_finds_nothing_of_it_in_the_next(run, kind):
    # The threads outlive the interpreters, and have memory of the copy. A thread state of the next interpreter has the
    # same number as one of the former, and may have the same address. Up to 3.12 all threads run an interpreter's first
    # thread state in turn: threading.local tells.
    source = f"""
import queue
import xctx
from xctx._runtime import copies

class Worker(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.todo, self.done = queue.Queue(), queue.Queue()
    def run(self):
        for interpreter, source in iter(self.todo.get, None):
            try:
                run(interpreter, source)
                self.done.put(None)
            except BaseException as error:
                self.done.put(error)
    def do(self, *what):
        self.todo.put(what)
        error = self.done.get()
        if error: raise error

workers = [Worker() for _ in range(3)]
for each in workers: each.start()
for round in range({sized(6, 40)}):
    made = make({kind})
    run(made, PATH + "import threading; std, kept, x, wrapped = threading.local(), xctx.local(), xctx.xlocal(), [1]")
    for number, worker in enumerate(workers):
        worker.do(made, f"assert kept.__dict__ == std.__dict__, kept.__dict__\\nkept.a = std.a = {{number}}")
        worker.do(made, "assert kept.__dict__ == std.__dict__, kept.__dict__")
        worker.do(made, f"with x(a={{number}}): assert x.a == {{number}}")
        worker.do(made, "assert xctx.keys.thread.current().alive and len(xctx.LocalWrapper(wrapped)) == 1")
    interpreters.destroy(made)
for each in workers: each.todo.put(None)
for each in workers: each.join()
print(copies.count())
"""
    assert run(source) == ["1"]


@copies
@kinds
def test_the_process_ends_while_others_live(run, kind):
    source = f"""
warnings.simplefilter("ignore")   # some versions say that interpreters are left
import xctx
made = make({kind})
run(made, PATH + WORK)
print("end")
"""
    assert run(source) == ["end"]


# --- copies -------------------------------------------------------------------------------------------------------


@copies
@kinds
def test_too_many_at_once_are_told_and_can_use_it_when_others_have_ended(run, kind):
    source = f"""
made = []
while len(made) < 100:
    made.append(make({kind}))
    try:
        run(made[-1], PATH + WORK)
    except Exception as error:
        print(str(error).replace(chr(10), " "))
        break
assert len(made) > 5, len(made)
for each in made[:2]: interpreters.destroy(each)
for _ in range(2):
    made.append(make({kind}))
    run(made[-1], PATH + WORK)
for each in made[2:]: interpreters.destroy(each)
print(len(made) - 3)
"""
    told, number = run(source)
    if int(number) == 99:
        pytest.skip("this loader has room for all")
    assert (
        f"xctx cannot be used in this interpreter: the process has {int(number) + 1} copies of the compiled modules"
        in told
    )
    assert "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=" in told
    assert "fewer interpreters at once" in told


@copies
@kinds
def test_more_have_room_where_the_loader_is_told(run, kind):
    source = f"""
made = [make({kind}) for _ in range(20)]
for each in made: run(each, PATH + WORK)
for each in made: interpreters.destroy(each)
print("all")
"""
    assert run(source, GLIBC_TUNABLES="glibc.rtld.optional_static_tls=16384") == ["all"]


@copies
@kinds
def test_where_no_file_in_memory_can_be_loaded_one_in_a_directory_is(run, kind, tmp_path):
    source = f"""
made = make({kind})
run(made, "import os, tempfile; del os.memfd_create; tempfile.tempdir = {str(tmp_path)!r}")
run(made, PATH + WORK)
interpreters.destroy(made)
print("all")
"""
    assert run(source) == ["all"]
    assert not os.listdir(tmp_path)


# --- locks --------------------------------------------------------------------------------------------------------

locks = pytest.mark.skipif(not (HAS_COPIES and offers("SharedLock")), reason="there are no locks")


@locks
@kinds
def test_a_name_is_one_lock_in_all_interpreters(run, kind):
    source = f"""
import xctx
name = f"interpreters-{{os.getpid()}}"
OPEN = f"lock = xctx.SharedLock({{name!r}}, key=xctx.keys.process)\\n"
exec(OPEN)
one, other = make({kind}), make({kind})
for each in (one, other): run(each, PATH + OPEN)
with lock:
    run(one, "assert lock.acquire(timeout=0); lock.release()")
    run(other, "assert not lock.acquire(True, timeout=0)")
run(one, "assert lock.acquire(True)")
assert not lock.acquire(timeout=0)
run(other, "assert not lock.acquire(timeout=0)")
run(one, "lock.release()")
run(other, "assert lock.acquire(True); lock.release()")
for each in (one, other): interpreters.destroy(each)
assert lock.acquire(True)
lock.release()
print("one")
"""
    assert run(source) == ["one"]


@locks
@kinds
def test_a_lock_that_an_interpreter_holds_when_it_ends_is_released_and_told(run, kind):
    source = f"""
import xctx
name = f"interpreters-{{os.getpid()}}"
lock = xctx.SharedLock(name)
assert lock.acquire() and lock.release() is None
def used():
    with open("/proc/self/maps") as maps:
        return sum(name in line for line in maps), len(os.listdir("/proc/self/fd"))
before = used()
made = make({kind})
run(made, PATH + f"lock = xctx.SharedLock({{name!r}}, key=xctx.keys.process)\\nassert lock.acquire(True)")
assert not lock.acquire(timeout=0)
interpreters.destroy(made)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert lock.acquire(timeout=10)
lock.release()
with warnings.catch_warnings(action="ignore"), lock.exclusive():
    lock.mark_consistent()   # so that its file goes
print([each.category.__name__ for each in told])
print(before == used() or (before, used()))
"""
    assert run(source) == ["['OwnerDiedWarning']", "True"]


@locks
@kinds
def test_a_waiting_thread_gets_what_an_interpreter_held_when_it_ended(run, kind):
    source = f"""
import xctx
name = f"interpreters-{{os.getpid()}}"
lock = xctx.SharedLock(name, on_death="ignore")
made = make({kind})
run(made, PATH + f"lock = xctx.SharedLock({{name!r}}, key=xctx.keys.process)\\nassert lock.acquire(True)")
def wait():
    print(lock.acquire(True, timeout=30))
    lock.mark_consistent()
    lock.release()
waiter = threading.Thread(target=wait)
waiter.start()
interpreters.destroy(made)
waiter.join()
"""
    assert run(source) == ["True"]


@locks
@kinds
def test_a_lock_says_in_which_interpreter_its_holders_are(run, kind):
    source = f"""
import pickle, subprocess, json, xctx
name = f"interpreters-{{os.getpid()}}"
lock = xctx.SharedLock(name, key=xctx.keys.process)
made = make({kind})
run(made, PATH + f"lock = xctx.SharedLock({{name!r}}, key=xctx.keys.process)\\nassert lock.acquire()")
assert lock.acquire()
def told():
    one, other = sorted(lock.holders(), key=lambda holder: holder.interpreter)
    assert one[:2] == other[:2] == ("shared", os.getpid()) and len(one) == len(other) == 4
    assert pickle.loads(pickle.dumps(other)).interpreter == other.interpreter and other == tuple(other)
    return one.interpreter, other.interpreter == int(made), repr(one), repr(other)
print(*told(), sep="; ")
print(repr(lock))
lock.release()
run(made, "lock.release(); assert lock.acquire(True)")
print(repr(lock), lock.owner)
listed = lambda *options: subprocess.run(
    [sys.executable, "-m", "xctx", "locks", name, *options], capture_output=True, text=True, check=True).stdout
print(*listed("--who").splitlines()[:2], sep="\\n")   # then comes the program, which has lines
print(json.loads(listed("--json"))["holders"][0]["interpreter"] == int(made))
run(made, "lock.release()")
lock.acquire(True)
print(json.loads(listed("--json"))["holders"][0]["interpreter"], listed("--who").partition(", ")[0])
print(int(made), os.getpid())
lock.release()
interpreters.destroy(made)
"""
    both, shared, exclusive, summary, holder, same, mine, last = run(source)
    number, pid = last.split()
    zero, is_made, one, other = both.split("; ")
    assert (zero, is_made) == ("0", "True")
    assert re.fullmatch(rf"\('shared', {pid}, \d+, 1\)", one)
    assert re.fullmatch(rf"\('shared', {pid}, \d+, 1, interpreter {number}\)", other)
    start = f"<xctx.SharedLock 'interpreters-{pid}': "
    assert set(shared.removeprefix(start).rstrip(">").split(", ")) == {
        f"shared by {pid}",
        f"shared by interpreter {number} of {pid}",
    }
    assert exclusive.startswith(f"{start}exclusive by interpreter {number} of {pid}> ('exclusive', {pid}, ")
    assert f"exclusive by interpreter {number} of {pid}, 0 waiting" in summary
    assert re.match(rf"  holds exclusive( for \d+\.\d s)?: process {pid} interpreter {number} ", holder)
    assert (same, mine) == ("True", f"0 interpreters-{pid}: exclusive by {pid}")


@locks
@kinds
def test_a_row_that_an_older_version_has_taken_names_no_interpreter(run, kind):
    # An older version stores nothing about interpreters, so what another process stored in the row is still there.
    source = f"""
import mmap, struct, xctx
name = f"interpreters-{{os.getpid()}}"
lock = xctx.SharedLock(name)
once({kind}, f"lock = xctx.SharedLock({{name!r}}, key=xctx.keys.process)\\nassert lock.acquire(); lock.release()")
lock.acquire()
with open(lock.path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
    rows = range(256, len(memory), 128)
    (mine,) = [row for row in rows if struct.unpack_from("=Q", memory, row) == (1,)]
    stored = [struct.unpack_from("=II", memory, row + 48) for row in rows]
    (of_another,) = [found for found in stored if found[1]] or [(9999, 3)]
    struct.pack_into("=II", memory, mine + 48, *of_another)
print([each.interpreter for each in lock.holders()], repr(lock).partition(": ")[2] == f"shared by {{os.getpid()}}>")
lock.release()
"""
    assert run(source) == ["[0] True"]


@locks
@kinds
def test_a_deadlock_of_two_interpreters_names_them(run, kind):
    source = f"""
import xctx
names = [f"interpreters-{{os.getpid()}}-{{each}}" for each in "ab"]
OPEN = f"first, second = [xctx.SharedLock(name, key=xctx.keys.thread) for name in {{names}}]\\n"
exec(OPEN)
made = make({kind})
run(made, PATH + OPEN)
def there():
    run(made, '''
second.acquire(True)
try:
    first.acquire(True)
    first.release()
except RuntimeError as error:
    print(error)
finally:
    second.release()
''')
first.acquire(True)
thread = threading.Thread(target=there)
thread.start()
while not first.waiters: pass
try:
    second.acquire(True)
    second.release()
except RuntimeError as error:
    print(error)
first.release()
thread.join()
print(int(made), os.getpid())
interpreters.destroy(made)
"""
    *errors, last = run(source)
    number, pid = last.split()
    assert errors
    for error in errors:
        assert error.startswith("deadlock: ")
        assert len(re.findall(rf"thread \d+ of interpreter {number} of process {pid}", error)) == 1
        assert len(re.findall(rf"thread \d+ of process {pid}", error)) == 1


# --- forks --------------------------------------------------------------------------------------------------------


@copies
@kinds
def test_a_forked_child_uses_the_copies_of_interpreters_that_have_ended(run, kind):
    # While others live, CPython itself cannot fork: the child ends or hangs as it clears them.
    source = f"""
import xctx
from xctx._runtime import copies
kept = xctx.local()
kept.a = 1
made = make({kind})
once({kind}, WORK)
run(made, PATH + WORK)
interpreters.destroy(made)
child = os.fork()
if not child:
    assert not kept.__dict__
    exec(WORK)
    for _ in range(3): once({kind}, WORK)
    os._exit(7 if copies.count() == 1 else 8)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), kept.a)
once({kind}, WORK)
print(copies.count())
"""
    assert run(source) == ["7 1", "1"]


@copies
@kinds
def test_a_child_that_c_code_has_forked_goes_on_with_the_interpreters_that_live(run, kind):
    # As a server does that is written in C, and has loaded its applications before.
    source = f"""
import ctypes
made = make({kind})
run(made, PATH + "everyone = xctx.local(key=xctx.keys.process); everyone.a = 1" + chr(10) + WORK)
child = ctypes.PyDLL(None).fork()
if not child:
    run(made, "assert not hasattr(everyone, 'a')" + chr(10) + WORK)
    os._exit(7)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
run(made, "assert everyone.a == 1" + chr(10) + WORK)
interpreters.destroy(made)
"""
    assert run(source) == ["7"]


@pytest.mark.skipif(not importlib.util.find_spec("concurrent.interpreters"), reason="came with 3.14")
@copies
def test_an_executor_of_interpreters_runs_functions_that_use_it(run):
    source = """
from concurrent.futures import InterpreterPoolExecutor
import xctx
current = xctx.xlocal()
with current(user="main"), InterpreterPoolExecutor(2) as executor:
    print(*executor.map(eval, [f"exec({PATH + WORK!r}, {{}})"] * 8), current.user)
"""
    assert run(source) == [" ".join(["None"] * 8) + " main"]


# --- where there are no copies ------------------------------------------------------------------------------------


@kinds
def test_where_there_are_no_copies_a_second_interpreter_is_told_what_to_do(run, kind):
    source = f"""
import xctx
made = make({kind})
run(made, '''
import sys
sys.path[:] = {sys.path!r}
from importlib.util import find_spec
import importlib.machinery
# The loader of the one module that all interpreters share is asked for less than it has.
class Fewer:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "xctx._runtime.copies": return None
        class Loader:
            def create_module(self, spec): return None
            def exec_module(self, module): module.is_main = lambda: False
        return importlib.machinery.ModuleSpec(name, Loader())
sys.meta_path.insert(0, Fewer)
for _ in range(2):
    try:
        import xctx
    except ImportError as error:
        assert error.name == "xctx" and "xctx" not in sys.modules
        print(error)
''')
interpreters.destroy(made)
"""
    told = run(source)
    assert len(told) == 2
    for line in told:
        assert line.startswith(
            "xctx cannot be used in this interpreter: on this platform only the main interpreter can"
        )
        assert "WSGIApplicationGroup %{GLOBAL}" in line
        assert "single-interpreter = true" in line
