"""Snapshots that cross to another process: by name, with clear errors for what cannot go or is not found there."""

import concurrent.futures
import contextvars
import io
import multiprocessing
import pickle
import socket
import subprocess
import sys
import threading
import types
from multiprocessing.reduction import ForkingPickler

import pytest
from carry_module import ALL, VAR, look

import xctx
import xctx.concurrent

x = ALL["greenlet"]


class Holder:
    class Inner:
        current = xctx.xlocal()


class Declared(xctx.xlocal):
    user: str


declared = Declared()


@pytest.fixture(params=range(2, pickle.HIGHEST_PROTOCOL + 1))
def again(request):
    """Pickles and unpickles with each protocol."""
    return lambda thing: pickle.loads(pickle.dumps(thing, protocol=request.param))


@pytest.fixture
def module(monkeypatch):
    """A module made for the test."""
    made = types.ModuleType("made_for_the_test")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_names_and_values_come_back(again, key_name):
    with ALL[key_name](a=1, b=[2]), ALL[key_name](b=(3,)), declared(user="ada"):
        snapshot = again(xctx.capture())
    seen = snapshot.run(lambda: (look(key_name), vars(declared)))
    assert seen == ({"a": 1, "b": (3,)}, {"user": "ada"})
    assert look(key_name) == {}


def test_a_whole_one_stays_whole_and_a_part_a_part(again):
    with x(a=1):
        whole, part = again(xctx.capture()), again(xctx.capture(x))
    with declared(user="ada"):
        assert whole.run(vars, declared) == {}
        assert part.run(vars, declared) == {"user": "ada"}


def test_context_variables_come_along(again):
    token = VAR.set([1])
    snapshot = again(xctx.capture(contextvars=[VAR]))
    VAR.reset(token)
    assert snapshot.run(VAR.get) == [1]
    assert VAR.get(None) is None


def test_what_values_have_in_common_stays_in_common(again):
    shared = []
    with x(a=shared, b=shared):
        snapshot, outside = again((xctx.capture(), shared))
    with snapshot:
        assert x.a is x.b is outside


def test_a_snapshot_passes_through_a_process_that_does_not_apply_it(again):
    with x(a=1):
        snapshot = again(again(xctx.capture()))
    assert repr(snapshot) == "<snapshot of on_greenlet: a>"
    assert snapshot.run(vars, x) == {"a": 1}
    assert again(snapshot).run(vars, x) == {"a": 1}


def test_carried_functions_pickle(again):
    with x(a=1):
        carried = again(xctx.carry(look))
    assert carried("greenlet") == {"a": 1}
    assert carried.__wrapped__ is look


@xctx.carry
def decorated():
    return 5


def test_a_function_decorated_by_carry_is_found_by_its_name(again):
    assert again(decorated) is decorated
    assert decorated() == 5


def test_an_xlocal_is_found_in_a_class(again):
    with Holder.Inner.current(a=1):
        snapshot = again(xctx.capture())
    assert snapshot.run(vars, Holder.Inner.current) == {"a": 1}


def test_an_xlocal_pickles_by_its_name(again):
    assert again(x) is x
    assert again(Holder.Inner.current) is Holder.Inner.current
    assert again([declared])[0] is declared


def test_an_xlocal_made_by_another_module_is_found_where_it_stands(again, module):
    module.current = made = xctx.xlocal()
    with made(a=1):
        snapshot = again(xctx.capture(made))
        assert pickle.dumps(snapshot).count(b"made_for_the_test") == 1
    assert snapshot.run(vars, made) == {"a": 1}


def test_an_xlocal_that_no_module_has(again):
    nameless = xctx.xlocal()
    with nameless(a=1), x(b=2):
        snapshot = xctx.capture()
        with pytest.raises(TypeError, match=r"this snapshot cannot be pickled: no module has <xlocal .*> by a name"):
            pickle.dumps(snapshot)
        skipping = again(xctx.capture(missing="skip"))
    assert skipping.run(lambda: (vars(nameless), vars(x))) == ({}, {"b": 2})


def test_a_context_variable_that_no_module_has(again):
    nameless = contextvars.ContextVar("nameless")
    token = nameless.set(1)
    with pytest.raises(TypeError, match=r"no module has <ContextVar name='nameless'.*> by a name"):
        again(xctx.capture(contextvars=[nameless]))
    assert again(xctx.capture(contextvars=[nameless], missing="skip")).run(vars, x) == {}
    nameless.reset(token)


def test_all_values_that_cannot_be_pickled_are_named_at_once(again):
    token = VAR.set(lambda: 1)
    with x(lock=threading.Lock(), fine=1), declared(user=lambda: 1):
        with pytest.raises(TypeError) as error:
            again(xctx.capture(contextvars=[VAR]))
        skipping = again(xctx.capture(contextvars=[VAR], missing="skip"))
    VAR.reset(token)
    told = str(error.value)
    assert told.startswith("this snapshot cannot be pickled: ")
    for part in (
        "'lock' of carry_module.on_greenlet (lock: cannot pickle '_thread.lock' object)",
        f"'user' of {__name__}.declared (function: ",
        "'VAR' in carry_module (function: ",
    ):
        assert part in told
    assert skipping.run(lambda: (vars(x), vars(declared), VAR.get(None))) == ({"fine": 1}, {}, None)


def test_a_value_whose_pickling_goes_wrong_is_named():
    class Broken:
        def __reduce__(self):
            raise RuntimeError("not today")

    with x(broken=Broken()):
        with pytest.raises(TypeError, match=r"'broken' of carry_module.on_greenlet \(Broken: not today\)"):
            pickle.dumps(xctx.capture())


class Special:
    """A value that one pickler knows what to do with."""

    def __reduce__(self):
        raise TypeError("cannot pickle this")


ForkingPickler.register(Special, lambda value: (Special, ()))


def test_the_pickler_at_work_says_what_can_go():
    with x(special=Special()):
        snapshot = xctx.capture()
        for attempt in (pickle.dumps, pickle.Pickler(io.BytesIO()).dump, pickle._Pickler(io.BytesIO()).dump):
            with pytest.raises(TypeError, match=r"'special' of carry_module.on_greenlet"):
                attempt(snapshot)
        crossed = pickle.loads(ForkingPickler.dumps(snapshot))
    assert isinstance(crossed.run(lambda: x.special), Special)


def talk():
    x.pipe.send(x.a)
    x.pipe.close()


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are inherited otherwise there")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_only_a_child_being_started_can_take(method):
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    lock = context.Lock()
    one, other = socket.socketpair()
    with here, there, one, other:
        with x(pipe=there, a=[1], lock=lock, socket=one):
            process = context.Process(target=xctx.carry(talk))
        process.start()
        assert here.recv() == [1]
        process.join()
        assert process.exitcode == 0
        with x(a=lambda: 1, pipe=there):
            process = context.Process(target=xctx.carry(talk))
        with pytest.raises(TypeError, match=r"'a' of carry_module.on_greenlet \(function: "):
            process.start()


def test_cloudpickle():
    cloudpickle = pytest.importorskip("cloudpickle")
    with x(a=lambda: 5):
        snapshot = xctx.capture()
        carried = xctx.carry(lambda: (x.a(), len(vars(x))))
        with pytest.raises(TypeError, match=r"'a' of carry_module.on_greenlet"):
            pickle.dumps(snapshot)
        crossed = pickle.loads(cloudpickle.dumps(snapshot)), pickle.loads(cloudpickle.dumps(carried))
        with x(b=threading.Lock()):
            with pytest.raises(TypeError, match=r"cannot be pickled: 'b' of carry_module.on_greenlet \(lock: [^;]*\)$"):
                cloudpickle.dumps(xctx.capture())
            skipping = pickle.loads(cloudpickle.dumps(xctx.capture(missing="skip")))
    assert crossed[0].run(lambda: x.a()) == 5
    assert crossed[1]() == (5, 1)
    assert list(skipping.run(vars, x)) == ["a"]


# What is found there


def test_a_process_that_lacks_the_xlocal_says_so_when_the_snapshot_is_applied(again, module):
    module.current = made = xctx.xlocal()
    with made(a=1):
        snapshot = again(xctx.capture(made))
        carried = again(xctx.carry(int))
    del module.current
    for use in (snapshot.__enter__, lambda: snapshot.run(int), carried):
        with pytest.raises(LookupError, match="this process has no 'current' in module 'made_for_the_test'"):
            use()
    module.current = 5
    with pytest.raises(LookupError, match=r"made_for_the_test.current is no xlocal in this process, but 5"):
        snapshot.run(int)
    module.current = made
    assert snapshot.run(vars, made) == {"a": 1}


def test_a_process_that_lacks_the_module(again, module):
    module.current = made = xctx.xlocal()
    with made(a=1):
        snapshot = again(xctx.capture(made))
    del sys.modules[module.__name__]
    with pytest.raises(LookupError, match=r"no 'current' in module 'made_for_the_test': No module named"):
        snapshot.run(int)


def test_a_process_whose_xlocal_declares_other_names(again, module):
    module.current = xctx.xlocal()
    with module.current(usr="ada"):
        snapshot = again(xctx.capture(module.current))
    module.current = Declared()
    with pytest.raises(TypeError, match=r"'Declared' declares no name 'usr': did you mean 'user'"):
        snapshot.run(int)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_pools_survive_what_cannot_cross(method, module):
    module.current = xctx.xlocal()
    context = multiprocessing.get_context(method)
    with xctx.concurrent.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(look, "greenlet").result() == {}
        with x(lock=threading.Lock()):
            with pytest.raises(TypeError, match=r"'lock' of carry_module.on_greenlet"):
                pool.submit(look, "greenlet").result()
        sys.modules["late"] = late = types.ModuleType("late")
        late.current = xctx.xlocal()
        try:
            with late.current(a=1):
                future = pool.submit(look, "greenlet")
                with pytest.raises(LookupError, match="this process has no 'current' in module 'late'"):
                    future.result()
        finally:
            del sys.modules["late"]
        assert pool.submit(look, "greenlet").result() == {}
    with xctx.concurrent.ProcessPoolExecutor(1, mp_context=context, missing="skip") as pool:
        with x(lock=threading.Lock(), a=1):
            assert pool.submit(look, "greenlet").result() == {"a": 1}


def test_a_script_of_its_own(tmp_path):
    """What stands in __main__ is found there by processes that are spawned, which load the script again."""
    script = tmp_path / "script.py"
    script.write_text("""
import concurrent.futures, multiprocessing, xctx
current = xctx.xlocal()
def greet():
    return f"hello {current.user}"
if __name__ == "__main__":
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            with current(user=method):
                future = pool.submit(xctx.carry(greet))
            print(future.result())
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout == "".join(f"hello {method}\n" for method in multiprocessing.get_all_start_methods())


def test_executors_of_others_take_a_snapshot_to_processes():
    with concurrent.futures.ProcessPoolExecutor(1) as inner:
        outer = xctx.concurrent.CarryingExecutor(inner, contextvars=[VAR])
        with x(a=1):
            assert outer.submit(look, "greenlet").result() == {"a": 1}
            assert list(outer.map(look, ["greenlet", "task"], chunksize=2)) == [{"a": 1}, {}]
