"""Every exception that the library raises: its class, its message, when, and a program that raises it.

``docs/errors.rst`` shows the first three, with an ellipsis for what is filled in; run as a program, this prints its
tables. A message of the sources that is not here fails a test.
"""

import contextlib
import os
import pickle
import threading

import error_cases_carry
import error_cases_tree
import pytest
from helpers.packages import offers
from helpers.units import in_fork

import xctx
from xctx._runtime import interpreter
from xctx.keys import Key


class Declared(xctx.xlocal):
    request: str


class Nothing:
    """Neither callable, nor a key, nor hashable."""

    __hash__ = None

    def __repr__(self):
        return "<nothing>"


NOTHING = Nothing()


class Hashed(str):
    """A str with a hash of its own."""

    def __hash__(self):
        return 1


def imports_without_copies():
    """As another interpreter does where the platform has no copies."""

    class Platform:
        @staticmethod
        def is_main():
            return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "copies", Platform)
        interpreter.prepare()


def loads_no_copy():
    """As another interpreter does where the loader has no room."""
    if not hasattr(interpreter.copies, "take"):
        pytest.skip("there are no copies here")
    from xctx._runtime import copying

    copying.load_copy("xctx._core", f"{os.devnull}/no such file")


def reads_unbound():
    _ = xctx.xlocal().name


def reads_left():
    x = xctx.xlocal()
    with x(name=1):
        pass
    _ = x.name


def reads_what_another_unit_bound():
    here = "binds"
    x = xctx.xlocal(key=lambda: here)
    with x(name=1):
        here = "reads"
        try:
            _ = x.name
        finally:
            here = "binds"


def reads_what_a_generator_bound():
    x = xctx.xlocal()

    def generate():
        with x(name=1):
            yield

    generator = generate()
    next(generator)
    _ = x.name


def reads_after_a_fork():
    if not hasattr(os, "fork"):
        pytest.skip("nothing forks here")
    x = xctx.xlocal()
    with x(name=1):
        in_fork(lambda: x.name)


def reads_what_is_hidden():
    x = xctx.xlocal()
    snapshot = xctx.capture(x)
    with x(name=1), snapshot:
        _ = x.name


def reads_beneath_many():
    x = xctx.xlocal()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(x(other=1))
        _ = x.name


def reads_unset():
    _ = xctx.local().name


def replaces_dict():
    xctx.local().__dict__ = {}


def sets():
    xctx.xlocal().name = 1


def deletes():
    del xctx.xlocal().name


def declares_reserved():
    class Mine(xctx.xlocal):
        _name: int


def declares_a_list():
    class Mine(xctx.xlocal):
        tags: list = []


def declares_no_field():
    class Mine(xctx.xlocal):
        tags = xctx.field(default_factory=list)


def reads_outside_of_blocks():
    class Mine(xctx.xlocal):
        tags: list = xctx.field(default_factory=list)

    _ = Mine().tags


def left_unentered():
    xctx.xlocal()(a=1).__exit__(None, None, None)


def unhashable_value():
    xctx.local(key=lambda: NOTHING).name = 1


def key_made_twice():
    Key(lambda: 1).__init__(lambda: 2)


def no_such_rung():
    make, _ = xctx.keys.task.__reduce__()
    make("fibre")


def unbound():
    xctx.LocalProxy(xctx.xlocal(), "name") + 1


def uninitialised_proxy():
    xctx.LocalProxy.__new__(xctx.LocalProxy) + 1


def circle():
    first = xctx.LocalProxy(lambda: second)
    second = xctx.LocalProxy(lambda: first)
    first + 1


def initialised_again():
    proxy = xctx.LocalProxy(lambda: 1)
    xctx.LocalProxy.__init__(proxy, lambda: 2)


def lazy_of_itself():
    lazy = xctx.LocalWrapper.lazy(lambda: lazy + 1)
    return bool(lazy)


def subclass_of_wrapper():
    class Mine(xctx.LocalWrapper):
        pass

    Mine()


def closes_from_the_source():
    executor = xctx.BatchExecutor(lambda: executor.close(), 1)
    executor.load()


def closed():
    executor = xctx.BatchExecutor(int, 1)
    executor.close()
    executor.load()


def while_filling(**named):
    def call():
        begun, finish = threading.Event(), threading.Event()

        def source():
            begun.set()
            finish.wait()

        executor = xctx.BatchExecutor(source, 1)
        thread = threading.Thread(target=executor.load)
        thread.start()
        begun.wait()
        try:
            executor.load(**named)
        finally:
            finish.set()
            thread.join()

    return call


def pickles(make):
    return lambda: pickle.dumps(make())


SECTIONS = {
    "Units and keys": [
        (
            TypeError,
            "a key is one of xctx.keys or a callable that returns a hashable, not …",
            "a store is given something else as its key",
            lambda: xctx.local(key=NOTHING),
        ),
        (
            TypeError,
            "the key … gave …: a key's callable returns a hashable",
            "a store is used whose key's callable returns something else",
            unhashable_value,
        ),
        (
            TypeError,
            "a key is made from a callable that returns a hashable, not …",
            "``Key(func)``, where `func` cannot be called",
            lambda: Key(NOTHING),
        ),
        (TypeError, "a key's name is a str, not …", "``Key(func, name)``", lambda: Key(len, 1)),
        (TypeError, "… is made already: a key never changes", "a key is initialised again", key_made_twice),
        (
            RuntimeError,
            "this key was not initialised: a subclass calls super().__init__()",
            "a key is used that was made by ``__new__`` alone",
            lambda: Key.__new__(Key).current(),
        ),
        (
            TypeError,
            "a thread or its ident was wanted, not …",
            "``keys.thread.of(thing)``",
            lambda: xctx.keys.thread.of("x"),
        ),
        (
            TypeError,
            "only values of a callable's key can be forgotten, and … has a unit of another kind",
            "``forget`` of a key of the ladder",
            lambda: xctx.keys.task.forget(1),
        ),
        (
            TypeError,
            "cannot pickle …: only the keys of the ladder can be found again elsewhere",
            "a callable's key is pickled",
            pickles(lambda: Key(len)),
        ),
        (
            ValueError,
            "no key …: the ladder is process, thread, greenlet, task, flow, work, context",
            "a key is unpickled that this version does not have",
            no_such_rung,
        ),
        (
            TypeError,
            "units are made by keys: call xctx.keys.greenlet.current() or the like",
            "``Unit()``",
            lambda: xctx.keys.Unit(len),
        ),
        (
            TypeError,
            "cannot pickle 'Unit' object: a unit has no meaning in another process",
            "a unit is pickled",
            pickles(xctx.keys.thread.current),
        ),
        (
            TypeError,
            "a keyword argument has a name that equals another, and differs",
            "the name of a keyword argument is of a class derived from str, which hashes it otherwise",
            lambda: xctx.xlocal(**{Hashed("key"): NOTHING}),
        ),
    ],
    "xlocal": [
        (
            AttributeError,
            "'…' object has nothing bound to '…' here: no block has bound it so far",
            "a name is read that no block in this process has bound",
            reads_unbound,
        ),
        (
            AttributeError,
            "'…' object has nothing bound to '…' here: the blocks that bound it were left, or nothing carried them "
            "here (xctx.debug.explain tells which)",
            "a name is read outside of the block that binds it, or in a unit or context that does not have it",
            reads_left,
        ),
        (
            AttributeError,
            "'…' object has nothing bound to '…' here: under the key … only … sees it, under … it would be seen here",
            "another unit has bound the name, and the key of the xlocal keeps that unit apart from this one",
            reads_what_another_unit_bound,
        ),
        (
            AttributeError,
            "'…' object has nothing bound to '…' here: it was bound before this process was forked, under the key "
            "context it would be seen here",
            "a forked child reads what its parent has bound",
            reads_after_a_fork,
        ),
        (
            AttributeError,
            "'…' object has nothing bound to '…' here: xctx.nothing() or a snapshot hides it",
            "a snapshot that does not have the name is applied within the block that binds it",
            reads_what_is_hidden,
        ),
        (
            AttributeError,
            "'…' object has nothing bound to '…' here: a generator has bound it, and only what that runs sees it",
            "the caller of a generator reads what the generator has bound",
            reads_what_a_generator_bound,
        ),
        (
            TypeError,
            "transparent marks a generator function or an async generator function, not …",
            "``transparent(thing)``",
            lambda: xctx.transparent(len),
        ),
        (
            AttributeError,
            "'…' object has nothing bound to '…' here: its default_factory makes one for each block, and no block is "
            "open here",
            "a name with a ``default_factory`` is read where no block is open",
            reads_outside_of_blocks,
        ),
        (
            AttributeError,
            "'…' object has nothing bound to '…' here: xctx.debug.explain tells why",
            "there are too many bindings to look through, or too many names were bound",
            reads_beneath_many,
        ),
        (
            AttributeError,
            "cannot set …: an xlocal is read-only, names are bound by `with x(…=...):`",
            "an attribute is set",
            sets,
        ),
        (
            AttributeError,
            "cannot delete …: an xlocal is read-only, a name is bound until its block is left",
            "an attribute is deleted",
            deletes,
        ),
        (
            TypeError,
            "cannot bind …: names that start with an underscore are reserved",
            "such a name is bound",
            lambda: xctx.xlocal()(_a=1),
        ),
        (
            TypeError,
            "… declares no name …: did you mean …?",
            "a name is bound that the class does not declare",
            lambda: Declared()(requst=1),
        ),
        (TypeError, "… declares no name …: it declares …", "the same, where none is like it", lambda: Declared()(z=1)),
        (
            TypeError,
            "… declares …: names that start with an underscore are reserved",
            "a class annotates such a name",
            declares_reserved,
        ),
        (
            ValueError,
            "… declares … with a … as its default, which everybody would share: xctx.field(default_factory=…) makes a "
            "new one for each block",
            "a class declares ``tags: list = []`` or the like",
            declares_a_list,
        ),
        (
            TypeError,
            "… has a field … that it does not declare: annotate it, as neither ClassVar nor Final",
            "a class has ``tags = xctx.field(...)``",
            declares_no_field,
        ),
        (
            TypeError,
            "default_factory is a callable that takes nothing, not …",
            "``xctx.field(default_factory=thing)``",
            lambda: xctx.field(default_factory=1),
        ),
        (
            TypeError,
            "an xlocal binds keyword arguments, it was given … without a name",
            "``x(1)``",
            lambda: xctx.xlocal()(1),
        ),
        (
            TypeError,
            "a binding takes no keyword arguments, it was given …",
            "``x(a=1)(b=2)``",
            lambda: xctx.xlocal()(a=1)(b=2),
        ),
        (
            TypeError,
            "a binding decorates one function, it was given …",
            "``x(a=1)(f, g)``, ``x(a=1)()``",
            lambda: xctx.xlocal()(a=1)(len, len),
        ),
        (
            TypeError,
            "a binding decorates a function, not …",
            "``x(a=1)(2)``",
            lambda: xctx.xlocal()(a=1)(2),
        ),
        (
            TypeError,
            "… takes no arguments, it was given …",
            "``x(a=1).__enter__(2)``",
            lambda: xctx.xlocal()(a=1).__enter__(2),
        ),
        (
            TypeError,
            "… is of a …, it was given …",
            "``type(x(a=1)).__enter__(2)``",
            lambda: type(xctx.xlocal()(a=1)).__enter__(2),
        ),
        (
            RuntimeError,
            "this binding is left, but it was not entered",
            "``__exit__`` is called once too often",
            left_unentered,
        ),
        (
            TypeError,
            "cannot pickle a binding of an xlocal: bind the values where they are needed",
            "what calling an xlocal gave is pickled",
            pickles(lambda: xctx.xlocal()(a=1)),
        ),
        (
            RuntimeError,
            "this unit of work is left, but it was not entered",
            "``__exit__`` is called once too often",
            lambda: xctx.work().__exit__(None, None, None),
        ),
        (
            TypeError,
            "a unit of work decorates a function, not …",
            "``xctx.work()(thing)``",
            lambda: xctx.work()(1),
        ),
        (
            TypeError,
            "cannot pickle a unit of work: take a snapshot, by xctx.capture()",
            "``xctx.work()`` is pickled",
            pickles(xctx.work),
        ),
    ],
    "local": [
        (AttributeError, "'…' object has no attribute '…'", "a name is read or deleted that is not set", reads_unset),
        (
            AttributeError,
            "… object attribute '__dict__' is read-only",
            "``__dict__`` is set or deleted",
            replaces_dict,
        ),
        (
            TypeError,
            "Initialization arguments are not supported: …() takes none but `key`, because there is no __init__ for …",
            "arguments are given to a class that has no ``__init__``",
            lambda: xctx.local(1),
        ),
        (
            TypeError,
            "cannot pickle … object: its values belong to the unit that runs here",
            "a local is pickled whose class does not say how",
            pickles(xctx.local),
        ),
        (
            TypeError,
            "attribute name must be string, not '…'",
            "a name that is no str, as with any object",
            lambda: type(xctx.local()).__getattribute__(xctx.local(), 1),
        ),
    ],
    "Proxies": [
        (RuntimeError, "object is not bound", "a ``LocalProxy`` is used with nothing behind it", unbound),
        (
            TypeError,
            "LocalProxy of a … needs the name of an attribute",
            "the source is a store, and no name is given",
            lambda: xctx.LocalProxy(xctx.local()),
        ),
        (
            TypeError,
            "… cannot be the source of a LocalProxy without a name: wanted a ContextVar, a LocalProxy, a callable, "
            "or an object and the name of its attribute",
            "the source is another object, and no name is given",
            lambda: xctx.LocalProxy(NOTHING),
        ),
        (
            TypeError,
            "… is not the name of an attribute: wanted a str",
            "``LocalProxy(source, name)``",
            lambda: xctx.LocalProxy(NOTHING, 1),
        ),
        (TypeError, "the source of a LocalProxy never changes", "one is initialised again", initialised_again),
        (
            RuntimeError,
            "….__init__() was not called",
            "a subclass's ``__init__`` leaves out that of ``LocalProxy``",
            uninitialised_proxy,
        ),
        (
            RecursionError,
            "proxies lead to each other in a circle",
            "proxies whose sources give each other",
            circle,
        ),
        (
            TypeError,
            "LocalWrapper() takes exactly one argument, wrapped (… given)",
            "``LocalWrapper()``, ``LocalWrapper(1, 2)``",
            lambda: xctx.LocalWrapper(1, 2),
        ),
        (
            TypeError,
            "…() missing argument: wrapped",
            "the same, of a subclass",
            subclass_of_wrapper,
        ),
        (
            TypeError,
            "… is not callable: wanted a factory",
            "``LocalWrapper.lazy(factory)``",
            lambda: xctx.LocalWrapper.lazy(1),
        ),
        (
            TypeError,
            "lazy() is for LocalWrapper itself, and … is a class derived from it",
            "``lazy`` of a subclass",
            lambda: type("Mine", (xctx.LocalWrapper,), {}).lazy(list),
        ),
        (
            RuntimeError,
            "the factory of a lazy LocalWrapper uses the wrapper itself",
            "the factory needs what it is to make, or a greenlet that it switches to does, without a hub",
            lazy_of_itself,
        ),
    ],
    "Batches": [
        (
            TypeError,
            "source … is not usable: a callable is wanted",
            "``BatchExecutor(source, size)``",
            lambda: xctx.BatchExecutor(1, 1),
        ),
        (TypeError, "size … is not usable: an int is wanted", "likewise", lambda: xctx.BatchExecutor(int, "1")),
        (ValueError, "size … is not usable: 1 or more is wanted", "likewise", lambda: xctx.BatchExecutor(int, 0)),
        (
            TypeError,
            "prefetch … is not usable: an int is wanted",
            "likewise",
            lambda: xctx.BatchExecutor(int, 1, prefetch="1"),
        ),
        (
            ValueError,
            "prefetch … is not usable: 0 or more is wanted",
            "likewise",
            lambda: xctx.BatchExecutor(int, 1, prefetch=-1),
        ),
        (
            ValueError,
            "timeout … is not usable: None or a number of seconds, 0 or more, is wanted",
            "``load(timeout=-1)``",
            lambda: xctx.BatchExecutor(int, 1).load(timeout=-1),
        ),
        (
            BlockingIOError,
            "load(block=False): no value is there and another unit is filling the batch",
            "``load(block=False)`` would have to wait",
            while_filling(block=False),
        ),
        (
            TimeoutError,
            "load(timeout=…): no value came in that time",
            "``load(timeout=...)`` has waited as long",
            while_filling(timeout=0.01),
        ),
        (ValueError, "load() from …: an open one is wanted", "``load`` after ``close``", closed),
        (
            TypeError,
            "source … gave …: an iterable of values is wanted",
            "a source of batches gives something else",
            lambda: xctx.BatchExecutor.from_batches(int, 1).load(),
        ),
        (
            LookupError,
            "source … gave a batch without any value: at least one is wanted",
            "a source of batches has nothing now; iteration ends instead",
            lambda: xctx.BatchExecutor.from_batches(lambda n: (), 1).load(),
        ),
        (
            RuntimeError,
            "close() cannot wait for a batch that its own caller is filling: a call from outside the source is wanted",
            "the source closes its executor",
            closes_from_the_source,
        ),
        (
            TypeError,
            "… cannot be copied or pickled: each of its values is handed out once",
            "an executor is copied or pickled",
            pickles(lambda: xctx.BatchExecutor(int, 1)),
        ),
        (
            TypeError,
            "… cannot be copied or pickled: as_local() makes another one",
            "a handle is copied or pickled",
            pickles(lambda: xctx.BatchExecutor(int, 1).as_local()),
        ),
    ],
}

if offers("SharedLock"):
    import error_cases_lock
    import error_cases_postgres

    SECTIONS["Locks"] = error_cases_lock.LOCKS
    SECTIONS["On PostgreSQL"] = error_cases_postgres.POSTGRES
SECTIONS["Carry"] = error_cases_carry.CARRY
SECTIONS["To other machines"] = error_cases_carry.WIRE
SECTIONS["Looking at a process"] = error_cases_tree.TREE
SECTIONS["Whole programs"] = error_cases_carry.PATCH
SECTIONS["Interpreters"] = [
    (
        ImportError,
        "xctx cannot be used in this interpreter: on this platform only the main interpreter can use it. …",
        "xctx is imported in another interpreter of the process, on macOS or Windows",
        imports_without_copies,
    ),
    (
        ImportError,
        "xctx cannot be used in this interpreter: the process has … copies of the compiled modules, and cannot load …",
        "xctx is imported in another interpreter, and the loader has no room left",
        loads_no_copy,
    ),
    (
        AttributeError,
        "xctx.concurrent has … from Python 3.14 on, and this is …",
        "``xctx.concurrent.InterpreterPoolExecutor``",
        lambda: xctx.concurrent.__getattr__("InterpreterPoolExecutor"),  # which 3.14 has
    ),
]

# Messages of the sources that the page leaves out, and why.
LEFT_OUT = {
    "module 'xctx' has no attribute …": "what every module says",
    "module … has no attribute …": "what every module says",
    "a unit of work has ended in which blocks were left open: …": "a warning that debug.track() asks for",
    "this block is entered already": "a block is not in reach of a program: the with statement has it",
    "xctx works with greenlet 2.0 or later, and this program has imported greenlet …": "an old greenlet",
    "the segments of … are not as expected": "a linker that xctx was not checked with",
    "no room for a fork handler": "no memory is left while xctx is imported",
    "a type that was to be given another __getattribute__ has none of its own": "a mistake in xctx itself",
    "a type that was to be given another __get__ has none of its own": "a mistake in xctx itself",
    "the mapping of a context has not the methods that xctx uses": "a CPython that xctx was not checked with",
    "this thread has no state to keep values in": "the interpreter has no memory for a dict, or is past its end",
    "maximum recursion depth exceeded…": "CPython's own, a little earlier",
}
if offers("SharedLock"):
    LEFT_OUT |= error_cases_lock.LEFT_OUT | error_cases_postgres.LEFT_OUT
LEFT_OUT |= error_cases_carry.LEFT_OUT | error_cases_tree.LEFT_OUT


def rows(cases):
    return [[f":class:`{kind.__name__}`", f"``{message}``", when] for kind, message, when, _ in cases]


if __name__ == "__main__":
    for section, cases in SECTIONS.items():
        print(f"{section}\n{'-' * len(section)}\n\n.. list-table::\n   :header-rows: 1\n   :widths: 16 50 34\n")
        for row in [["exception", "message", "when"], *rows(cases)]:
            print("   * - " + "\n     - ".join(row))
        print()
