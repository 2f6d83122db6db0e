"""Threads, processes, executors and tasks that take bindings along.

Each is used in place of the class or function of the same name in :mod:`threading`, :mod:`concurrent.futures`,
:mod:`multiprocessing` or :mod:`asyncio`. It takes along what its caller sees in all xlocals at the moment when work is
handed over: at ``submit``, ``start``, ``map`` or the like, never in the worker. `bindings` says how:

``"copy"``
    The work sees, from its beginning to its end, what the caller sees at that moment. It runs in a context of its own,
    so nothing that it sets reaches the caller, nor work that runs later in the same worker. The default.
``"share"``
    The work runs in the caller's own context. Caller and work see the context variables that the other sets, and the
    bindings under a key by which both are the same unit, or that follows the context. Under other keys the work sees
    what the caller saw at that moment. This is for tasks (and greenlets, see :mod:`xctx.gevent`), which take turns.
    Threads and processes run at the same time and cannot be in one context, so this is a ValueError for them.
``"empty"``
    The work sees nothing: it runs in a context of its own, which is empty.

With ``work="same"``, the default, the work is in the unit of work of its caller (:class:`xctx.work`), unless it starts
empty; with ``work="new"``, each call is a unit of work of its own. `contextvars` are context variables whose values
come along in a copy. Tasks and :func:`to_thread` copy all of them, as asyncio does. What goes to another process is
pickled, and what goes to another interpreter is shared where interpreters can, and else pickled: `missing` says what
becomes of values that cannot go, as for :func:`xctx.capture`.

With ``xlocals=[current, ...]`` only these xlocals come along, and none with an empty list; work sees nothing in any
other. This goes together with ``bindings="copy"`` alone: what shares a context shares all of it.

Callbacks take along what is seen where they are added: those of a future, as with futures of asyncio, and `callback`
and `error_callback` of a pool. An `initializer` takes along what is seen where its executor or pool is made, which then
keeps those values for as long as it starts workers; where these are not forked, that is pickled too. Both run in
contexts of their own, and both see nothing with ``bindings="empty"``. A callback that is added to a future that is done
already is called at once, by the code that adds it.

Raises: a ValueError where one of these arguments has another value than these, and a TypeError where `contextvars` are
no context variables, or `xlocals` no xlocals; besides, what the class or function of the standard library raises.

Thread-safety: as the class or function that each extends.
"""

import asyncio
import concurrent.futures
import contextvars as pep567
import functools
import multiprocessing
import multiprocessing.pool
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from xctx._carry.coroutine import CarriedCoroutine
from xctx._carry.policy import (
    INTERPRETERS,
    THREADS,
    Bindings,
    Carrying,
    CarryingToProcesses,
    CarryPolicy,
    Missing,
    Work,
    take_along,
    with_bound_callbacks,
)
from xctx._carry.snapshot import capture, copy_context, current_context
from xctx._stores.xlocal import xlocal

__all__ = [
    "CarryingExecutor",
    "Pool",
    "Process",
    "ProcessPoolExecutor",
    "TaskGroup",
    "Thread",
    "ThreadPoolExecutor",
    "create_task",
    "run_in_executor",
    "to_thread",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")


# --- executors -------------------------------------------------------------------------------------------------------


@take_along("submit")
class ThreadPoolExecutor(Carrying, concurrent.futures.ThreadPoolExecutor):
    """A :class:`concurrent.futures.ThreadPoolExecutor` that takes bindings along at ``submit`` and ``map``.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along. Default: all.
        args, kwargs: as for the class that it extends.
    """

    _initializer_place = 2


@take_along("submit")
class ProcessPoolExecutor(CarryingToProcesses, concurrent.futures.ProcessPoolExecutor):
    """A :class:`concurrent.futures.ProcessPoolExecutor` that takes bindings along at ``submit`` and ``map``.

    If a value cannot be pickled, or the worker has no xlocal of that name, the future has the error.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        missing: ``"error"`` or ``"skip"``.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along. Default: all.
        args, kwargs: as for the class that it extends.
    """

    _initializer_place = 2


if sys.version_info >= (3, 14):

    @take_along("submit")
    class InterpreterPoolExecutor(CarryingToProcesses, concurrent.futures.InterpreterPoolExecutor):
        """A :class:`concurrent.futures.InterpreterPoolExecutor` that takes bindings along at ``submit`` and ``map``.

        What interpreters can share is shared, and the rest is pickled. If a value can go neither way, or the worker has
        no xlocal of that name, the future has the error.

        Args:
            bindings: ``"copy"`` or ``"empty"``.
            contextvars: context variables that come along.
            missing: ``"error"`` or ``"skip"``.
            work: ``"same"`` or ``"new"``.
            xlocals: those that come along. Default: all.
            args, kwargs: as for the class that it extends.
        """

        _initializer_place = 2
        _never_shared = INTERPRETERS

    __all__ += ["InterpreterPoolExecutor"]


if not TYPE_CHECKING:  # or type checkers would take any name

    def __getattr__(name):
        if name == "InterpreterPoolExecutor":
            raise AttributeError(
                f"xctx.concurrent has {name} from Python 3.14 on, and this is {sys.version.split()[0]}"
            )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class CarryingExecutor(concurrent.futures.Executor):
    """Any other executor, with bindings taken along at ``submit`` and ``map``.

    Args:
        executor: runs the work. Shutting this down shuts down `executor`.
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        missing: ``"error"`` or ``"skip"``, for an executor of processes.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along. Default: all.
    """

    def __init__(
        self,
        executor: concurrent.futures.Executor,
        *,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        missing: Missing = "error",
        work: Work = "same",
        xlocals: Iterable[xlocal] | None = None,
    ) -> None:
        self._executor = executor
        why = "an executor may run the work at the same time"
        self._policy = CarryPolicy(bindings, contextvars, missing, work=work, never_shared=why, xlocals=xlocals)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> concurrent.futures.Future[_T]:
        """Schedules ``fn(*args, **kwargs)``, to run with what is seen now. Returns the future of `executor`.

        Callbacks run with what is seen where they are added if it is a ``concurrent.futures.Future``.
        """
        future = self._executor.submit(self._policy.call(fn), *args, **kwargs)
        if isinstance(future, concurrent.futures.Future):
            with_bound_callbacks(future, self._policy)
        return future

    def map(self, fn: Callable[..., _T], *iterables: Iterable[Any], **kwargs: Any) -> Iterator[_T]:
        """Maps as `executor` does, with what is seen now. Arguments and result are those of ``executor.map``."""
        return self._executor.map(self._policy.call(fn), *iterables, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shuts down `executor`, with the same arguments."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


# --- threads and processes -------------------------------------------------------------------------------------------


def _carried_run(run: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wraps a method `run` so that it runs with what `start` took along; a base class's, which it calls, just runs."""

    @functools.wraps(run)
    def carried(self: Any) -> None:
        call, self._call = self._call, None
        if call is None:
            run(self)
        else:
            call(run, self)

    return carried


def _enter(func: Callable[..., _T], *args: Any) -> _T:
    return func(*args)


class _Runs:
    """What `Thread` and `Process` have in common: the method `run` runs with what `start` took along."""

    _call: Callable[..., None] | None = None  # what `start` took along, until `run` is called

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        run = vars(cls).get("run")
        if run is not None:
            cls.run = _carried_run(run)  # type: ignore[method-assign]

    @_carried_run
    def run(self) -> None:
        super().run()  # type: ignore[misc]


class Thread(_Runs, Carrying, threading.Thread):
    """A :class:`threading.Thread` that takes bindings along at ``start``. Subclasses may have a ``run`` of their own.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along. Default: all.
        args, kwargs: as for the class that it extends.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._has_context = kwargs.get("context") is not None  # from 3.14 on a thread may be given one
        super().__init__(*args, **kwargs)

    def start(self) -> None:
        """Starts the thread, with what is seen now."""
        snapshot = self._policy.take() if self._has_context else None
        self._call = self._policy.call(_enter) if snapshot is None else snapshot(self._policy.in_work(_enter))
        try:
            super().start()
        except BaseException:
            self._call = None
            raise


class Process(_Runs, CarryingToProcesses, multiprocessing.Process):
    """A :class:`multiprocessing.Process` that takes bindings along at ``start``.

    Subclasses may have a ``run`` of their own. It uses the default start method of the program. With another start
    method, carry the target yourself: ``multiprocessing.get_context(...).Process(target=xctx.carry(f))``.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        missing: ``"error"`` or ``"skip"``. Nothing is pickled where the process is forked.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along. Default: all.
        args, kwargs: as for the class that it extends.
    """

    def start(self) -> None:
        """Starts the process, with what is seen now."""
        policy = vars(self).pop("_policy")  # this object is pickled, but a policy cannot always be
        self._call = policy.call(_enter)
        try:
            super().start()
        finally:
            self._call = None
            self._policy = policy


@take_along("apply_async", "map", "map_async", "starmap", "starmap_async", "imap", "imap_unordered")
class Pool(CarryingToProcesses, multiprocessing.pool.Pool):
    """A :class:`multiprocessing.pool.Pool` that takes bindings along with each call.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        missing: ``"error"`` or ``"skip"``.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along. Default: all.
        args, kwargs: as for the class that it extends; ``context=multiprocessing.get_context("spawn")`` says how
            processes are started.
    """

    _initializer_place = 1
    _state = "INIT"  # __del__ reads this, even if the constructor raises before the base class has set it


# --- asyncio ---------------------------------------------------------------------------------------------------------


def _task(
    coro: Coroutine[Any, Any, _T], bindings: Bindings, context: pep567.Context | None
) -> tuple[Coroutine[Any, Any, _T], pep567.Context]:
    """The coroutine and the context to make a task of."""
    if not asyncio.iscoroutine(coro):
        raise TypeError(f"a coroutine was expected, got {coro!r}")
    CarryPolicy(bindings)
    if bindings == "empty":
        return coro, pep567.Context() if context is None else context
    if context is None:
        context = current_context() if bindings == "share" else copy_context()
    return CarriedCoroutine(capture(), coro), context


def create_task(
    coro: Coroutine[Any, Any, _T],
    *,
    name: str | None = None,
    context: pep567.Context | None = None,
    bindings: Bindings = "copy",
) -> asyncio.Task[_T]:
    """As :func:`asyncio.create_task`, with what is seen now, also in xlocals with the key ``task``.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``.
        coro, name, context: as for the function that it extends.

    Returns:
        The task.

    Raises:
        TypeError: `coro` is no coroutine.
        ValueError: `bindings` is none of these.
    """
    coro, context = _task(coro, bindings, context)
    return asyncio.create_task(coro, name=name, context=context)


class TaskGroup(asyncio.TaskGroup):
    """An :class:`asyncio.TaskGroup` whose tasks take bindings along."""

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, _T],
        *,
        name: str | None = None,
        context: pep567.Context | None = None,
        bindings: Bindings = "copy",
        **kwargs: Any,
    ) -> asyncio.Task[_T]:
        """As ``asyncio.TaskGroup.create_task``, with `bindings` as for :func:`create_task`."""
        coro, context = _task(coro, bindings, context)
        return super().create_task(coro, name=name, context=context, **kwargs)


async def to_thread(func: Callable[..., _T], /, *args: Any, bindings: Bindings = "copy", **kwargs: Any) -> _T:
    """As :func:`asyncio.to_thread`, with what is seen now in all xlocals.

    Args:
        bindings: ``"copy"`` or ``"empty"``. It is not passed to `func`.
        func, args, kwargs: as for the function that it extends.

    Returns:
        What `func` returns.

    Raises:
        ValueError: `bindings` is neither of these. Otherwise, what `func` raises.
    """
    policy = CarryPolicy(bindings, never_shared=THREADS)
    loop = asyncio.get_running_loop()
    if bindings == "empty":
        return await loop.run_in_executor(None, functools.partial(policy.call(func), *args, **kwargs))
    context, snapshot = copy_context(), capture()
    return await loop.run_in_executor(None, functools.partial(context.run, snapshot.run, func, *args, **kwargs))


def run_in_executor(
    executor: concurrent.futures.Executor | None,
    func: Callable[..., _T],
    *args: Any,
    bindings: Bindings = "copy",
    contextvars: Iterable[pep567.ContextVar[Any]] = (),
    missing: Missing = "error",
    xlocals: Iterable[xlocal] | None = None,
) -> asyncio.Future[_T]:
    """As ``run_in_executor`` of the running loop, with what is seen now in all xlocals.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        missing: ``"error"`` or ``"skip"``, for an executor of processes.
        xlocals: those that come along. Default: all.
        executor, func, args: as for the method that it extends.

    Returns:
        A future of the running loop.

    Raises:
        RuntimeError: no event loop runs in this thread.
        ValueError: `bindings` or `missing` is none of these, or `xlocals` are given and `bindings` is ``"empty"``.
        TypeError: `xlocals` are no xlocals, or `contextvars` no context variables.
    """
    policy = CarryPolicy(bindings, contextvars, missing, never_shared=THREADS, xlocals=xlocals)
    return asyncio.get_running_loop().run_in_executor(executor, policy.call(func), *args)
