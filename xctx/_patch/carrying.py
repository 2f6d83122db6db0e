"""Makes what starts threads or hands work to pools take along what is bound where that is done.

Methods are exchanged, not classes, so classes that extend these are reached as well, also those that exist already.
Where nothing is bound, what is handed over stays as it is.
The threads of a pool are started by whichever call finds too few of them, and serve all calls, so they take nothing
along.

Thread-safety: all of it.
"""

import functools
import sys
import threading
from collections.abc import Callable, Iterable
from contextvars import Context
from types import FrameType
from typing import Any

from xctx._carry.calls import Call
from xctx._carry.policy import Carrying
from xctx._carry.snapshot import Snapshot, binds_nothing, capture

# Threads that these start serve everybody: those of pools.
POOLS = ("concurrent.futures", "multiprocessing", "asyncio", "gevent", "anyio", "trio", "xctx._patch")

# Those that wrap `Thread.start` and `submit` for what they note themselves.
WRAPPERS = ("sentry_sdk.integrations", "opentelemetry.instrumentation", "ddtrace", "newrelic", "wrapt")

# Modules that hand work over for others: the caller is the first module on the stack that is none of these.
MACHINERY = ("threading", *POOLS, *WRAPPERS)


class Policy:
    """Which callers take along what is bound.

    Args:
        allow: names of modules and packages that do, and no others; or None.
        deny: names of modules and packages that do not.

    Thread-safety: never changes.
    """

    __slots__ = ("allow", "deny")

    def __init__(self, allow: Iterable[str] | None, deny: Iterable[str]) -> None:
        self.allow = None if allow is None else names_in("allow", allow)
        self.deny = names_in("deny", deny)
        if self.allow is not None and self.deny:
            raise ValueError(f"allow and deny cannot both be given, they were {self.allow!r} and {self.deny!r}")

    def takes(self, module: str) -> bool:
        return not is_in(module, self.deny) if self.allow is None else is_in(module, self.allow)


def names_in(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"{argument} is names of modules, not one string: {names!r}")
    given = tuple(names)
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"{argument} is names of modules, not {name!r}")
    return given


def is_in(module: str, names: Iterable[str]) -> bool:
    """Whether a module is one of these, or in a package that is."""
    return any(module == name or module.startswith(name + ".") for name in names)


policies: tuple[Policy, ...] = ()  # replaced as a whole, under the lock of parts.py


class Taken(Call[Any]):
    """A callable with what was seen where it was handed over. It runs in the context of the code that calls it.

    The program does not know of this: context variables that the callable sets stay set, as they would without it.
    """

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self.snapshot is None:
            return self.__wrapped__(*args, **kwargs)
        return self.snapshot.run(self.__wrapped__, *args, **kwargs)


def caller() -> str | None:
    """The module that hands work over: None where a pool starts a thread for work of others."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if isinstance(module, str) and not is_in(module, MACHINERY):
            return module
        frame = frame.f_back
    return None


def seen_here() -> Snapshot | None:
    """What is seen now, or None where nothing is bound. Asked first, because looking for the caller costs more."""
    snapshot = capture()
    return None if binds_nothing(snapshot) else snapshot


def take_along(function: Callable[..., Any], snapshot: Snapshot, module: str | None) -> Callable[..., Any]:
    """A function with what is seen now, if the module takes that along."""
    if module is None or isinstance(function, Call) or not callable(function):
        return function
    if not any(policy.takes(module) for policy in policies):
        return function
    if isinstance(function, functools.partial) and function.args:
        run: Callable[..., Any] = function.func
        if isinstance(getattr(run, "__self__", None), Context):
            # asyncio.to_thread: it has to be bound in the context that goes along.
            what, *rest = function.args
            return functools.partial(run, take_along(what, snapshot, module), *rest, **function.keywords)
    return Taken(snapshot, function)


# --- what methods become ---------------------------------------------------------------------------------------------


def starting(start: Callable[..., Any]) -> Callable[..., Any]:
    """``Thread.start``, of a thread that then runs with what is seen here."""

    @functools.wraps(start)
    def started(self: Any, *args: Any, **kwargs: Any) -> Any:
        snapshot = seen_here()
        if snapshot is None:
            return start(self, *args, **kwargs)
        below = sys._getframe().f_back
        by = None if below is None else below.f_globals.get("__name__")
        given = getattr(self, "_context", None) is not None  # from 3.14 on, a context to run in
        if given or not isinstance(by, str) or is_in(by, POOLS):
            return start(self, *args, **kwargs)
        if isinstance(self, Carrying):  # of xctx.concurrent: it decides itself what goes along
            return start(self, *args, **kwargs)
        run = take_along(self.run, snapshot, caller())
        if not isinstance(run, Taken):
            return start(self, *args, **kwargs)
        kept = [run]
        own = vars(self).get("run")  # others may have wrapped it

        def back(thread: Any) -> None:
            """Takes `once` off the thread, unless others have wrapped that."""
            if vars(thread).get("run") is not once:
                return
            if own is None:
                del vars(thread)["run"]
            else:
                vars(thread)["run"] = own

        def once(*_: Any) -> Any:  # others may take it for the function of a method, and give it the thread
            thread = threading.current_thread()  # not `self`: the thread would hold itself
            back(thread)
            return kept.pop()() if kept else type(thread).run(thread)

        vars(self)["run"] = once
        try:
            return start(self, *args, **kwargs)
        except BaseException:
            back(self)
            raise

    return started


def handing_over(method: Callable[..., Any], place: int = 1) -> Callable[..., Any]:
    """A method or function that hands over a function, which is its argument in that place."""

    @functools.wraps(method)
    def handed(*args: Any, **kwargs: Any) -> Any:
        snapshot = seen_here()
        if snapshot is None:
            return method(*args, **kwargs)
        if len(args) > place:
            taken = take_along(args[place], snapshot, caller())
            args = (*args[:place], taken, *args[place + 1 :])
        elif "func" in kwargs:
            kwargs["func"] = take_along(kwargs["func"], snapshot, caller())
        return method(*args, **kwargs)

    return handed


MAPPING = ("apply_async", "apply", "map", "map_async", "imap", "imap_unordered")

# By module: its class, or None for its functions; the names; and what each becomes.
METHODS: dict[str, list[tuple[str | None, tuple[str, ...], Callable[..., Any]]]] = {
    "threading": [("Thread", ("start",), starting)],
    "concurrent.futures.thread": [("ThreadPoolExecutor", ("submit",), handing_over)],
    "multiprocessing.pool": [("ThreadPool", (*MAPPING, "starmap", "starmap_async"), handing_over)],
    "gevent.pool": [("Group", ("spawn", *MAPPING), handing_over), ("Pool", MAPPING, handing_over)],
    "gevent.threadpool": [
        ("ThreadPool", ("spawn", *MAPPING), handing_over),
        ("ThreadPoolExecutor", ("submit",), handing_over),
    ],
    "gevent": [
        (None, ("spawn",), functools.partial(handing_over, place=0)),
        (None, ("spawn_later",), handing_over),
        (None, ("spawn_raw",), functools.partial(handing_over, place=0)),
    ],
}
