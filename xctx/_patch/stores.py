"""Stand-ins for the stores of other libraries.

Each original has a class of its own, so that undoing a patch tells them apart, and tells them from
:class:`xctx.local`, which programs import. Each has the module and the name of its original: what was pickled by that
name is found by it, on either side.
"""

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FunctionType
from typing import Any

from xctx._core import context, flow, greenlet, thread
from xctx._patch.restoring import Restorer
from xctx._patch.thread_store import ThreadStore
from xctx._stores.inspection import stores_of
from xctx._stores.local import local

# --- threads and greenlets -------------------------------------------------------------------------------------------


def for_threads(original: type) -> type:
    """Of ``threading.local``: all greenlets of a thread share its attributes, unless gevent has patched it."""
    return _named(type("local", (local,), {"__slots__": (), "__doc__": original.__doc__}, key=thread), original)


def for_greenlets(original: type) -> type:
    """Of ``gevent.local.local``."""
    return _named(type("local", (local,), {"__slots__": (), "__doc__": original.__doc__}, key=greenlet), original)


def dicts_of_greenlet(original: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    """Of ``gevent.local.all_local_dicts_for_greenlet``, by which gevent's dumps show what a greenlet holds."""

    @functools.wraps(original)
    def all_local_dicts_for_greenlet(greenlet_: Any) -> list[Any]:
        found = list(original(greenlet_))
        unit = greenlet.of(greenlet_)
        for store, names in [] if unit is None else stores_of(unit):
            found.append(((type(store), id(store)), dict(names)))
        return found

    return all_local_dicts_for_greenlet


def _named(made: type, original: type) -> type:
    public = {
        ("_thread", "_local"): ("threading", "local"),
        ("gevent._gevent_clocal", "local"): ("gevent.local", "local"),
    }
    module, name = original.__module__, original.__qualname__
    made.__module__, made.__qualname__ = public.get((module, name), (module, name))
    made.__name__ = made.__qualname__.rpartition(".")[2]
    return made


# --- werkzeug --------------------------------------------------------------------------------------------------------


def for_werkzeug(original: type) -> type:
    """Of ``werkzeug.local.Local``. What was made by the original passes for an object of it, as does any xctx.local."""

    class Asked(type):
        def __instancecheck__(cls, obj: object) -> bool:
            # By this, werkzeug decides what a LocalManager and a LocalProxy do with an object.
            return type.__instancecheck__(cls, obj) or (cls is Local and isinstance(obj, (original, local)))

    class Local(local, key=context, metaclass=Asked):
        __doc__ = original.__doc__
        __slots__ = ()

        def __iter__(self) -> Iterator[tuple[str, Any]]:
            return iter(list(vars(self).items()))

        def __call__(self, name: str, *, unbound_message: str | None = None) -> Any:
            from werkzeug.local import LocalProxy

            proxy: Any = LocalProxy
            return proxy(self, name, unbound_message=unbound_message)

    return _named(Local, original)


# --- asgiref ---------------------------------------------------------------------------------------------------------


def for_asgiref(original: type) -> type:
    """Of ``asgiref.local.Local``: each context has its own attributes; outside of event loops, if it is
    thread-critical, each thread."""
    from asyncio import _get_running_loop  # asgiref has imported it

    # asgiref shows a new thread nothing of a context that the thread only inherited.
    inherits = getattr(sys.flags, "thread_inherit_context", False)

    class Local(local, key=flow if inherits else context):
        __doc__ = original.__doc__
        __slots__ = ()

        def __new__(cls, thread_critical: bool = False, **kwargs: Any) -> Any:
            if thread_critical:
                return _ThreadCritical.__new__(_ThreadCritical)
            return local.__new__(cls, **kwargs)

    class _ThreadCritical(Local):
        """A store in which code outside of event loops sees its thread's attributes, and tasks see their context's.

        Lifetime: what tasks see is kept for their thread as well as in their context. No other thread sees it.
        """

        __slots__ = ("_threads",)
        _threads: Any

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            made = local.__new__(cls)
            object.__getattribute__(cls, "_threads").__set__(made, local())
            return made

        def __getattribute__(self, name: str) -> Any:
            if name.startswith("__") and name != "__dict__":
                return super().__getattribute__(name)
            return getattr(_store_here(self), name)

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(_store_here(self), name, value)

        def __delattr__(self, name: str) -> None:
            delattr(_store_here(self), name)

        def __copy__(self) -> Any:
            made = type(self).__new__(type(self))
            vars(_store_here(made)).update(vars(_store_here(self)))
            return made

        def __release_local__(self) -> None:
            vars(_store_here(self)).clear()

    slot = vars(_ThreadCritical)["_threads"]

    def _store_here(store: Any) -> Any:
        threads = slot.__get__(store)
        if _get_running_loop() is None:
            return threads
        names = vars(threads)
        if TASKS not in names:
            names[TASKS] = local(key=context)
        return names[TASKS]

    return _named(Local, original)


# What the code of asgiref's own function names, up to 3.11 and from 3.12 on.
RESTORING = ({"get", "set", "LookupError"}, {"get", "set", "LookupError", "isinstance", "_Storage", "_rehome"})


def restoring(original: Callable[..., Any], names: dict[str, Any]) -> Callable[..., Any] | None:
    """Of ``asgiref.sync._restore_context``, or None where that looks otherwise than asgiref 3.5 to 3.13 make it.

    Args:
        original: asgiref's.
        names: those of its module.
    """
    if not isinstance(original, FunctionType):
        return None
    code = original.__code__
    if code.co_argcount != 1 or set(code.co_names) not in RESTORING:
        return None
    import dis  # asgiref has imported it

    made = Restorer(
        storage=names.get("_Storage"),
        transfer=names.get("_rehome"),
        threading=threading,
        by_identity=any(each.opname == "IS_OP" for each in dis.get_instructions(code)),
    )
    restore: Callable[..., Any] = made._restore_context
    return restore


def for_executors(original: Any, names: dict[str, Any]) -> Any:
    """Of the store by which ``async_to_sync`` finds its thread: an object that reads and sets the same in C.

    The store itself where asgiref keeps it otherwise than 3.12 and 3.13 do.

    Args:
        original: asgiref's store.
        names: those of asgiref's module.
    """
    storage: Any = names.get("_Storage")
    try:
        variable = vars(vars(original)["_storage"])["_data"]
        known = isinstance(variable, ContextVar) and storage.__slots__ == ("thread_id", "data")
    except (AttributeError, KeyError, TypeError):
        return original
    return ThreadStore(variable=variable, storage=storage, threading=threading) if known else original


TASKS = "xctx: for tasks"  # no name of an attribute, so no program can have it
