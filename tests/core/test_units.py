"""Units and keys: which unit is running, how long it lives, and that no unit is mistaken for another."""

import contextvars
import copy
import gc
import os
import pickle
import sys
import sysconfig
import threading
import weakref

import pytest

import xctx
from xctx import keys

LADDER = ["process", "thread", "greenlet", "task", "flow", "context"]


@pytest.fixture(params=LADDER)
def ladder_key(request):
    return getattr(keys, request.param)


# --- which unit is current --------------------------------------------------------------------------------------------


def test_a_key_tells_the_units_apart_that_it_should(key, other_unit, told_apart):
    here = key.current()
    assert other_unit(lambda: key.current() is not here) == told_apart


def test_the_unit_is_the_same_each_time(key):
    assert key.current() is key.current()
    assert key() is key.current()


def test_the_unit_is_the_same_after_another_one_ran(key, other_unit):
    here = key.current()
    other_unit(lambda: key.current() and None)
    assert key.current() is here


def test_two_units_are_never_equal(key, other_unit, told_apart):
    here = key.current()
    assert other_unit(lambda: (key.current() == here, key.current() != here)) == (not told_apart, told_apart)


def test_a_unit_is_equal_to_nothing_else():
    unit = keys.thread.current()
    assert unit != 1
    assert unit == unit
    assert {unit: 1}[unit] == 1


def test_coarse_rungs_fall_back_to_the_thread():
    assert keys.task.current() is keys.greenlet.current() is keys.thread.current()


@pytest.mark.parametrize("name", LADDER)
def test_the_kind_of_a_unit(name, in_asyncio):
    kinds = {"greenlet": "thread", "task": "thread", "flow": "context"}
    assert getattr(keys, name).current().kind == kinds.get(name, name)
    assert in_asyncio(lambda: keys.task.current().kind) == "task"


def test_the_kind_of_a_greenlets_unit(in_greenlet):
    assert in_greenlet(lambda: (keys.greenlet.current().kind, keys.task.current().kind)) == ("greenlet", "greenlet")


def test_the_unit_of_a_flow_is_that_of_its_context(in_context):
    assert keys.flow.current() is keys.flow() is keys.context.current()
    assert keys.flow.of(contextvars.copy_context()) is None
    assert in_context(lambda: keys.flow.current()() == contextvars.copy_context())


def test_a_unit_gives_the_object_it_stands_for(greenlet, in_greenlet):
    assert in_greenlet(lambda: keys.greenlet.current()() is greenlet.getcurrent())


def test_a_units_repr_says_what_it_is(in_thread):
    unit = in_thread(keys.thread.current)
    assert "thread" in repr(keys.thread.current())
    assert "ended" in repr(unit)


def test_units_are_not_made_by_hand(thing):
    with pytest.raises(TypeError, match="made by keys"):
        keys.Unit(thing())


def test_a_unit_is_not_pickled():
    with pytest.raises(TypeError, match="cannot pickle 'Unit'"):
        pickle.dumps(keys.thread.current())


def test_holding_what_a_threads_unit_refers_to_does_not_keep_it_alive(in_thread):
    unit, _held = in_thread(lambda: (keys.thread.current(), keys.thread.current()()))
    assert not unit.alive


# --- the end of a unit ------------------------------------------------------------------------------------------------


def test_a_unit_ends_when_its_thread_exits(no_collector, in_thread):
    unit = in_thread(lambda: (keys.thread.current().alive, keys.thread.current()))
    assert unit[0]
    assert not unit[1].alive


def test_idents_of_threads_are_used_again_and_units_are_not(in_thread):
    units = [in_thread(lambda: (threading.get_ident(), keys.thread.current())) for _ in range(50)]
    assert len({unit for _, unit in units}) == 50
    assert len({ident for ident, _ in units}) < 50
    assert not any(unit.alive for _, unit in units)


def test_nothing_keeps_the_unit_of_a_thread(no_collector, in_thread):
    assert in_thread(lambda: weakref.ref(keys.thread.current()))() is None


def test_nothing_keeps_the_unit_of_a_task(no_collector, in_asyncio):
    assert in_asyncio(lambda: weakref.ref(keys.task.current()))() is None


def test_nothing_keeps_the_unit_of_a_greenlet(no_collector, in_greenlet):
    assert in_greenlet(lambda: weakref.ref(keys.greenlet.current()))() is None


def test_nothing_keeps_the_unit_of_a_context(no_collector):
    context = contextvars.Context()
    unit = weakref.ref(context.run(keys.context.current))
    assert unit().alive
    del context
    assert unit() is None


def test_addresses_of_greenlets_are_used_again_and_units_are_not(greenlet):
    units, addresses = set(), set()
    for _ in range(200):
        made = greenlet.greenlet(keys.greenlet.current)
        units.add(made.switch())
        addresses.add(id(made))
        del made
    assert len(units) == 200
    if os.environ.get("PYTHONMALLOC") != "malloc":  # of the sanitizer, which does not use an address again for long
        assert len(addresses) < 200
    assert not any(unit.alive for unit in units)


def test_addresses_of_contexts_are_used_again_and_units_are_not():
    units = {contextvars.Context().run(keys.context.current) for _ in range(200)}
    assert len(units) == 200
    assert not any(unit.alive for unit in units)


def test_the_unit_of_a_finished_gevent_greenlet_ends_while_it_is_referenced(gevent):
    finished = gevent.spawn(keys.greenlet.current)
    unit = finished.get()
    gevent.idle()
    assert not unit.alive
    assert keys.greenlet.of(finished) is None


def test_the_unit_of_a_killed_gevent_greenlet_ends(gevent):
    units = []

    def run():
        units.append(keys.greenlet.current())
        gevent.sleep(60)

    killed = gevent.spawn(run)
    gevent.idle()
    assert units[0].alive
    killed.kill()
    gevent.idle()
    assert not units[0].alive


def test_finished_plain_greenlets_are_swept(greenlet):
    kept, units = [], []
    for _ in range(500):
        kept.append(greenlet.greenlet(keys.greenlet.current))
        units.append(kept[-1].switch())
    assert sum(unit.alive for unit in units) < 300


def test_a_suspended_greenlet_is_not_swept(greenlet):
    suspended = greenlet.greenlet(lambda: greenlet.getcurrent().parent.switch(keys.greenlet.current()))
    unit = suspended.switch()
    for _ in range(500):
        greenlet.greenlet(keys.greenlet.current).switch()
    assert unit.alive
    assert keys.greenlet.of(suspended) is unit
    suspended.switch()


def test_the_unit_of_a_task_ends_while_the_task_is_referenced():
    import asyncio

    async def current():
        return keys.task.current()

    async def main():
        task = asyncio.create_task(current())
        unit = await task
        await asyncio.sleep(0)
        return task, unit.alive, keys.task.of(task)

    _task, alive, found = asyncio.run(main())
    assert not alive
    assert found is None


def test_the_unit_of_the_main_task_ends_with_the_loop():
    import asyncio

    async def main():
        return keys.task.current(), asyncio.current_task()

    unit, _task = asyncio.run(main())
    assert not unit.alive


def test_a_cancelled_task_ends_its_unit():
    import asyncio

    async def wait(units):
        units.append(keys.task.current())
        await asyncio.sleep(60)

    async def main():
        units = []
        task = asyncio.create_task(wait(units))
        await asyncio.sleep(0)
        before = units[0].alive
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        return before, units[0].alive

    assert asyncio.run(main()) == (True, False)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_an_eager_task_is_a_unit_of_its_own():
    import asyncio

    async def current():
        return keys.task.current()

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        here = keys.task.current()
        eager = asyncio.create_task(current())
        assert keys.task.current() is here
        return here is not await eager

    assert asyncio.run(main())


def test_the_unit_of_a_trio_task_ends_with_it(no_collector, in_trio):
    unit = in_trio(keys.task.current)
    gc.collect()  # trio's nurseries are cycles
    assert not unit.alive


def test_asyncio_callbacks_outside_a_task_belong_to_the_thread():
    import asyncio

    async def main():
        told = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: told.set_result(keys.task.current()))
        return await told

    assert asyncio.run(main()) is keys.thread.current()


def test_a_threads_task_key_does_not_see_the_loop_of_another(in_thread, in_asyncio):
    assert in_asyncio(lambda: in_thread(lambda: keys.task.current().kind)) == "thread"


# --- forks ------------------------------------------------------------------------------------------------------------


def test_no_unit_survives_a_fork(ladder_key, in_fork):
    unit = ladder_key.current()
    assert in_fork(lambda: (unit.alive, ladder_key.current() is unit, ladder_key.current().alive)) == (
        False,
        False,
        True,
    )
    assert unit.alive
    assert ladder_key.current() is unit


def test_a_callables_unit_does_not_survive_a_fork(in_fork):
    key = keys.Key(lambda: "value")
    unit = key.current()
    assert in_fork(lambda: (unit.alive, key.current() is unit)) == (False, False)
    assert key.current() is unit


def test_a_fork_in_a_fork_is_yet_another(in_fork):
    def child():
        unit = keys.process.current()
        return in_fork(lambda: (unit.alive, keys.process.current() is unit))

    assert in_fork(child) == (False, False)


def test_the_thread_that_forks_becomes_the_main_one(in_fork, in_thread):
    def child():
        unit = keys.thread.current()
        return unit.alive, keys.thread.current() is unit, keys.thread.of(threading.current_thread()) is unit

    assert in_thread(lambda: (keys.thread.current(), in_fork(child))[1]) == (True, True, True)


def test_a_greenlet_that_forks_has_a_unit_in_the_child(in_fork, in_greenlet):
    def fork():
        unit = keys.greenlet.current()
        return in_fork(lambda: (keys.greenlet.current() is unit, keys.greenlet.current().kind)), unit.alive

    assert in_greenlet(fork) == ((False, "greenlet"), True)


def test_units_of_the_parents_other_threads_are_gone_in_a_forked_child(in_fork, in_thread):
    end = threading.Event()
    units = []
    told = threading.Event()
    thread = threading.Thread(target=lambda: (units.append(keys.thread.current()), told.set(), end.wait()))
    thread.start()
    told.wait()
    try:
        assert in_fork(lambda: (units[0].alive, keys.thread.of(thread.ident))) == (False, None)
        assert units[0].alive
    finally:
        end.set()
        thread.join()


def test_pids_may_be_used_again_and_processes_are_not(in_fork):
    # Each child has a unit of its own for the same key, told from its parent's by identity and not by number.
    assert [in_fork(lambda u=keys.process.current(): keys.process.current() is u) for _ in range(3)] == [False] * 3


# --- Key.of -----------------------------------------------------------------------------------------------------------


def test_of_finds_the_unit_of_a_thread_and_of_its_ident():
    unit = keys.thread.current()
    assert keys.thread.of(threading.current_thread()) is unit
    assert keys.thread.of(threading.get_ident()) is unit


def test_of_knows_no_unit_for_a_thread_that_has_ended():
    ended = threading.Thread(target=keys.thread.current)
    ended.start()
    ended.join()
    assert keys.thread.of(ended) is None


def test_of_does_not_take_a_thread_for_an_ended_one_with_the_same_ident():
    ended = threading.Thread(target=keys.thread.current)
    ended.start()
    ended.join()
    for _ in range(50):
        found = []
        later = threading.Thread(
            target=lambda found=found: found.append((keys.thread.current(), keys.thread.of(ended)))
        )
        later.start()
        later.join()
        if later.ident == ended.ident:
            break
    assert found[0][1] is None


def test_of_knows_no_unit_for_a_thread_not_started():
    assert keys.thread.of(threading.Thread()) is None


def test_of_refuses_what_is_no_thread():
    with pytest.raises(TypeError, match="a thread or its ident was wanted, not 'x'"):
        keys.thread.of("x")


def test_of_finds_the_unit_of_a_greenlet_and_makes_none(greenlet):
    made = greenlet.greenlet(lambda: greenlet.getcurrent().parent.switch(keys.greenlet.current()))
    assert keys.greenlet.of(made) is None
    unit = made.switch()
    assert keys.greenlet.of(made) is unit
    made.switch()


def test_of_finds_the_unit_of_the_main_greenlet(greenlet):
    assert keys.greenlet.of(greenlet.getcurrent()) is keys.greenlet.current() is keys.thread.current()


def test_of_finds_the_unit_of_a_task():
    import asyncio

    async def main():
        return keys.task.of(asyncio.current_task()), keys.task.current(), keys.task.of(asyncio.current_task())

    before, unit, after = asyncio.run(main())
    assert before is None
    assert after is unit


def test_of_finds_the_unit_of_a_context():
    context = contextvars.Context()
    assert keys.context.of(context) is None
    unit = context.run(keys.context.current)
    assert keys.context.of(context) is unit


def test_of_finds_the_unit_of_a_value():
    key = keys.Key(lambda: "here")
    assert key.of("here") is None
    assert key.of("there") is None
    unit = key.current()
    assert key.of("here") is unit
    assert key.of("there") is None


# --- keys of callables ------------------------------------------------------------------------------------------------


def test_equal_values_are_one_unit():
    values = iter([(1, "a"), (1.0, "a"), (2, "a")])
    key = keys.Key(lambda: next(values))
    first, second, third = key.current(), key.current(), key.current()
    assert first is second
    assert third is not first
    assert first.kind == "value"


def test_the_unit_of_a_value_known_by_identity_ends_with_it(no_collector, thing):
    values = [thing()]
    key = keys.Key(lambda: values[0])
    unit = key.current()
    assert unit() is values[0]
    values[0] = thing()
    assert not unit.alive
    assert key.current() is not unit


def test_values_at_the_same_address_are_not_confused(thing):
    value = []
    key = keys.Key(lambda: value[0])
    units = []
    for _ in range(100):
        value[:] = [thing()]
        units.append(key.current())
    assert len(set(units)) == 100
    assert sum(unit.alive for unit in units) == 1


def test_forget_ends_the_unit_of_a_value():
    key = keys.Key(lambda: "value")
    unit = key.current()
    key.forget("other")
    assert unit.alive
    key.forget("value")
    assert not unit.alive
    assert key.current() is not unit


def test_forget_ends_the_unit_of_a_value_known_by_identity(thing):
    value = thing()
    key = keys.Key(lambda: value)
    unit = key.current()
    key.forget(value)
    assert not unit.alive
    again = key.current()
    assert again is not unit
    del unit
    assert again.alive


def test_the_ladders_units_are_not_forgotten(ladder_key):
    with pytest.raises(TypeError, match="only values of a callable's key can be forgotten"):
        ladder_key.forget(1)


def test_a_dropped_key_leaves_its_units_ended_or_dead(thing):
    value = thing()
    key = keys.Key(lambda: value)
    unit = weakref.ref(key.current())
    key = weakref.ref(key)
    gc.collect()
    assert key() is None
    assert unit() is None


def test_a_callable_that_raises_is_heard():
    key = keys.Key(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        key.current()
    x = xctx.xlocal(key=key)
    context = contextvars.Context()
    with pytest.raises(ZeroDivisionError):
        context.run(x(a=1).__enter__)
    assert not context


def test_a_callables_value_must_be_hashable():
    with pytest.raises(TypeError, match=r"the key 'f' gave \[\]: a key's callable returns a hashable"):
        keys.Key(list, "f").current()


def test_an_error_of_hash_or_eq_is_not_lost():
    class Bad:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise OSError("eq")

    key = keys.Key(Bad)
    key.current()
    with pytest.raises(OSError, match="eq"):
        key.current()


def test_what_a_key_is_made_of():
    with pytest.raises(TypeError, match="a key is made from a callable that returns a hashable, not 1"):
        keys.Key(1)
    with pytest.raises(TypeError, match="a key's name is a str, not 1"):
        keys.Key(list, 1)
    assert keys.Key(threading.get_ident).name == "get_ident"
    assert keys.Key(threading.get_ident).func is threading.get_ident
    assert repr(keys.Key(threading.get_ident, "who")) == "<xctx.keys.Key 'who'>"


def test_a_key_of_the_ladder_says_its_name(ladder_key):
    assert repr(ladder_key) == f"xctx.keys.{ladder_key.name}"
    assert ladder_key.func is None


def test_keys_of_the_ladder_are_pickled_and_copied_by_name(ladder_key):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(ladder_key, protocol)) is ladder_key
    assert copy.copy(ladder_key) is ladder_key
    assert copy.deepcopy(ladder_key) is ladder_key


def test_other_keys_are_not_pickled():
    with pytest.raises(TypeError, match="only the keys of the ladder"):
        pickle.dumps(keys.Key(list, "mine"))


def test_a_key_is_pickled_to_a_spawned_process(in_spawned):
    import functools

    assert in_spawned(functools.partial(getattr, keys.thread, "name")) == "thread"


# --- the end of a thread, as finalisers see it ------------------------------------------------------------------------


class AtExit:
    """Calls a function when it dies."""

    def __init__(self, func):
        self.func = func

    def __del__(self):
        self.func()


def test_a_finaliser_in_a_threads_dict_still_has_the_threads_unit(in_thread):
    local = threading.local()
    seen = []

    def run():
        local.first = AtExit(lambda: seen.append(keys.thread.current()))
        unit = keys.thread.current()
        local.second = AtExit(lambda: seen.append(keys.greenlet.current()))
        return unit

    unit = in_thread(run)
    assert len(seen) == 2
    assert not unit.alive


def test_a_finaliser_in_a_threads_context_finds_a_unit(in_thread):
    variable = contextvars.ContextVar("variable")
    seen = []

    def run():
        keys.thread.current()
        variable.set(AtExit(lambda: seen.append(keys.greenlet.current().kind)))

    in_thread(run)
    assert seen == ["thread"]


def test_a_unit_made_past_the_end_of_a_thread_is_not_the_next_threads(in_thread):
    variable = contextvars.ContextVar("variable")
    late, idents = [], []

    def run():
        idents.append(threading.get_ident())
        variable.set(AtExit(lambda: late.append(keys.thread.current())))

    in_thread(run)
    if late[0] is keys.thread.current():
        pytest.skip("the context is the Thread object's here, and died with it in this thread")
    for _ in range(50):
        ident, unit = in_thread(lambda: (threading.get_ident(), keys.thread.current()))
        assert unit is not late[0]
        if ident == idents[0]:
            assert not late[0].alive
            break


# --- greenlet comes and goes ------------------------------------------------------------------------------------------

BLOCK = """
import sys
for name in ("greenlet", "gevent"):
    sys.modules[name] = None
"""

USE = """
import threading, xctx
x, y = xctx.xlocal(), xctx.xlocal(key=xctx.keys.task)
with x(a=1), y(a=2):
    assert (x.a, y.a) == (1, 2)
    seen = []
    thread = threading.Thread(target=lambda: seen.extend([hasattr(x, "a"), hasattr(y, "a")]))
    thread.start(); thread.join()
    assert seen == [False, False]
assert xctx.keys.greenlet.current() is xctx.keys.thread.current()
"""

GREENLETS = """
import greenlet
unit = xctx.keys.greenlet.current()
with x(a=1), y(a=2):
    def other():
        assert not hasattr(x, "a") and not hasattr(y, "a")
        assert xctx.keys.greenlet.current() is not unit
        with x(a=3):
            greenlet.getcurrent().parent.switch()
            assert x.a == 3
        assert not hasattr(x, "a")
    made = greenlet.greenlet(other)
    made.switch()
    assert x.a == 1
    made.switch()
    assert (x.a, y.a) == (1, 2)
assert xctx.keys.greenlet.current() is unit
"""


def test_without_greenlet_the_unit_is_the_thread(python):
    assert python(BLOCK + USE + "print(type(sys.modules['greenlet']).__name__)") == "NoneType\n"


def test_importing_xctx_imports_no_greenlet(python):
    assert python(f"{USE}\nimport sys\nprint('greenlet' in sys.modules, 'gevent' in sys.modules)") == "False False\n"


@pytest.mark.usefixtures("greenlet")
def test_greenlet_imported_before(python):
    python("import greenlet\n" + USE + GREENLETS)


@pytest.mark.usefixtures("greenlet")
def test_greenlet_imported_after_stores_are_in_use(python):
    python(USE + GREENLETS)


@pytest.mark.usefixtures("greenlet")
def test_greenlet_imported_inside_a_block(python):
    python(
        USE
        + """
with x(a=1), y(a=2):
    unit = xctx.keys.greenlet.current()
    import greenlet
    assert (x.a, y.a) == (1, 2)
    assert xctx.keys.greenlet.current() is unit
    assert greenlet.greenlet(lambda: hasattr(x, "a")).switch() is False
    assert (x.a, y.a) == (1, 2)
"""
        + GREENLETS
    )


@pytest.mark.usefixtures("greenlet")
def test_greenlet_imported_by_another_thread(python):
    python(
        USE
        + """
import threading
thread = threading.Thread(target=__import__, args=("greenlet",))
with x(a=1):
    thread.start(); thread.join()
    assert x.a == 1
"""
        + GREENLETS
    )


def test_a_module_that_is_not_greenlet_is_no_harm(python):
    python("import sys, types\nsys.modules['greenlet'] = types.ModuleType('greenlet')\n" + USE)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this build has a GIL")
def test_using_xctx_leaves_the_gil_off(python):
    out = python(USE + "import sys\nprint(sys._is_gil_enabled(), 'greenlet' in sys.modules)", PYTHON_GIL="")
    assert out == "False False\n"


def test_every_room_imports_alone(python):
    for name in ("keys", "_core", "_stores.xlocal", "_stores.local", "debug"):
        python(f"import xctx.{name}")


def test_pid_is_not_what_tells_processes_apart(in_fork, monkeypatch):
    unit = keys.process.current()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert keys.process.current() is unit
    assert in_fork(lambda: keys.process.current() is unit) is False


@pytest.mark.parametrize("made", [keys.greenlet, keys.Key(int)], ids=["ladder_key", "callable"])
def test_a_key_never_changes(made):
    before = repr(made)
    with pytest.raises(TypeError, match="never changes"):
        made.__init__(str)
    assert repr(made) == before
