"""How a tree of who is running is made, from one look at this process.

No lock is held while code of the program runs: everything is gathered first, and described afterwards.
"""

import os
import platform
import reprlib
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any, TypeVar

from xctx import _core
from xctx._core import Unit
from xctx._lock.lock import SharedLock, serial_of
from xctx._runtime import copies
from xctx._stores.inspection import stores_of, units_of
from xctx._stores.local import local
from xctx._stores.works import UnitOfWork
from xctx._stores.xlocal import xlocal
from xctx._tree import gathering
from xctx._tree.nodes import LockState, Named, Names, Node, Tree

T = TypeVar("T")

LONGEST = 200  # characters of a value's repr that are shown


def tree(*, values: bool = False, without: int | None = None) -> Tree:
    """Who is running in this process.

    Args:
        values: show values, and not only names and types.
        without: the ident of a thread to be left out: the one that looks.
    """
    return Growing(values, without).tree()


class Growing:
    """One tree, while it is made.

    Thread-safety: used by one thread.
    Lifetime: it holds what it looks at (tasks, greenlets, contexts, stores) until the tree is made.
    """

    def __init__(self, values: bool, without: int | None) -> None:
        self.with_values = values
        self.task_types = tuple(filter(None, (_loaded("asyncio.tasks", "Task"), _loaded("asyncio.tasks", "_PyTask"))))
        self.trio_task: type | None = _loaded("trio.lowlevel", "Task")
        self.greenlet: Any = _loaded("greenlet", "greenlet")
        wanted = (*self.task_types, local, SharedLock, UnitOfWork)
        threads, contexts, self.things = gathering.look(
            wanted if self.trio_task is None else (*wanted, self.trio_task), self.greenlet
        )
        self.oldest = threads[-1][0]
        self.threads = [each for each in threads if each[0] != without]
        self.contexts = [each for each in contexts if each[1] is not None]
        self.mapped = {id(context): mapping for context, mapping in self.contexts}
        self.used: set[int] = set()  # the ids of the contexts in which something runs
        self.process = _core.process.of(None)
        self.labels, self.locks, self.variables = {}, {}, {}  # type: dict[int, str], dict[int, str], dict[int, local]
        self.name_stores()
        self.units = {ident: _core.thread.of(ident) for ident, _, _ in self.threads}
        self.by_state = {state: ident for ident, state, _ in self.threads}

    # --- what things are called --------------------------------------------------------------------------------------

    def name_stores(self) -> None:
        """Finds stores and locks among the globals of modules, to call them by these names."""
        for name, module in list(sys.modules.items()):
            # Not vars(): anything may be in sys.modules, and a module that loads itself at its first use is left alone.
            found = getattr(module, "__dict__", None)
            for attribute, thing in list(found.items()) if type(found) is dict else ():
                if issubclass(type(thing), (local, xlocal, SharedLock)) and isinstance(attribute, str):
                    self.note(thing, f"{name}.{attribute}")
        for thing, _ in self.things:
            if issubclass(type(thing), (local, SharedLock)):
                self.note(thing, f"{_type_of(thing)} at {id(thing):#x}")

    def note(self, thing: Any, label: str) -> None:
        self.labels.setdefault(id(thing), label)
        if issubclass(type(thing), SharedLock):
            self.locks.setdefault(serial_of(thing), label)
        elif issubclass(type(thing), local) and (variable := gathering.variable_of(thing)) is not None:
            self.variables.setdefault(id(variable), thing)

    def names(self, store: Any, key: str, names: dict[str, Any]) -> Names:
        label = self.labels.get(id(store)) or f"{_type_of(store)} at {id(store):#x}"
        found = [Named(name, _type_of(value), self.shown(value)) for name, value in names.items()]
        return Names(label, key, tuple(found))

    def shown(self, value: object) -> str | None:
        return shown(value) if self.with_values else None

    # --- what units have ---------------------------------------------------------------------------------------------

    def kept(self, unit: Unit | None) -> tuple[tuple[Names, ...], tuple[LockState, ...]]:
        """What locals keep for a unit, and its locks."""
        found, locks = [], []
        for store, names in () if unit is None else stores_of(unit):
            for thing in list(names.values()):
                if (lock := gathering.lock_of(thing)) is not None:
                    locks += self.lock(*lock)
                    break
                if gathering.is_row(thing):
                    break
            else:
                if names:
                    found.append(self.names(store, gathering.key_of(store).name, names))
        return tuple(found), tuple(locks)

    def lock(
        self,
        serial: int,
        path: str | None,
        held: str | None,
        count: int,
        held_for: float | None,
        wanted: str | None,
        waits_for: float | None,
    ) -> list[LockState]:
        if held is None and wanted is None:
            return []
        name = path or self.locks.get(serial) or f"a lock without a name (number {serial})"
        return [LockState(name, held, count, held_for, wanted, waits_for)]

    def node(
        self,
        kind: str,
        name: str,
        ident: int,
        unit: Unit | None = None,
        around: Iterable[Unit | None] = (),
        context: Context | None = None,
        children: Iterable[Node] = (),
    ) -> Node:
        """Describes one thing that runs.

        Args:
            unit: its own, if it has one by now.
            around: the units that it runs in besides: that of its thread, of its greenlet.
            context: the one that it runs in.
        """
        kept, locks = self.kept(unit)
        works: list[Unit] = []
        bound: list[Names] = []
        mapping = self.mapped.get(id(context))
        if context is not None and mapping is not None:
            self.used.add(id(context))
            chains, in_context = gathering.entries_of(mapping, context)
            works = gathering.works_in(chains)
            units = {each for each in (unit, self.process, *around, *works) if each is not None}
            for each, key, names in gathering.bound_in(chains, units):
                bound.append(self.names(each, key.name, names))
            for variable, names in in_context:
                store = self.variables.get(id(variable))
                if names and store is not None:
                    kept += (self.names(store, gathering.key_of(store).name, names),)
        open_works = tuple(_hex(gathering.address_of(each)) for each in works)
        return Node(
            kind, name, _hex(ident), open_works, tuple(sorted(bound)), tuple(sorted(kept)), locks, tuple(children)
        )

    # --- the tree ----------------------------------------------------------------------------------------------------

    def tree(self) -> Tree:
        beneath: dict[int | None, list[Node]] = {}  # by the ident of its thread what runs there; None: unknown
        mains = self.grow_greenlets(beneath)
        self.grow_tasks(beneath)
        nodes = [self.thread(*each, mains, beneath) for each in reversed(self.threads)]
        nodes += [node for ident, found in beneath.items() if ident not in self.by_state.values() for node in found]
        nodes += self.works()
        nodes += self.values()
        nodes += self.rest()
        about = f"{platform.python_implementation()} {platform.python_version()}"
        interpreter = copies.interpreter()
        name = f"{os.getpid()}, interpreter {interpreter}" if interpreter else f"{os.getpid()}"
        root = self.node("process", name, os.getpid(), self.process, children=nodes)
        return Tree(os.getpid(), _program(), about, time.strftime("%Y-%m-%d %H:%M:%S"), root, interpreter)

    def thread(
        self,
        ident: int,
        _state: int,
        context: Context | None,
        mains: dict[int, Context | None],
        beneath: dict[int | None, list[Node]],
    ) -> Node:
        known = getattr(threading, "_active", {}).get(ident)  # not enumerate(), whose lock gevent may have replaced
        name = _said(lambda: known.name) if known is not None else None
        if name is None:
            name = "MainThread" if ident == self.oldest else f"{ident:#x}"
        if ident in mains:
            context = mains[ident]
        elif id(context) in self.used:  # of the task that runs here
            context = None
        return self.node("thread", name, ident, self.units[ident], (), context, beneath.get(ident, ()))

    def grow_greenlets(self, beneath: dict[int | None, list[Node]]) -> dict[int, Context | None]:
        """Puts greenlets under those that they return to, and gives the contexts of main greenlets that are
        suspended."""
        if self.greenlet is None:
            return {}
        found = [(thing, context) for thing, context in self.things if issubclass(type(thing), self.greenlet)]
        alive = {id(thing): (thing, context) for thing, context in found if self.greenlet.__bool__(thing)}
        for thing, _ in [*alive.values()]:
            # A parent is missing if the program has frozen it: gc.freeze().
            parent = thing.parent
            while parent is not None and id(parent) not in alive:
                alive[id(parent)] = (parent, None)
                parent = parent.parent
        idents = self.idents_of({id(thing): thing for thing, _ in alive.values()})
        children: dict[int, list[Any]] = {}
        for thing, _ in alive.values():
            if thing.parent is not None:
                children.setdefault(id(thing.parent), []).append(thing)
        mains: dict[int, Context | None] = {}

        def grown(thing: Any, ident: int | None) -> Node:
            context = alive[id(thing)][1]
            if context is None and thing.gr_frame is None:  # it runs
                context = next((each for number, _, each in self.threads if number == ident), None)
            unit = _core.greenlet.of(thing)
            name = _said(lambda: thing.name) if hasattr(type(thing), "name") else None
            of_thread = [] if ident is None else [self.units.get(ident)]
            return self.node(
                "greenlet",
                f"{_type_of(thing)} {name or _hex(id(thing))}",
                id(thing),
                unit if unit is not None and unit.kind == "greenlet" else None,
                of_thread,
                context,
                [grown(each, ident) for each in children.get(id(thing), ())],
            )

        for thing, context in alive.values():
            if thing.parent is None:
                ident = idents.get(id(thing))
                nodes = [grown(each, ident) for each in children.get(id(thing), ())]
                beneath.setdefault(ident, []).extend(nodes)
                if ident is not None and (nodes or context is not None) and thing.gr_frame is not None:
                    mains[ident] = context
                elif ident is not None and nodes:
                    current = next((each for number, _, each in self.threads if number == ident), None)
                    mains[ident] = current
        return mains

    def idents_of(self, greenlets: dict[int, Any]) -> dict[int, int]:
        """The idents of main greenlets' threads, by the greenlet's id, as far as greenlet and gevent show them."""
        hub: type | None = _loaded("gevent.hub", "Hub")
        idents: dict[int, int] = {}
        for each in greenlets.values():
            main = each
            while main.parent is not None:
                main = main.parent
            unit = _core.greenlet.of(each)
            if unit is not None and gathering.thread_state_of(unit) in self.by_state:
                idents[id(main)] = self.by_state[gathering.thread_state_of(unit)]
            elif hub is not None and issubclass(type(each), hub) and each.thread_ident in self.units:
                idents.setdefault(id(main), each.thread_ident)
            elif len(self.threads) == 1:
                idents.setdefault(id(main), self.threads[0][0])
        return idents

    def grow_tasks(self, beneath: dict[int | None, list[Node]]) -> None:
        loops: dict[int, tuple[Any, list[Node]]] = {}
        for thing, _ in self.things:
            if issubclass(type(thing), self.task_types):
                loop = _said(thing.get_loop)
                # A task gets its name last. Before, asking it for its coroutine or context would crash the interpreter.
                if loop is None or _said(thing.get_name) is None or thing.done():
                    continue
                ident = getattr(loop, "_thread_id", None)
                node = self.task(thing, self.context_of(thing), self.name_of_task(thing), ident)
                loops.setdefault(id(loop), (loop, []))[1].append(node)
            elif (
                self.trio_task is not None
                and issubclass(type(thing), self.trio_task)
                and getattr(thing.coro, "cr_frame", None) is not None
            ):
                beneath.setdefault(None, []).append(self.task(thing, thing.context, str(thing.name), None))
        for loop, nodes in loops.values():
            running = getattr(loop, "_thread_id", None)
            node = self.node("loop", _type_of(loop), id(loop), children=nodes)
            beneath.setdefault(running, []).append(node)

    def task(self, thing: Any, context: Context | None, name: str, ident: int | None) -> Node:
        unit = _core.task.of(thing)
        own = unit if unit is not None and unit.kind == "task" else None
        return self.node("task", name, id(thing), own, [self.units.get(ident or 0)], context)

    def context_of(self, task: Any) -> Context | None:
        if hasattr(task, "get_context"):
            return _said(task.get_context)
        import gc  # 3.11 has no method for it: the task's own comes first

        return next((each for each in gc.get_referents(task) if type(each) is Context), None)

    def name_of_task(self, task: Any) -> str:
        coroutine = _said(task.get_coro)
        of = getattr(coroutine, "__qualname__", None)
        return str(_said(task.get_name)) + (f" ({of})" if isinstance(of, str) else "")

    def works(self) -> list[Node]:
        """The units of work that are open, each under the one around it."""
        inside: dict[Unit | None, list[Unit]] = {}
        for thing, _ in self.things:
            if type(thing) is UnitOfWork:
                unit, outer = gathering.outer_of(thing)
                if unit is not None and unit.alive:
                    inside.setdefault(outer, []).append(unit)

        def grown(unit: Unit) -> Node:
            address = gathering.address_of(unit)
            return self.node("work", _hex(address), address, unit, children=map(grown, inside.get(unit, ())))

        return [grown(unit) for unit in inside.get(None, ())]

    def values(self) -> list[Node]:
        """The units of keys that are made of callables."""
        units: dict[Unit, str] = {}
        for thing, _ in self.things:
            if issubclass(type(thing), local) and getattr(gathering.key_of(thing), "func", None) is not None:
                for unit, _names in units_of(thing):
                    units[unit] = gathering.key_of(thing).name
        return [
            self.node("value", f"of the key {name!r}", gathering.address_of(unit), unit) for unit, name in units.items()
        ]

    def rest(self) -> list[Node]:
        """Contexts in which nothing runs now: of callbacks and snapshots, of threads that wait for work."""
        found = []
        for context, _ in self.contexts:
            if id(context) not in self.used:
                node = self.node("context", _hex(id(context)), id(context), None, (), context)
                if node.bound or node.kept:
                    found.append(node)
        return found


# --- values as text --------------------------------------------------------------------------------------------------


class Shortened(reprlib.Repr):
    """Reprs of values that may be large, or raise."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = LONGEST

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            return cut(repr(x))
        except Exception as exc:
            return f"<{_type_of(x)}, whose repr raised {type(exc).__name__}>"


def shown(value: object) -> str:
    """The repr of a value, in one line; cut if it is long; if it raises, that is said."""
    try:
        return cut(Shortened().repr(value).replace("\n", " "))
    except Exception as exc:
        return f"<{_type_of(value)}, whose repr raised {type(exc).__name__}>"


def cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


# --- helpers ---------------------------------------------------------------------------------------------------------


def _loaded(module: str, name: str) -> Any:
    """An attribute of a module that the program has imported, or None."""
    return getattr(sys.modules.get(module), name, None)


def _said(ask: Callable[[], T]) -> T | None:
    """What the program's object says, or None where it raises."""
    try:
        return ask()
    except Exception:
        return None


def _type_of(thing: object) -> str:
    kind = type(thing)
    module = getattr(kind, "__module__", None)
    name = str(getattr(kind, "__qualname__", kind.__name__))
    return name if module in ("builtins", None) else f"{module}.{name}"


def _hex(number: int) -> str:
    return f"{number:#x}"


def _program() -> str:
    return " ".join(getattr(sys, "orig_argv", sys.argv))
