"""What goes to other interpreters of this process: InterpreterPoolExecutor, and snapshots through their queues.

The programs run in processes of their own, whose interpreters all find carry_module.
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import xctx
import xctx.concurrent

HAS_INTERPRETERS = importlib.util.find_spec("concurrent.interpreters") is not None and sys.platform == "linux"
interpreters = pytest.mark.skipif(not HAS_INTERPRETERS, reason="came with 3.14, and xctx can use it on Linux")

START = """
import threading
from concurrent import interpreters
import xctx, xctx.concurrent
from carry_module import *

def refused(get):
    # What kept it from crossing, at the end of the causes.
    try:
        get()
    except interpreters.NotShareableError as error:
        while error.__cause__ is not None: error = error.__cause__
        return error
Pool = xctx.concurrent.InterpreterPoolExecutor
"""


@pytest.fixture
def run(python):
    def run(source, start=START):
        return python(start + source, path=[Path(__file__).parent], dev=False).splitlines()

    return run


# --- InterpreterPoolExecutor ------------------------------------------------------------------------------------------


@pytest.mark.skipif(HAS_INTERPRETERS, reason="this version has it")
def test_it_comes_with_3_14():
    with pytest.raises(AttributeError, match=r"InterpreterPoolExecutor from Python 3.14 on, and this is 3.1\d[.]"):
        xctx.concurrent.InterpreterPoolExecutor
    assert not hasattr(xctx.concurrent, "InterpreterPoolExecutor")
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        xctx.concurrent.Other
    assert "InterpreterPoolExecutor" not in xctx.concurrent.__all__


@interpreters
def test_an_executor_of_interpreters_that_carries(run, key_name):
    source = f"""
x = ALL[{key_name!r}]
with Pool(1, contextvars=[VAR]) as pool:
    token = VAR.set(7)
    with x(a=1):
        futures = [pool.submit(look, {key_name!r}), pool.submit(look_at_var)]
        mapped = pool.map(look, [{key_name!r}] * 2)
    VAR.reset(token)
    print([future.result() for future in futures], list(mapped))
    print(pool.submit(look, {key_name!r}).result(), pool.submit(look_at_var).result())
"""
    assert run(source) == ["[{'a': 1}, 7] [{'a': 1}, {'a': 1}]", "{} None"]


@interpreters
def test_each_worker_is_another_interpreter_and_none_leaves_anything(run):
    source = """
def where(barrier):
    import _interpreters, carry_module
    return _interpreters.get_current()[0], vars(carry_module.other)
with Pool(3) as pool:
    for number in range(30):
        with other(b=number):
            futures = [pool.submit(where, None) for _ in range(3)]
        for each in futures:
            place, seen = each.result()
            assert place != interpreters.get_current().id and seen == {"b": number}, (place, seen)
    assert pool.submit(where, None).result()[1] == {}
print("all")
"""
    assert run(source) == ["all"]


@interpreters
def test_what_is_chosen_goes_along(run):
    source = """
x = ALL["flow"]
with x(a=1), other(b=2):
    for chosen in [None, [x], (other,), [x, other], ()]:
        with Pool(1, xlocals=chosen) as pool:
            print(*pool.submit(look_at_both, "flow").result())
    with Pool(1, bindings="empty") as pool:
        print(*pool.submit(look_at_both, "flow").result())
"""
    assert run(source) == [
        "{'a': 1} {'b': 2}",
        "{'a': 1} {}",
        "{} {'b': 2}",
        "{'a': 1} {'b': 2}",
        "{} {}",
        "{} {}",
    ]


@interpreters
def test_wrong_arguments_are_refused_as_by_the_others():
    Pool = xctx.concurrent.InterpreterPoolExecutor
    with pytest.raises(ValueError, match="'copy' or 'empty' here, not 'share': interpreters have no context in common"):
        Pool(bindings="share")
    with pytest.raises(ValueError, match="'error' or 'skip', not 'some'"):
        Pool(missing="some")
    with pytest.raises(ValueError, match="work is 'same' or 'new', not 'old'"):
        Pool(work="old")
    with pytest.raises(TypeError, match=r"xlocals is an iterable of xlocals, or None for all"):
        Pool(xlocals=xctx.xlocal())
    assert "InterpreterPoolExecutor" in xctx.concurrent.__all__


@interpreters
@pytest.mark.parametrize("bindings", ["copy", "empty"])
def test_callbacks_and_initializers_see_what_is_bound_where_they_are_given(run, bindings):
    source = f"""
seen = []
with other(b=1):
    pool = Pool(1, "", initialise, (7,), bindings={bindings!r})
with pool:
    future = pool.submit(what_was_initialised)
    with other(b=2):
        future.add_done_callback(lambda future: seen.append(vars(other)))
        print(future.result())
        done = pool.submit(int)   # a result is there before the callback has run
        with other(b=3): done.add_done_callback(lambda future: None)
        done.result()
    pool.submit(int).result()
print(seen)
with other(b=4), Pool(initializer=initialise, initargs=(8,), max_workers=1, bindings={bindings!r}) as pool:
    print(pool.submit(what_was_initialised).result())
"""
    if bindings == "copy":
        assert run(source) == ["[({'b': 1}, 7)]", "[{'b': 2}]", "[({'b': 4}, 8)]"]
    else:
        assert run(source) == ["[({}, 7)]", "[{}]", "[({}, 8)]"]


@interpreters
def test_an_initializer_that_raises_breaks_the_pool(run):
    source = """
import logging
logging.disable()
pool = Pool(1, initializer=abs, initargs=("x",))
try:
    pool.submit(int).result()
except Exception as error:
    print(type(error).__name__)
pool.shutdown()
"""
    assert run(source) == ["BrokenInterpreterPool"]


@interpreters
@pytest.mark.parametrize("work", ["same", "new"])
def test_units_of_work_go_along(run, work):
    source = f"""
import work_module
from work_module import kept
with xctx.work():
    kept.a = 1
    with Pool(1, work={work!r}) as pool:
        print(pool.submit(work_module.look).result(), pool.submit(work_module.outside).result())
    print(vars(kept))
"""
    expected = "{'there': True}" if work == "new" else "{'a': 1, 'there': True}"
    assert run(source) == [f"({expected}, None, True) False", "{'a': 1}"]


@interpreters
def test_functions_without_a_name_go_as_with_the_executor_of_the_standard_library(run):
    source = """
with other(b=1), Pool(1) as pool:
    print(pool.submit(lambda: __import__("carry_module").other.b).result())
"""
    assert run(source) == ["1"]


@interpreters
def test_the_program_s_own_module(python, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import contextvars
import xctx, xctx.concurrent
x, kept, VAR = xctx.xlocal(), xctx.local(key=xctx.keys.work), contextvars.ContextVar("VAR")

class Value:
    def __init__(self, number): self.number = number

class Names:
    deep = xctx.xlocal()

def look():
    return x.value.number, Names.deep.a, VAR.get(), vars(kept)

if __name__ == "__main__":
    VAR.set(3)
    with x(value=Value(1)), Names.deep(a=2), xctx.work():
        kept.b = 4
        with xctx.concurrent.InterpreterPoolExecutor(1, contextvars=[VAR]) as pool:
            print(pool.submit(look).result())
            print(pool.submit(xctx.carry(look)).result())
""")
    assert python("", program, dev=False).splitlines() == ["(1, 2, 3, {'b': 4})"] * 2


@interpreters
def test_what_cannot_go_is_named_or_left_out(run):
    source = """
import _thread
with Pool(1) as pool, ALL["flow"](a=_thread.allocate_lock(), b=1), other(c=_thread.allocate_lock()):
    print(repr(refused(pool.submit(look, "flow").result)).replace(repr(other), ""))
with Pool(1, missing="skip") as pool, ALL["flow"](a=_thread.allocate_lock(), b=1), other(c=_thread.allocate_lock()):
    print(*pool.submit(look_at_both, "flow").result())
"""
    told, seen = run(source)
    assert told.startswith('TypeError("this snapshot cannot go to another interpreter: ')
    assert "'a' of carry_module.on_flow (lock: " in told
    assert "'c' of carry_module.other (lock: " in told
    assert seen == "{'b': 1} {}"


@interpreters
def test_an_xlocal_that_the_other_interpreter_lacks(run):
    source = """
import carry_module
carry_module.only_here = xctx.xlocal()
with carry_module.only_here(a=1), Pool(1) as pool:
    future = pool.submit(look, "flow")
    try:
        future.result()
    except LookupError as error:
        print(error)
"""
    (told,) = run(source)
    assert re.match(r"this process has no 'only_here' in module 'carry_module' of interpreter \d+: ", told)


@interpreters
def test_another_executor_that_carries(run):
    source = """
import concurrent.futures
with concurrent.futures.InterpreterPoolExecutor(1) as inner, other(b=memoryview(bytearray(b"b"))):
    print(xctx.concurrent.CarryingExecutor(inner).submit(lambda: __import__("carry_module").other.b[0]).result())
    print(inner.submit(xctx.carry(eval), "__import__('carry_module').other.b[0]").result())
"""
    assert run(source) == ["98", "98"]


# --- snapshots through queues -----------------------------------------------------------------------------------------


@interpreters
def test_a_snapshot_through_a_queue(run, key_name):
    source = f"""
queue, back = interpreters.create_queue(), interpreters.create_queue()
with ALL[{key_name!r}](a=1, b=["x"]):
    queue.put(xctx.capture())
made = interpreters.create()
made.prepare_main(queue=queue, back=back)
made.exec('''
import carry_module
snapshot = queue.get()
assert carry_module.look({key_name!r}) == {{}}
back.put(snapshot.run(carry_module.look, {key_name!r}))
back.put(snapshot)
with snapshot:
    carry_module.ALL[{key_name!r}].b.append("y")
back.put(repr(snapshot))
''')
print(back.get())
print(back.get().run(look, {key_name!r}))
print(back.get())
made.close()
"""
    assert run(source) == ["{'a': 1, 'b': ['x']}"] * 2 + ["<snapshot of xlocal: a, b>"]


@interpreters
def test_what_can_be_shared_is_shared(run):
    source = """
buffer, other_queue = bytearray(b"abc"), interpreters.create_queue()
queue = interpreters.create_queue()
values = dict(in_tuple=(1, memoryview(buffer)), queue=other_queue, number=10 ** 40, plain={1: [2]})
with other(view=memoryview(buffer), **values):
    queue.put(xctx.capture())
del other_queue, values   # what crosses keeps it alive
made = interpreters.create()
made.prepare_main(queue=queue)
made.exec('''
import carry_module
with queue.get():
    other = carry_module.other
    other.view[0], other.in_tuple[1][2] = b"AC"
    other.queue.put((other.number, str(other.plain)))
    queue.put(other.queue)
''')
print(buffer, queue.get().get())
made.close()
"""
    assert run(source) == [f"bytearray(b'AbC') ({10**40}, '{{1: [2]}}')"]


@interpreters
def test_a_snapshot_is_an_argument_and_what_is_bound_in_another_interpreter(run):
    source = """
with other(b=1):
    snapshot = xctx.capture()
made = interpreters.create()
made.prepare_main(snapshot=snapshot)
made.exec("import carry_module; print(snapshot.run(vars, carry_module.other))")
print(made.call(lambda snapshot: snapshot.run(lambda: __import__("carry_module").other.b), snapshot))
print(made.call(xctx.carry(eval), "1 + 1"), interpreters.is_shareable(snapshot))
made.close()
"""
    assert run(source) == ["{'b': 1}", "1", "2 True"]


@interpreters
def test_what_cannot_go_through_a_queue_is_named_or_left_out(run):
    source = """
import _thread
queue, nameless = interpreters.create_queue(), xctx.xlocal()
with other(a=_thread.allocate_lock(), b=1):
    print(refused(lambda: queue.put(xctx.capture())))
    queue.put(xctx.capture(missing="skip"))
print(queue.get().run(vars, other))
with nameless(a=1):
    carried = xctx.capture()
del nameless
print(refused(lambda: queue.put(carried)))
"""
    lock, seen, nameless = run(source)
    assert lock.startswith("this snapshot cannot go to another interpreter: 'a' of carry_module.other (lock: ")
    assert "'b'" not in lock
    assert seen == "{'b': 1}"
    assert nameless.startswith("this snapshot cannot go to another interpreter: no module has <xlocal")


@interpreters
def test_a_snapshot_whose_sender_has_ended(run):
    source = """
made = interpreters.create()
queue, values = interpreters.create_queue(), interpreters.create_queue()
made.prepare_main(queue=queue, values=values)
made.exec('''
import xctx, carry_module
with carry_module.other(b=memoryview(b"b"), c=[1]):
    queue.put(xctx.capture())
    queue.put(xctx.capture())
''')
got = queue.get()
made.close()
print(queue.get() is interpreters.create_queue and 0, got.run(lambda: (other.c)))
"""
    assert run(source) == ["False [1]"]


@interpreters
def test_many_through_queues_from_several_threads(run):
    source = """
import gc
queue, back = interpreters.create_queue(), interpreters.create_queue()
def work(queue, back):
    import carry_module
    for snapshot in iter(queue.get, None):
        back.put(snapshot.run(vars, carry_module.other)["b"])
made = [interpreters.create() for _ in range(3)]
threads = [each.call_in_thread(work, queue, back) for each in made]
for number in range(300):
    with other(b=number, more=list(range(10))): queue.put(xctx.capture())
seen = sorted(back.get() for _ in range(300))
for _ in made: queue.put(None)
for each in threads: each.join()
for each in made: each.close()
print(seen == list(range(300)))
"""
    assert run(source) == ["True"]
