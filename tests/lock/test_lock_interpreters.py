"""Locks that are handed to another interpreter of the process: through a queue, or with what an executor runs.

Names are tried in tests/core/test_interpreters.py. The programs run in processes of their own.
"""

import importlib.util
import sys

import pytest
from helpers.effort import sized

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


def test_one_in_another_object_is_refused_as_by_processes(run):
    source = """
queue = interpreters.create_queue()
try:
    queue.put([xctx.SharedLock()])
except interpreters.NotShareableError:
    print("refused")
queue.put((1, xctx.SharedLock()))
print(queue.get()[1].acquire(timeout=0))
"""
    assert run(source) == ["refused", "True"]
