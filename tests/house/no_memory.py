"""Every public operation, each to be tried with each of its allocations failing: test_no_memory.py does that.

An operation is a function without arguments that gives the same each time, whatever it did before. Where it failed
nothing may be left: nothing bound, no lock held, no value lost, no count of references lower or higher than before.
"""

import atexit
import concurrent.futures
import contextvars
import gc
import os
import pickle
import sys
import tempfile
from typing import Annotated

from helpers.packages import offers

import xctx
import xctx.concurrent
import xctx.wire
from xctx._carry.policy import CarryPolicy
from xctx._stores.inspection import all_bindings
from xctx._tree import gathering
from xctx.debug import live_bindings

OPERATIONS = {}
SHARED = [object() for _ in range(4)]  # counted
NAMES = {f"name{number}": SHARED[0] for number in range(20)}


def operation(func):
    OPERATIONS[func.__name__] = func
    return func


def of(*things):
    """The same operation on each of some things: a decorator of a function that takes one."""

    def decorate(func):
        for name, thing in things:
            OPERATIONS[f"{func.__name__}[{name}]"] = lambda thing=thing: func(thing)
        return func

    return decorate


class Declared(xctx.xlocal):
    user: object = None


class Carrying(xctx.xlocal):
    user: Annotated[str, xctx.carried]


class Made(xctx.xlocal):
    user: object = xctx.field(default_factory=lambda: SHARED[0])


class MadeForEachUnit(xctx.local):
    user = xctx.field(default_factory=lambda: SHARED[0])


VALUE_KEY = xctx.keys.Key(lambda: 1)
KEYS = [
    *(
        (name, getattr(xctx.keys, name))
        for name in ("process", "thread", "greenlet", "task", "flow", "work", "context")
    ),
    ("callable", VALUE_KEY),
    ("object", xctx.keys.Key(lambda: list)),
]
XLOCALS = [(name, xctx.xlocal(key=key)) for name, key in KEYS]
LOCALS = [(name, xctx.local(key=key)) for name, key in KEYS]
of_work = dict(LOCALS)["work"]
declared, carrying, made, made_for_each_unit = Declared(), Carrying(), Made(), MadeForEachUnit()


# --- xlocal ----------------------------------------------------------------------------------------------------------


@of(*KEYS)
def xlocal_made(key):
    return type(xctx.xlocal(key=key)).__name__


@operation
def xlocal_derived():
    class Derived(xctx.xlocal):
        a: int = 1

    return Derived().a


@of(*XLOCALS)
def bound(x):
    with x(a=SHARED[0]):
        return x.a is SHARED[0]


@of(*XLOCALS)
def bound_many_times(x):
    def nested(number):
        with x(a=number):
            return nested(number - 1) if number else x.a

    return nested(20)


@of(*XLOCALS)
def bound_many_names(x):
    with x(**NAMES), x(a=1):
        return len(vars(x)), x.name3 is SHARED[0], len(dir(x)) > 20, repr(x)


@of(*XLOCALS)
def missing(x):
    return hasattr(x, "nothing")


@of(*XLOCALS)
def entered_by_hand(x):
    scope = x(a=SHARED[1])
    enter, leave = scope.__enter__, scope.__exit__
    enter()
    try:
        return x.a is SHARED[1]
    finally:
        try:
            leave(None, None, None)
        except MemoryError:  # the interpreter had no room for the arguments, and did not call it
            leave(None, None, None)


@of(*XLOCALS)
def decorated(x):
    @x(a=SHARED[2])
    def function():
        return x.a is SHARED[2]

    return function()


@of(*XLOCALS)
def decorated_generator(x):
    @x(a=SHARED[2])
    def generator():
        yield x.a is SHARED[2]

    return list(generator())


@of(*XLOCALS)
def decorated_coroutine(x):
    @x(a=SHARED[2])
    async def coroutine():
        return x.a is SHARED[2]

    return driven(coroutine())


@operation
def declared_name():
    with declared(user=SHARED[0]):
        return declared.user is SHARED[0]


@operation
def name_that_a_factory_makes():
    with made():
        return made.user is SHARED[0]


@of(*XLOCALS)
def entered_in_a_transparent_generator(x):
    @xctx.transparent
    def generator():
        with x(a=SHARED[0]):
            yield

    for _ in generator():
        found = x.a is SHARED[0]
    return found


# --- carry -----------------------------------------------------------------------------------------------------------


@of(*XLOCALS)
def captured(x):
    with x(a=SHARED[0]), x(b=SHARED[1]):
        snapshot = xctx.capture()
    with snapshot:
        found = x.a is SHARED[0], x.b is SHARED[1]
    return found, snapshot.run(lambda: x.b is SHARED[1])


@of(*XLOCALS)
def applied_again(x):
    with x(a=SHARED[0]):
        snapshot = xctx.capture(x)
    found = []
    with declared(user=SHARED[1]):
        for _ in range(5):
            with snapshot:
                found.append(x.a is SHARED[0] and declared.user is SHARED[1])
    return found


@of(*[each for each in XLOCALS if each[0] != "context"])
def hidden(x):
    with x(a=SHARED[0]), xctx.nothing(), x(b=SHARED[1]):
        found = hasattr(x, "a"), x.b is SHARED[1]
    with x(a=SHARED[0]), xctx.nothing(x):
        return found, hasattr(x, "a")


@of(*[each for each in LOCALS if each[0] in ("flow", "context")])
def captured_with_what_is_kept(store):
    store.a = SHARED[0]
    snapshot = xctx.capture(store)
    del store.a
    with snapshot:
        return store.a is SHARED[0], snapshot.run(lambda: store.a is SHARED[0])


@operation
def captured_with_a_unit_of_work():
    with xctx.work():
        of_work.a = SHARED[0]
        snapshot = xctx.capture(of_work)
        with xctx.work():
            return hasattr(of_work, "a"), snapshot.run(lambda: of_work.a is SHARED[0])


@of(*XLOCALS)
def carried_function(x):
    with x(a=SHARED[0]):
        function = xctx.carry(lambda: x.a is SHARED[0])
    return function()


@of(*XLOCALS)
def isolated_generator(x):
    @xctx.isolated
    def generator():
        with x(a=SHARED[0]):
            yield x.a is SHARED[0]

    return list(generator())


@operation
def variables_set_by_a_snapshot():
    with WITH_VARIABLE:
        return VARIABLE.get() is SHARED[3]


VARIABLE = contextvars.ContextVar("variable")


def with_variable():
    VARIABLE.set(SHARED[3])
    return xctx.capture(contextvars=[VARIABLE])


WITH_VARIABLE = contextvars.copy_context().run(with_variable)


@operation
def pickled():
    with declared(user=1):
        snapshot = xctx.capture(declared)
    with pickle.loads(pickle.dumps(snapshot)):
        return declared.user


@operation
def on_the_wire():
    with carrying(user="ada"):
        headers = xctx.wire.inject({}, carrying)
    with xctx.wire.extract(headers, carrying):
        return carrying.user


@operation
def pickled_without_what_cannot_be():
    with declared(user=print), carrying(user="ada"):
        snapshot = xctx.capture(missing="skip")
    with pickle.loads(pickle.dumps(snapshot)):
        return carrying.user


@operation
def on_the_wire_whatever_there_is():
    with carrying(user="ada"):
        headers = xctx.wire.inject({})
    return xctx.wire.extract(headers).run(lambda: carrying.user)


@operation
def handed_to_an_executor():
    with declared(user=SHARED[0]), carrying(user="ada"):
        return EXECUTOR.submit(lambda: (declared.user is SHARED[0], hasattr(carrying, "user")))


@operation
def handed_over_as_a_unit_of_work():
    with declared(user=SHARED[0]):
        return CarryPolicy("copy", work="new").call(lambda: declared.user is SHARED[0])()


@operation
def handed_over_in_the_same_context():
    with declared(user=SHARED[0]):
        return CarryPolicy("share").call(lambda: declared.user is SHARED[0])()


class AtOnce(concurrent.futures.Executor):
    def submit(self, fn, /, *args, **kwargs):
        return fn(*args, **kwargs)


EXECUTOR = xctx.concurrent.CarryingExecutor(AtOnce(), xlocals=[declared])


# --- local -----------------------------------------------------------------------------------------------------------


@of(*KEYS)
def local_made(key):
    store = xctx.local(key=key)
    store.a = SHARED[0]
    return store.a is SHARED[0]


@of(*LOCALS)
def local_set(store):
    store.a = SHARED[0]
    try:
        return store.a is SHARED[0], hasattr(store, "nothing")
    finally:
        del store.a


@of(*LOCALS)
def local_many(store):
    vars(store).update(NAMES)
    try:
        return len(vars(store)), store.name3 is SHARED[0], len(dir(store)) > 20
    finally:
        vars(store).clear()


@of(*KEYS)
def local_with_init(key):
    # Outside of the class: from 3.13 on CPython crashes where it has no memory for the keys of a class whose methods
    # assign to attributes of `self`, whatever its base is (https://github.com/python/cpython/issues/153182).
    def init(store, value):
        store.value = value

    class Derived(xctx.local, key=key):
        __init__ = init

    return Derived(SHARED[0]).value is SHARED[0]


@of(*LOCALS)
def local_copied(store):
    store.a = SHARED[0]
    try:
        return __import__("copy").copy(store).a is SHARED[0]
    finally:
        store.__release_local__()


@operation
def local_whose_name_a_factory_makes():
    try:
        return made_for_each_unit.user is SHARED[0]
    finally:
        made_for_each_unit.__release_local__()


@of(*LOCALS)
def local_deleted(store):
    store.a = SHARED[0]
    del store.a
    return hasattr(store, "a")


# --- debug -----------------------------------------------------------------------------------------------------------


@of(*XLOCALS)
def tracked(x):
    xctx.debug.track()
    try:
        with x(a=SHARED[0]):
            return x.a is SHARED[0]
    finally:
        xctx.debug.track(False)


@operation
def all_that_is_bound():
    with declared(user=SHARED[0]):
        return xctx.debug.live_bindings() > 0, (declared, ("user",)) in all_bindings()


@operation
def looked_at():
    store = xctx.local(key=xctx.keys.thread)
    store.a = 1
    unit = xctx.keys.thread.current()
    return xctx.debug.units_of(store) == [(unit, {"a": 1})], (store, {"a": 1}) in xctx.debug.stores_of(unit)


@operation
def looked_at_many_names():
    store = xctx.local(key=xctx.keys.thread)
    for name in list(NAMES)[:12]:  # with one more they would be in a dict
        setattr(store, name, SHARED[0])
    ((_unit, names),) = xctx.debug.units_of(store)
    return len(names), names["name3"] is SHARED[0]


@operation
def explained():
    with declared(user=SHARED[0]):
        return xctx.debug.explain(declared, "user"), xctx.debug.explain(carrying, "user")


@operation
def gathered_for_a_tree():
    # What makes a tree of it is written in Python: CPython crashes if it has no memory for an iterator over items.
    with declared(user=SHARED[0]):
        _threads, contexts, things = gathering.look((xctx.local,))
        here = contextvars.copy_context()
        chains, _kept = gathering.entries_of(here, here)
        bound = gathering.bound_in(chains, {xctx.keys.process.current()})
    return any(thing is of_work for thing, _ in things), len(contexts) > 0, bound[0][2]["user"] is SHARED[0]


# --- units of work ---------------------------------------------------------------------------------------------------


@operation
def unit_of_work():
    with xctx.work() as unit:
        of_work.a = SHARED[0]
        with xctx.work():
            return unit.alive, hasattr(of_work, "a")


@operation
def unit_of_work_of_a_task():
    async def main():
        async with xctx.work() as unit:
            of_work.a = SHARED[0]
            return unit.alive, of_work.a is SHARED[0]

    return driven(main())


@operation
def unit_of_work_looked_at():
    with xctx.work() as unit:
        of_work.a = SHARED[0]
        return (of_work, {"a": SHARED[0]}) in xctx.debug.stores_of(unit)


@operation
def unit_of_work_by_decorator():
    @xctx.work()
    def function():
        of_work.a = SHARED[1]
        return of_work.a is SHARED[1]

    return function()


@operation
def unit_of_work_in_steps():
    @xctx.work()
    def generator():
        of_work.a = SHARED[1]
        yield of_work.a is SHARED[1]

    return list(generator())


# --- keys ------------------------------------------------------------------------------------------------------------


@of(*KEYS)
def unit(key):
    return key.current() is key.current(), repr(key)


@operation
def value_of_a_key():
    key = xctx.keys.Key(lambda: (1, 2))
    key.current()
    key.forget((1, 2))
    return key.of((1, 2))


# --- proxies ---------------------------------------------------------------------------------------------------------


@operation
def wrapper():
    p = xctx.LocalWrapper([1, 2])
    p.append(3)
    p += [4]
    return len(p), p[0], list(p), p == [1, 2, 3, 4], repr(p), xctx.unwrap(p), p * 2


@operation
def lazy_wrapper():
    p = xctx.LocalWrapper.lazy(lambda: [1, 2])
    p.append(3)
    return len(p), p.wrapped, repr(p)


@operation
def lazy_wrapper_of_an_object():
    p = xctx.LocalWrapper(xctx.LocalWrapper.lazy(lambda: MadeByAFactory()))
    return p.name, p + 1, p == 3, p[4], hash(xctx.LocalWrapper.lazy(lambda: 5))


class MadeByAFactory:
    name = 2

    def __add__(self, other):
        return other

    __getitem__ = __add__


@operation
def wrapper_of_a_new_type():
    class New:
        def __add__(self, other):
            return other

    return xctx.LocalWrapper(New()) + 1


@operation
def local_proxy():
    p = xctx.LocalProxy(lambda: {"a": SHARED[0]})
    return len(p), p["a"] is SHARED[0], list(p), xctx.is_proxy(p), p.get("b")


@operation
def local_proxy_of_a_store():
    p = xctx.LocalProxy(declared, "user", unbound_message="nobody")
    with declared(user="ada"):
        return p.title(), p + "!", f"{p}"


@operation
def local_proxy_of_a_path():
    p = xctx.LocalProxy(declared, "user.start")
    with declared(user=slice(5)):
        return bool(p), xctx.LocalProxy(xctx.LocalProxy(declared, "user")).stop + 1


@operation
def local_proxy_that_is_unbound():
    p = xctx.LocalProxy(declared, "nothing", unbound_message="nobody")
    return repr(p), bool(p), dir(p)


@operation
def local_proxy_derived():
    class Derived(xctx.LocalProxy):
        __slots__ = ()

    return Derived(lambda: 1) + 1


# --- batches ---------------------------------------------------------------------------------------------------------


@operation
def batch():
    executor = xctx.BatchExecutor(lambda: SHARED[0], 3)
    found = [executor.load() is SHARED[0] for _ in range(7)]
    handle = executor.as_local()
    found.append(handle.load() is SHARED[0])
    return found, len(executor.close())


@operation
def batch_that_is_closed_once_more_where_that_failed():
    executor = xctx.BatchExecutor(iter(SHARED * 5).__next__, 20)  # a batch is shorter where there is no room for more
    first = executor.load()
    left = executor.__length_hint__()
    try:
        values = executor.close()
    except MemoryError:
        values = executor.close()
    return first is SHARED[0], values == (SHARED * 5)[1 : left + 1], executor.stats.loads


@operation
def batch_of_batches():
    executor = xctx.BatchExecutor.from_batches(range, 4)
    return [executor.load() for _ in range(6)], executor.close()


# --- locks -----------------------------------------------------------------------------------------------------------

if offers("SharedLock"):
    LOCKS = [("plain", xctx.SharedLock()), ("reentrant", xctx.SharedRLock())]
    DIRECTORY = tempfile.TemporaryDirectory()
    atexit.register(DIRECTORY.cleanup)
    LOCK_FILE = os.path.join(DIRECTORY.name, "lock")

    @of(*LOCKS)
    def lock(each):
        with each.exclusive():
            pass
        with each.shared():
            pass
        got = each.acquire(timeout=0)
        each.release()
        return got

    @of(*LOCKS)
    def lock_upgraded(each):
        with each.upgradable():
            each.upgrade()
        return True

    @of(*LOCKS)
    def lock_in_a_task(each):
        async def main():
            async with each.exclusive():
                return True

        return driven(main())

    @operation
    def lock_at_a_path():
        with xctx.SharedLock.at(LOCK_FILE) as at_path:
            return at_path is not None

    @operation
    def lock_at_a_path_that_is_written():
        with xctx.SharedLock.at(LOCK_FILE, on_death="ignore").exclusive():
            return True

    @operation
    def lock_with_a_name():
        named = xctx.SharedLock(f"no-memory-{os.getpid()}")
        with named.exclusive():
            pass
        return named.acquire(timeout=0), named.release()

    @operation
    def lock_made():
        with xctx.SharedLock() as made:
            return made is not None


# --- how each is tried ----------------------------------------------------------------------------------------------


def driven(coroutine):
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


class Unclean(BaseException):
    """Something was left."""


def is_clean(name):
    """Nothing is bound, and the locks are free: of an operation on them. Another process may have left them held."""
    for _name, x in XLOCALS:
        assert vars(x) == {}, f"{x!r} is bound"
    assert vars(declared) == {} and vars(carrying) == {}
    assert VARIABLE.get(None) is None
    if name.startswith("lock"):
        for kind, each in LOCKS:
            assert each.acquire(blocking=False), f"the {kind} lock is held"
            each.release()


def reset():
    """Takes away what an operation that failed while it cleaned up left of its own."""
    for _name, store in LOCALS:
        vars(store).clear()


def counts():
    return [sys.getrefcount(each) for each in SHARED]


LOSE = ("decorated", "isolated", "carried_function", "variables", "captured_with_what_is_kept", "local_copied")


def try_everything(name, most=400):
    """Runs it with the first, the second ... allocation failing, and with all from there on. Gives what went wrong."""
    import _testcapi

    def func():
        # In a context that has nothing in it. The mapping of one that has many variables is a tree, of which CPython
        # loses a node where memory fails in the middle of it; and variables of stores that are dead stay in it.
        return contextvars.Context().run(checked)

    def checked():
        if name.startswith("variables"):
            VARIABLE.set(None)  # to a variable that had no value CPython gives none back where memory fails
        try:
            if number is not None:
                _testcapi.set_nomemory(number, number + 1)
            try:
                return OPERATIONS[name]()
            finally:
                _testcapi.remove_mem_hooks()
        finally:
            try:
                is_clean(name)
            except BaseException as exc:
                raise Unclean from exc
            reset()

    number = None
    expected = func()
    func()
    gc.collect()
    gc.disable()
    before, bindings, wrong = counts(), live_bindings(), []
    # Twice each: what the first one frees may be used again without an allocation, and the numbers after it move.
    for number in (each for each in range(most) for _ in range(2)):
        raised = None
        try:
            found = func()
        except MemoryError:
            raised = "MemoryError"
        except Unclean as exc:
            return [*wrong, f"allocation {number}: {exc.__cause__!r}, {exc.__context__!r}"]
        except (AssertionError, SystemError, ReferenceError) as exc:
            raised = repr(exc)
            wrong.append(f"allocation {number}: {raised}")
        except Exception as exc:  # what pickle, or an import, makes of a MemoryError
            raised = repr(exc)
        if raised is None and found != expected:
            wrong.append(f"allocation {number}: it gave {found!r}")
        found = None
        if raised is None and number > 20:
            quiet += 1
            if quiet == 6:
                break
        else:
            quiet = 0
    number = None
    again = func()
    if again != expected:
        wrong.append(f"afterwards it gives {again!r}, not {expected!r}")
    again = None
    gc.collect()
    for was, now in zip(before, counts(), strict=True):
        # CPython loses the closure of a function where there is no memory for the function, and the value of a variable
        # where there is none for resetting it. A copy of a local has a variable beside the one of the local: see func.
        if now < was or (now > was and not name.startswith(LOSE)):
            wrong.append(f"a count of references was {was} and is {now}")
    if live_bindings() > bindings:
        wrong.append(f"{live_bindings() - bindings} bindings live on")
    return wrong
