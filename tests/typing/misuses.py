"""Mistakes that a checker must find: each such line names its error, and a checker reports a name without its error.

What only mypy finds, and only with the plugin xctx.mypy, is in declared_misuses.py.
"""

import xctx
from xctx.keys import Key, Unit


class Current(xctx.xlocal):
    request: str
    user: int | None = None


class Tagged(xctx.xlocal):
    tags: list[int] = xctx.field(default_factory=dict)  # type: ignore[arg-type]
    names: list[int] = xctx.field()  # type: ignore[call-arg]
    limit: int = xctx.field(default_factory=3)  # type: ignore[arg-type]


class Connection(xctx.local):
    retries: int = 3

    def __init__(self, host: str) -> None:
        self.host = host


current = Current()
anything = xctx.xlocal()


@current(request="/")
def function(number: int) -> str:
    return str(number)


# xlocal: names are bound by keyword, for a block, and have the types that are declared.


def reads() -> None:
    number: int = current.request  # type: ignore[assignment]
    certain: int = current.user  # type: ignore[assignment]
    with current(request="/") as entered:
        entered.request.no_such_method()  # type: ignore[attr-defined]
    print(number, certain)


def writes_and_bindings() -> None:
    anything.name = 1  # type: ignore[assignment]
    current("/")  # type: ignore[call-arg]
    anything(1)  # type: ignore[call-arg]


def scopes() -> None:
    with current:  # type: ignore[attr-defined]
        pass
    current(request="/")()  # type: ignore[call-arg]
    current(request="/")(1)  # type: ignore[arg-type]


def decorated() -> None:
    function("one")  # type: ignore[arg-type]
    function()  # type: ignore[call-arg]
    number: int = function(1)  # type: ignore[assignment]
    print(number)


# local: a class's own __init__ says what its constructor takes.


def constructors() -> None:
    Connection()  # type: ignore[call-arg]
    Connection(80)  # type: ignore[arg-type]
    Connection("localhost", key=xctx.keys.task)  # type: ignore[call-arg]
    xctx.local(1)  # type: ignore[arg-type, call-arg]
    xctx.local(size=1)  # type: ignore[call-arg]


def attributes() -> None:
    Connection("localhost").retries = "many"  # type: ignore[assignment]
    Connection("localhost").host = 80  # type: ignore[assignment]


# A batch has the type that its source makes.


def batches() -> None:
    xctx.BatchExecutor(len, 4)  # type: ignore[arg-type]
    xctx.BatchExecutor(str, "4")  # type: ignore[arg-type]
    number: int = xctx.BatchExecutor(str, 4).load()  # type: ignore[assignment]
    print(number)


# Locks: how they are acquired is said by name or by a block.


def locks() -> None:
    xctx.SharedLock(1)  # type: ignore[arg-type]
    xctx.SharedLock(key="task")  # type: ignore[arg-type]
    xctx.SharedLock().acquire(timeout="1")  # type: ignore[arg-type]
    number: int = xctx.SharedLock().mode  # type: ignore[assignment]
    print(number)


# Keys are callables of nothing that return a hashable; units are made by keys alone.


def keys() -> None:
    xctx.xlocal(key="greenlet")  # type: ignore[arg-type]
    xctx.local(key=dict)  # type: ignore[arg-type]
    Key(len)  # type: ignore[arg-type]
    Key(lambda: 1, name=2)  # type: ignore[arg-type]
    xctx.keys.greenlet.forget([])  # type: ignore[arg-type]
    xctx.keys.greenlet.name = "other"  # type: ignore[misc]
    xctx.keys.greenlet = xctx.keys.task  # type: ignore[misc]


class Unkeyed(xctx.local, key=1):  # type: ignore[arg-type]
    pass


def units(unit: Unit) -> None:
    Unit()  # type: ignore[call-arg]
    Unit(unit)  # type: ignore[arg-type]
    unit.alive = False  # type: ignore[misc]
    print(unit.kind == "fiber")  # type: ignore[comparison-overlap]
    unit.no_such_name  # type: ignore[attr-defined]
    xctx.keys.no_such_key  # type: ignore[attr-defined]


def units_of_work() -> None:
    xctx.work(1)  # type: ignore[call-arg]
    xctx.work()(1)  # type: ignore[arg-type]
    xctx.capture(xctx.keys.work)  # type: ignore[arg-type]


def private() -> None:
    xctx.Scope  # type: ignore[attr-defined]
    xctx.no_such_name  # type: ignore[attr-defined]
