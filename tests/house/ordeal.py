"""What can be done to an object of any type in xctx, whatever it was made for: tests/house/test_every_type.py does it.

A compiled type reads its fields without asking whether they are there, so one that was made in an odd way, or that the
garbage collector has cleared, must refuse or answer like any other. Nothing here looks at the answer; the process must
survive. :func:`living` has an object of each type that programs get to see, and of those behind them.
"""

import asyncio
import contextlib
import contextvars
import copy
import ctypes
import functools
import gc
import importlib
import inspect
import itertools
import pickle
import pkgutil
import sys
import threading
import warnings
import weakref

from helpers.packages import offers

import xctx
from xctx._carry.isolated import OwnContext
from xctx._carry.snapshot import AppliedBlock
from xctx._lock.grants import Grant, Granted
from xctx._lock.tasks import asker_of
from xctx._patch.restoring import Restorer
from xctx._patch.thread_store import ThreadStore
from xctx._runtime import functions
from xctx._stores.works import WorkSteps

PY_TP_CLEAR = 51  # Include/typeslots.h
LAZY_WRAPPER = type(xctx.LocalWrapper.lazy(int))


# --- the types -------------------------------------------------------------------------------------------------------


def import_all():
    for module in pkgutil.walk_packages(xctx.__path__, "xctx."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of a package that is not installed
                importlib.import_module(module.name)


def all_types():
    """Every type that a module of xctx has made, by name, also what no module shows; and what Cython made for them."""
    import_all()
    found, left = {}, [object]  # by address: metatypes may have an __eq__ of their own
    while left:
        for derived in type.__subclasses__(left.pop()):
            if id(derived) not in found:
                found[id(derived)] = derived
                left.append(derived)
    found = found.values()
    return {f"{each.__module__}.{each.__qualname__}": each for each in found if is_ours(each)}


def is_ours(cls):
    return str(cls.__module__).split(".")[0] == "xctx" or cls in made_by_cython()


@functools.cache
def made_by_cython():
    """The types of what functions compiled by Cython give, where they are Cython's own."""
    if not offers("SharedLock"):
        return set()
    waiting = xctx.SharedLock().upgrade_async()
    try:
        return {type(waiting), type(waiting.__await__())}
    finally:
        waiting.close()


def compiled_types():
    return {name: cls for name, cls in all_types().items() if is_compiled(cls)}


def is_compiled(cls):
    """Whether its fields are those of a C struct, which its methods read as they are."""
    module = str(cls.__module__)
    if cls in made_by_cython() or cls in (xctx.LocalProxy, xctx.LocalWrapper, LAZY_WRAPPER):
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not file.endswith(".py") and not any("__dict__" in vars(base) for base in cls.__mro__)


# --- an object of each -----------------------------------------------------------------------------------------------


def living():
    """Objects of each type, in use: what programs make, and what is behind it. A dict from the type to one, and all."""
    kept = list(made())
    seen, left, found = set(), list(kept), {}
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type(sys)) or (isinstance(each, type) and not is_ours(each)):
            continue
        seen.add(id(each))
        kept.append(each)
        if is_ours(type(each)):
            found.setdefault(type(each), each)
        elif not isinstance(each, (list, tuple, dict, set, frozenset, contextvars.Context, contextvars.Token)) and (
            type(each).__name__ not in REACHES
        ):
            continue
        left.extend(gc.get_referents(each))
    for each in gc.get_objects():
        if is_ours(type(each)):
            found.setdefault(type(each), each)
    return found, kept


REACHES = {
    "hamt",
    "hamt_bitmap_node",
    "hamt_array_node",
    "hamt_collision_node",
    "method",
    "generator",
    "coroutine",
    "frame",
    "weakref",
}


def made():
    x = xctx.xlocal()
    with x(a=1):
        again = xctx.capture(x)
    for _ in range(4):
        again.run(int)
    yield again
    for key in (
        xctx.keys.greenlet,
        xctx.keys.flow,
        xctx.keys.work,
        xctx.keys.context,
        xctx.keys.process,
        xctx.keys.Key(lambda: 1),
    ):
        store = xctx.local(key=key)
        store.value = 1
        yield store, store.__dict__
        bound = xctx.xlocal(key=key)
        scope = bound(value=1)
        scope.__enter__()
        bound(other=2).__enter__()
        yield bound, scope, key, key.current()
        snapshot = xctx.capture(bound)
        snapshot.__enter__()
        yield snapshot, snapshot(print), xctx.capture()
        yield type(scope).__enter__, type(scope).__exit__, type(scope).__enter__.__get__(scope)
        yield key.current().__callback__
    # In a context of its own: what runs afterwards is not to be in a unit of work.
    work, of_work = xctx.work(), contextvars.copy_context()
    yield work, of_work, of_work.run(work.__enter__), of_work.run(work.__aenter__), WorkSteps()
    variable = contextvars.ContextVar("variable")
    variable.set(1)
    snapshot = xctx.capture(contextvars=[variable])
    snapshot.__enter__()
    yield snapshot, contextvars.copy_context(), variable
    yield pickle.loads(pickle.dumps(xctx.capture(missing="skip")))
    yield xctx.LocalProxy(lambda: 1), xctx.LocalWrapper([1]), xctx.LocalWrapper([1]).append
    yield xctx.LocalWrapper.lazy(lambda: [1])
    batch = xctx.BatchExecutor(lambda: 1, 3)
    batch.load()
    yield batch, batch.as_local(), batch.stats
    yield OwnContext(xctx.capture()), AppliedBlock(xctx.capture())
    yield Restorer(storage=None, transfer=None, threading=threading, by_identity=True)
    yield ThreadStore(variable=contextvars.ContextVar("var"), storage=int, threading=threading)
    steps = functions.Steps(OwnContext(), iter, ([1],), None, False)
    next(steps)
    yield steps, functions.StepContext()

    @bound(value=3)
    def decorated():
        yield 1

    call = decorated()
    next(call)
    yield call, call.gi_frame.f_locals
    if offers("SharedLock"):
        yield Grant(), Granted()
        for kind in (xctx.SharedLock, xctx.SharedRLock):
            lock = kind()
            with lock:
                yield lock, lock.exclusive(), lock.shared(), asker_of(lock)
            yield from gc.get_referents(lock)
            for each in gc.get_referents(lock):
                if isinstance(each, xctx.local):
                    yield each.__dict__
            for waiting in (lock.acquire_async(), lock.upgrade_async()):
                yield waiting, waiting.__await__()
                waiting.close()


# --- what can be done ------------------------------------------------------------------------------------------------


class Odd:
    """Equal to nothing and everything; in each place where a program may put any object."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class OddName(str):
    __slots__ = ()

    def __eq__(self, other):
        raise ZeroDivisionError

    def __hash__(self):
        return 3


def odd_arguments():
    return [
        None,
        1,
        "a",
        OddName("a"),
        "a\0b",
        "\ud800",
        b"a",
        (),
        [1],
        {},
        {"a": 1},
        Odd(),
        object,
        print,
        len,
        Odd,
        -1,
        300,
        1.5,
    ]


def calls(func):
    """Calls something with arguments of each kind."""
    for args in [(), *[(each,) for each in odd_arguments()], (None, None), ("a", 1), (1, "a"), (None, None, None)]:
        attempt(func, *args)
    attempt(func, a=1)
    attempt(func, None, key=None)


def attempt(func, *args, **kwargs):
    """Calls it, and takes what it gives as a program would: it is closed, and nothing that it raises matters."""
    try:
        result = func(*args, **kwargs)
        if inspect.iscoroutine(result) or (hasattr(type(result), "__await__") and hasattr(type(result), "close")):
            with contextlib.suppress(BaseException):
                result.send(None)
            result.close()
    except Exception:
        result = None
    return result


# Methods that end the process, wait for others, or are of a whole class rather than of one object.
LEFT_ALONE = {"__class__", "__del__", "__subclasses__", "mro"}


def use(it):
    """Everything that a program can do with an object, or a library that knows nothing of it."""
    operations = [
        repr, str, hash, bool, len, dir, vars, iter, next, reversed, few, dict, int, float, format, id, weakref.ref,
        copy.copy, copy.deepcopy, pickle.dumps, gc.get_referents, sys.getsizeof, inspect.signature, abs,
        memoryview, aiter, anext, enter, enter_async, awaited,
    ]  # fmt: skip
    for operation in operations:
        attempt(operation, it)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        attempt(pickle.dumps, it, protocol)
    for other in (it, *odd_arguments()):
        attempt(lambda other=other: it == other)
        attempt(lambda other=other: it < other)
        attempt(lambda other=other: other in it)
        attempt(lambda other=other: it[other])
        attempt(lambda other=other: isinstance(other, it))
        attempt(getattr, it, other)
        attempt(delattr, it, other)
        attempt(setattr, it, other, 1)
    names = {name for base in type(it).__mro__ if base is not object for name in vars(base)}
    for name in sorted(names - LEFT_ALONE):
        calls(attempt(getattr, it, name))
    calls(it)


def few(it):
    return list(itertools.islice(it, 3))


def enter(it):
    with it:
        pass


def enter_async(it):
    async def main():
        async with it:
            pass

    main().send(None)


def awaited(it):
    async def main():
        return await it

    asyncio.run(asyncio.wait_for(main(), 0.01))


def without_noise(func):
    """Runs it where nothing that fails on the way is printed."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = threading.excepthook = lambda *args: None
    sys.stdout = sys.stderr = open("/dev/null", "w")  # noqa: SIM115
    return func()


def make_in_every_way(cls):
    """Objects of a type, made as programs can: by calling it, without __init__, from one that lives."""
    arguments = [(), *[(each,) for each in odd_arguments()], (print, 3), ((), ())]
    for args in arguments:
        yield attempt(cls, *args)
        yield attempt(cls.__new__, cls, *args)
    yield attempt(object.__new__, cls)
    for base in cls.__mro__[1:]:
        yield attempt(base.__new__, cls)
    it = living()[0].get(cls)
    if it is not None:
        yield attempt(copy.copy, it)
        yield attempt(cls, it)
        yield attempt(lambda: pickle.loads(pickle.dumps(it)))
        yield attempt(lambda: it.__reduce_ex__(2)[0](*it.__reduce_ex__(2)[1]))
        yield attempt(cls.__new__, cls, it)


def derived_from(cls):
    """Classes derived from it, as far as it allows: plain, with slots, with another base."""
    for bases, names in [((cls,), {}), ((cls,), {"__slots__": ()}), ((cls, dict), {}), ((cls,), {"__slots__": ("a",)})]:
        derived = attempt(type, "Derived", bases, names)
        if derived is not None:
            yield derived


def use_all_that_is_made(cls):
    for it in make_in_every_way(cls):
        if it is not None:
            use(it)


def use_all_that_is_derived(cls):
    for derived in derived_from(cls):
        use_all_that_is_made(derived)


def methods_of(cls):
    """The functions in the dict of a type, which take an object of it first."""
    for name, method in sorted(vars(cls).items()):
        if callable(method) and not isinstance(method, (staticmethod, type)) and name not in ("__new__", *LEFT_ALONE):
            yield name, method


def call_with_wrong_self(cls):
    """Calls each method on what is no object of its type; gives the names of those that do not raise TypeError."""
    wrong = []
    for name, method in methods_of(cls):
        if type(method).__name__ == "classmethod_descriptor" or name in ("__init_subclass__", "__class_getitem__"):
            continue
        for it in (1, "a", None, object(), Odd(), [], object, contextvars.copy_context(), xctx.local()):
            if isinstance(it, cls):
                continue
            for args in ((), (1,), ("a", 1), (None, None, None), (it, it, it, it)):
                try:
                    method(it, *args)
                except TypeError:
                    continue
                except BaseException as exc:
                    wrong.append(f"{name} on {it!r}: {exc!r}")
                else:
                    wrong.append(f"{name} on {it!r}")
    return wrong


class EqualName(str):
    """A name that equals every other, and is found nowhere."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


def call_with_equal_names(cls):
    """Calls the type, an object of it and its methods with such a keyword; gives the names of those that break."""
    broken = []
    it = living()[0].get(cls)
    called = {"the type": cls, "an object": it}
    for name, _method in methods_of(cls):
        if it is not None:
            called[name] = getattr(it, name, None)
    for name, each in called.items():
        for args in ((), (1,), (print, 1)):
            try:
                each(*args, **{EqualName("zz"): 1})
            except SystemError:
                broken.append(name)
            except BaseException:
                continue
    return broken


def use_when_cleared(cls):
    """Uses an object that the garbage collector has cleared, as callbacks of what is cleared with it can."""
    it = living()[0].get(cls)
    if it is None or cls.__name__.startswith("__pyx") or cls in made_by_cython():
        return  # what Cython wrote for itself does not survive it
    if cls.__flags__ & 1 << 14:  # Py_TPFLAGS_HAVE_GC
        slot = ctypes.pythonapi.PyType_GetSlot
        slot.restype, slot.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_int]
        clear = slot(cls, PY_TP_CLEAR)
        if clear:
            ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object)(clear)(it)
    use(it)
    other = threading.Thread(target=use, args=(it,))
    other.start()
    other.join()


# Programs get no object of these types: base classes, what exists only while something waits, what only C refers to.
NOT_SHOWN = {
    "Proxy", "BindingVariable", "BaseLock", "Waiter", "ThreadWaiter", "GreenletWaiter", "TaskWaiter", "Attempt",
    "LocalQueue", "View", "LocalWrapper", "_LazyFactory", "_AttributeOfTargets", "_ThreadRecord", "LeftOpen", "Errands",
    "Handle",
}  # fmt: skip
