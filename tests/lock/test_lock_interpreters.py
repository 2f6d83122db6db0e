"""Locks that are handed to another interpreter of the process: through a queue, or with what an executor runs.

Names are tried in tests/core/test_interpreters.py. The programs run in processes of their own.
"""

import importlib.util
import pickle
import sys
from pathlib import Path

import lock_module
import pytest
from helpers.effort import sized
from helpers.packages import FREE_THREADED

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("concurrent.interpreters") is None or sys.platform != "linux",
    reason="came with 3.14, and xctx can use it on Linux",
)

START = """
import gc, os, threading, time, warnings
from concurrent import interpreters
import xctx, xctx.concurrent

def begun(**given):
    made = interpreters.create()
    if given: made.prepare_main(**given)
    made.exec("import xctx")
    return made
"""


@pytest.fixture
def run(python):
    return lambda source: python(START + source, dev=False).splitlines()


kinds = pytest.mark.parametrize("kind", ["SharedLock", "SharedRLock"])


@kinds
def test_it_excludes_and_is_excluded_there(run, kind):
    source = f"""
lock, queue = xctx.{kind}(key=xctx.keys.process), interpreters.create_queue()
queue.put(lock)
made = begun(queue=queue, argument=lock)
made.exec("lock = queue.get()")
made.exec("print(lock == argument, type(lock) is xctx.{kind}, lock.key, lock.name)")
with lock:
    made.exec("assert lock.acquire(timeout=0); lock.release(); assert not lock.acquire(True, timeout=0)")
with lock.exclusive():
    made.exec("assert not lock.acquire(timeout=0)")
made.exec("assert lock.acquire(True)")
assert not lock.acquire(timeout=0)
made.exec("lock.release()")
with lock.exclusive(timeout=0): pass
made.close()
print("all")
"""
    first, last = run(source)
    assert first.startswith("False True ") and first.endswith(" None")
    assert last == "all"


def test_it_arrives_as_it_was_made(run):
    source = """
for made in (xctx.SharedLock(key=xctx.keys.thread, on_death="ignore"), xctx.SharedRLock(on_death="raise")):
    queue = interpreters.create_queue()
    queue.put(made)
    other = begun(queue=queue)
    other.exec("lock = queue.get(); print(type(lock).__name__, lock.key.name, lock.mode, lock.count)")
    other.close()
"""
    assert run(source) == ["SharedLock thread None 0", "SharedRLock task None 0"]


def test_one_that_arrives_twice_or_comes_back_is_the_same_lock(run):
    source = """
lock, queue = xctx.SharedLock(key=xctx.keys.process), interpreters.create_queue()
for _ in range(2): queue.put(lock)
made = begun(queue=queue)
made.exec('''
one, other = queue.get(), queue.get()
assert one.acquire(True) and other.mode == "exclusive"
other.release()
queue.put(other)
''')
back = queue.get()
with lock.exclusive():
    print(back.mode, back.count)
made.close()
"""
    assert run(source) == ["exclusive 1"]


@pytest.mark.parametrize("executor", ["xctx.concurrent", "concurrent.futures"])
def test_workers_get_it_as_an_argument_and_for_their_initializer(run, executor):
    source = f"""
import concurrent.futures
counter, rounds = bytearray(8), {sized(200, 2000)}
def count(lock, counter, rounds):
    for _ in range(rounds):
        with lock.exclusive():
            before = int.from_bytes(counter, "little")
            counter[:] = (before + 1).to_bytes(8, "little")
def begin(lock, counter):
    count.__globals__  # a function that uses globals of its module cannot be shared: this one has none
lock = xctx.SharedLock()
def keep(lock):
    import xctx
    xctx.kept_lock = lock
def held_there():
    import xctx
    return xctx.kept_lock.acquire(timeout=0)
with {executor}.InterpreterPoolExecutor(3, initializer=keep, initargs=(lock,)) as pool:
    for each in [pool.submit(count, lock, memoryview(counter), rounds) for _ in range(3)]: each.result()
    with lock.exclusive():
        print(pool.submit(held_there).result())
    print(pool.submit(held_there).result())
print(int.from_bytes(counter, "little") == 3 * rounds)
"""
    assert run(source) == ["False", "True", "True"]


@kinds
def test_what_a_holder_had_whose_interpreter_ended(run, kind):
    source = f"""
lock, queue = xctx.{kind}(key=xctx.keys.process), interpreters.create_queue()
for mode in ("False", "True"):
    queue.put(lock)
    made = begun(queue=queue)
    made.exec(f"lock = queue.get(); assert lock.acquire({{mode}})")
    assert not lock.acquire(True, timeout=0) and lock.holders()
    made.close()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert lock.acquire(True, timeout=30)
    print([each.category.__name__ for each in told])
    lock.mark_consistent()
    lock.release()
    assert not lock.holders()
"""
    assert run(source) == ["[]", "['OwnerDiedWarning']"]  # a reader's death is nobody's concern


def test_a_waiting_thread_gets_what_an_interpreter_held_when_it_ended(run):
    source = """
lock, queue = xctx.SharedLock(on_death="ignore", key=xctx.keys.process), interpreters.create_queue()
queue.put(lock)
made = begun(queue=queue)
made.exec("lock = queue.get(); assert lock.acquire(True)")
waiter = threading.Thread(target=lambda: print(lock.acquire(True, timeout=30)))
waiter.start()
while not lock.waiters: time.sleep(0.001)
made.close()
waiter.join()
"""
    assert run(source) == ["True"]


def test_those_of_other_interpreters_wait_for_each_other(run):
    source = f"""
lock, queue, log = xctx.SharedLock(), interpreters.create_queue(), interpreters.create_queue()
def work(lock, log, rounds):
    for number in range(rounds):
        with lock.exclusive(timeout=60):
            log.put(1); log.put(-1)
made = [begun() for _ in range(3)]
threads = [each.call_in_thread(work, lock, log, {sized(50, 500)}) for each in made]
work(lock, log, {sized(50, 500)})
for each in threads: each.join()
inside = [log.get_nowait() for _ in range(log.qsize())]   # before those end who put it there
for each in made: each.close()
print(inside == [1, -1] * (4 * {sized(50, 500)}))
"""
    assert run(source) == ["True"]


def test_it_may_be_on_its_way_when_the_sender_has_none_any_more(run):
    source = """
queue = interpreters.create_queue()
lock = xctx.SharedLock()
queue.put(lock)
del lock
gc.collect()
arrived = queue.get()
with arrived.exclusive(timeout=0): print(arrived.mode)
made = begun(queue=queue)
made.exec("lock = xctx.SharedLock(key=xctx.keys.process); lock.acquire(True); queue.put(lock); queue.put(lock)")
arrived = queue.get()
assert not arrived.acquire(timeout=0)
made.close()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    print(arrived.acquire(True, timeout=30))
arrived.release()
print(queue.get())
"""
    assert run(source) == ["exclusive", "True", "concurrent.interpreters._queues.UNBOUND"]


def test_nothing_of_it_is_left(run):
    source = """
def used():
    gc.collect()
    with open("/proc/self/maps") as maps:
        return sum("xctx-lock" in line for line in maps), len(os.listdir("/proc/self/fd"))
queue = interpreters.create_queue()
made = begun(queue=queue)
made.exec("def get():\\n    lock = queue.get()\\n    with lock: pass")
before = None
for _ in range(50):
    queue.put(xctx.SharedLock())
    made.exec("get(); import gc; gc.collect()")
    if before is None: before = used()
print(used() == before or (before, used()))
made.close()
"""
    assert run(source) == ["True"]


# --- inside other objects, and of other classes: these CPython pickles ------------------------------------------------

MODULE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import lock_module as module\n"
containers = pytest.mark.parametrize("container", lock_module.CONTAINERS)
classes = pytest.mark.parametrize("name", lock_module.CLASSES)


@pytest.fixture
def run_in(python):
    # The workers of the standard library's executor import it, too.
    source = START + MODULE + f"made, queue = begun(), interpreters.create_queue()\nmade.exec({MODULE!r})\n"
    path = [Path(__file__).parent]
    return lambda rest: python(source + rest + "made.close()\n", path=path, dev=False).splitlines()


@classes
def test_it_goes_along_in_anything(run_in, name):
    source = f"""
import concurrent.futures
made.prepare_main(queue=queue)
begun_with, _ = module.made({name!r}, "deep")
pools = [executor.InterpreterPoolExecutor(1, initializer=module.found_in, initargs=(begun_with,))
         for executor in (concurrent.futures, xctx.concurrent)]
for container in module.CONTAINERS:
    sent, lock = module.made({name!r}, container)
    def held_there(hold, let_go):
        assert hold() and not lock.acquire(timeout=0), container
        let_go()
        with lock.exclusive(timeout=30): pass

    queue.put(sent)
    held_there(lambda: made.exec("assert module.hold(queue.get())") is None, lambda: made.call(module.let_go))
    held_there(lambda: made.call(module.hold, sent), lambda: made.call(module.let_go))
    for pool in pools:
        held_there(lambda: pool.submit(module.hold, sent).result(), lambda: pool.submit(module.let_go).result())
for pool in pools: pool.shutdown()
print("all")
"""
    assert run_in(source) == ["all"]


@classes
def test_what_a_call_gives_back_has_it(run_in, name):
    source = f"""
with xctx.concurrent.InterpreterPoolExecutor(1) as pool:
    there = made.call, lambda *call: pool.submit(*call).result()
    for container, call in [(container, call) for container in module.CONTAINERS for call in there]:
        lock = module.found_in(call(module.give, {name!r}, container))
        assert type(lock) is module.CLASSES[{name!r}] and not lock.acquire(timeout=0), container
        call(module.let_go)
        with lock.exclusive(timeout=30): pass
print("all")
"""
    assert run_in(source) == ["all"]


@classes
def test_it_arrives_although_the_sender_has_none_any_more(run_in, name):
    # Without the GIL an interpreter never gives up an object, not even bytes, that it has returned to another.
    source = f"""
def used():
    gc.collect()
    with open("/proc/self/maps") as maps:
        return sum("xctx-lock" in line for line in maps), len(os.listdir("/proc/self/fd"))
def through(container):
    queue.put(module.made({name!r}, container)[0])
    gc.collect()
    with module.found_in(queue.get()).exclusive(timeout=0): pass
    if {FREE_THREADED}: return
    with module.found_in(made.call(module.give_up, {name!r}, container)).exclusive(timeout=0): pass
    made.exec("import gc; gc.collect()")
before = None
for _ in range({sized(5, 50)}):
    for container in module.CONTAINERS: through(container)
    if before is None: before = used()
print(used() == before or (before, used()))
"""
    assert run_in(source) == ["True"]


def test_of_those_that_never_arrive_the_latest_are_kept(run_in):
    source = """
def descriptors(): return len(os.listdir("/proc/self/fd"))
before = descriptors()
for _ in range(100): queue.put([xctx.SharedLock()])
print(descriptors() - before)
missing = 0
for _ in range(100):
    try:
        with queue.get()[0]: pass
    except interpreters.NotShareableError as error:
        missing += 1
        told = str(error.__cause__)
print(missing, told)
gc.collect()
print(descriptors() - before)
kept = [xctx.SharedLock() for _ in range(100)]
queue.put(kept)
print(sum(mine.acquire(True) and other.mode == "exclusive" for mine, other in zip(kept, queue.get())))
for _ in range(100):
    try: queue.put((1, [xctx.SharedLock()], lambda: queue))
    except interpreters.NotShareableError: pass
del kept
gc.collect()
print(descriptors() - before)
"""
    waiting, told, arrived, same, failed = run_in(source)
    assert (waiting, arrived, same, failed) == ("64", "0", "100", "64")
    assert told.startswith("36 a lock without a name has not arrived: the interpreter that sent it had let go of it")


@classes
@containers
def test_other_processes_refuse_it_as_ever(name, container):
    what, _ = lock_module.made(name, container)
    with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
        pickle.dumps(what)


def test_a_snapshot_has_it_in_a_value(run_in):
    source = f"""
sys.path.insert(0, {str(Path(__file__).parents[1] / "carry")!r})
made.exec("sys.path.insert(0, {str(Path(__file__).parents[1] / "carry")!r})")
import carry_module
def descriptors(): return len(os.listdir("/proc/self/fd"))
for name in module.CLASSES:
    sent, lock = module.made(name, "dict")
    before = descriptors()
    with carry_module.other(kept=sent):
        queue.put(xctx.capture())
        made.prepare_main(queue=queue)
        made.exec("import carry_module; assert queue.get().run(lambda: module.hold(carry_module.other.kept))")
        assert not lock.acquire(timeout=0)
        made.call(module.let_go)
    with lock.exclusive(timeout=30): pass
    print(descriptors() - before)   # by then the other interpreter has none
"""
    assert run_in(source) == ["0"] * len(lock_module.CLASSES)


def test_one_whose_descriptor_the_program_closed_is_refused(run_in):
    source = """
lock = xctx.SharedLock()
for fd in os.listdir("/proc/self/fd"):
    try:
        if "xctx-lock" in os.readlink(f"/proc/self/fd/{fd}"): os.close(int(fd))
    except FileNotFoundError: pass   # that of the list
for each in (lock, [lock]):
    try:
        queue.put(each)
    except interpreters.NotShareableError as error:
        while error.__cause__ is not None: error = error.__cause__
        print(error)
"""
    told, without_cause = run_in(source)
    assert told == "[Errno 9] the program closed the descriptor of this lock, so it cannot go to another interpreter"
    assert without_cause.endswith("does not support cross-interpreter data")  # CPython drops what the pickler raised
