"""The interpreter ends in the middle of things: nothing is printed. Each script runs with -X dev -W error.

CPython releases what the main thread's context still holds only when no code can notice any more.
"""

import pytest

START = """
import atexit, contextvars, gc, sys, threading
import xctx
x = xctx.xlocal()
every = [x] + [xctx.xlocal(key=key) for key in (
    xctx.keys.process, xctx.keys.thread, xctx.keys.task, xctx.keys.context, threading.get_ident)]

class Value:
    def __init__(self, of):
        self.of = of
    def __del__(self):
        # Reads, and binds where it can: what it finds depends on how much is gone already.
        getattr(self.of, "a", None)
        vars(self.of), dir(self.of), repr(self.of)
        with self.of(b=1):
            assert self.of.b == 1
        print("died")
"""


def test_bindings_are_open_at_exit(python):
    python(START + "kept = [each(a=Value(each)) for each in every]\nfor scope in kept: scope.__enter__()\n")


def test_bindings_are_open_at_exit_and_held_by_nobody(python):
    python(START + "for each in every: each(a=Value(each)).__enter__()\n")


def test_a_status_is_kept(python):
    python(START + "x(a=Value(x)).__enter__()\nsys.exit(3)", status=3)


def test_a_generator_is_suspended_in_a_block_at_exit(python):
    python(
        START
        + """
def generate(x):
    with x(a=Value(x)):
        yield x.a

generators = [generate(each) for each in every]
for generator in generators:
    next(generator)
"""
    )


def test_daemon_threads_are_in_blocks_at_exit(python):
    python(
        START
        + """
ready = threading.Barrier(3)
def run():
    with x(a=1), every[1](a=2):
        ready.wait()
        while True:
            assert (x.a, every[1].a) == (1, 2)
            with x(b=1):
                pass
for _ in range(2):
    threading.Thread(target=run, daemon=True).start()
ready.wait()
"""
    )


def test_a_daemon_thread_waits_in_a_block_at_exit(python):
    python(
        START
        + """
ready = threading.Event()
def run():
    with x(a=object()):
        ready.set()
        threading.Event().wait()
threading.Thread(target=run, daemon=True).start()
ready.wait()
"""
    )


def test_callbacks_at_exit_use_xlocals(python):
    out = python(
        START
        + """
x(a=1).__enter__()
@atexit.register
def last():
    with x(b=2), every[3](c=3):
        print(x.a, x.b, every[3].c)
    thread = xctx.keys.thread.current()
    print(thread.alive, thread.kind)
"""
    )
    assert out == "1 2 3\nTrue thread\n"


def test_a_thread_that_is_joined_at_exit(python):
    out = python(
        START
        + """
ended = threading.Event()
def run():
    ended.wait()
    with x(a=1):
        print(x.a)
threading.Thread(target=run).start()
atexit.register(print, "last")
threading._register_atexit(ended.set)
"""
    )
    assert out == "1\nlast\n"


def test_module_teardown_reads(python):
    python(
        START
        + """
class Last:
    def __del__(self):
        getattr(x, "a", None)
        with x(b=1):
            pass
        xctx.keys.greenlet.current()
        print("last")
import builtins
builtins.last = Last()
sys.last = Last()
last = Last()
last.me = last
"""
    )


def test_finalisers_at_thread_exit(python):
    out = python(
        START
        + """
local = threading.local()
variable = contextvars.ContextVar("variable")
def run():
    for each in every:
        each(a=Value(each)).__enter__()
    local.value = Value(x)
    variable.set(Value(x))
for _ in range(3):
    thread = threading.Thread(target=run)
    thread.start(); thread.join()
assert not contextvars.copy_context()
"""
    )
    # No order is promised: join() may return before the thread's finalisers have run.
    assert out == "died\n" * 24


@pytest.mark.usefixtures("greenlet")
def test_greenlets_are_suspended_in_blocks_at_exit(python):
    python(
        START
        + """
import greenlet
def run():
    for each in every:
        each(a=Value(each)).__enter__()
    with x(a=Value(x)):
        greenlet.getcurrent().parent.switch()
kept = [greenlet.greenlet(run) for _ in range(3)]
for each in kept:
    each.switch()
sys.kept = kept[0]
"""
    )


@pytest.mark.usefixtures("greenlet")
def test_a_thread_ends_with_greenlets_suspended_in_blocks(python):
    python(
        START
        + """
import greenlet
def suspend():
    with x(a=Value(x)):
        greenlet.getcurrent().parent.switch()
def run():
    kept.append(greenlet.greenlet(suspend))
    kept[-1].switch()
kept = []
for _ in range(5):
    thread = threading.Thread(target=run)
    thread.start(); thread.join()
with x(a=1):
    del kept[:]
    assert x.a == 1
"""
    )


@pytest.mark.usefixtures("gevent")
def test_gevent_greenlets_are_in_blocks_at_exit(python):
    python(
        """
import xctx, gevent
x = xctx.xlocal()
def run():
    with x(a=1):
        gevent.sleep(60)
        print("never")
kept = [gevent.spawn(run) for _ in range(3)]
gevent.sleep(0)
with x(b=1):
    gevent.idle()
    assert vars(x) == {"b": 1}
"""
    )


def test_a_task_is_pending_at_exit(python):
    python(
        START
        + """
import asyncio
async def work():
    with x(a=Value(x)), every[3](a=Value(every[3])):
        await asyncio.sleep(60)
async def main():
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
asyncio.run(main())
"""
    )


def test_a_forked_child_ends_in_its_parents_blocks(python, in_fork):
    out = python(
        START
        + """
import os, signal, warnings
with x(a=1), every[1](a=2):
    child = os.fork()
    if not child:
        signal.alarm(60)
        sys.exit(5)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), x.a)
"""
    )
    assert out == "5 1\n"
