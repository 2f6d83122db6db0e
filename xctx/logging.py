"""Log records that say for which request, user or task they were made.

What is added to a record is read in the unit that makes the record, so it stays right when a queue, a socket or another
thread passes the record on.

==================  =============================================================================================
:class:`Filter`     on a handler or a logger: all records that pass it get the names
:func:`install`     all records of the program get the names when they are made
:func:`processor`   structlog's event dicts get the names
==================  =============================================================================================

Keyword arguments say what is to be added: ``request_id=current`` adds the value that `current` has for that name, and
``id=(current, "request_id")`` adds it under another name. The object may be an xlocal, a local, or any other that has
attributes; a callable is called without arguments. If there is no value, or the look-up raises, `missing` is added.

An xlocal or local as a positional argument adds all names that it has, and :class:`xctx.work` adds all names that are
bound in xlocals or kept in locals for the unit of work: with a formatter that writes every attribute,
``xctx.logging.install(xctx.work)`` is all that is needed. Attributes that each record has anyway are not replaced.

Characters of a string that do not print, such as the end of a line, are escaped, so that no text from outside can forge
a record.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from xctx._stores.inspection import all_here, names_of
from xctx._stores.local import local
from xctx._stores.works import work
from xctx._stores.xlocal import xlocal

__all__ = ["Filter", "install", "processor"]

# The attributes that each record has by itself. Any other name can be added.
TAKEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_Store = xlocal | local | type[work]
_Source = Any  # an xlocal, a local or another object; a pair of one and a name; a callable


class Fields:
    """Which names are to be added, and where they are looked up. Never changes."""

    __slots__ = ("missing", "readers", "sources", "taken")

    def __init__(
        self,
        stores: tuple[_Store, ...],
        missing: object,
        sources: Mapping[str, _Source],
        taken: frozenset[str] = frozenset(),
    ) -> None:
        if not sources and not stores:
            raise TypeError("nothing is to be added: say what, as in request_id=current")
        self.missing = missing
        self.taken = taken
        self.readers = [all_names(store) for store in stores]
        self.sources: list[tuple[str, Callable[[], Any]]] = []
        for name, source in sources.items():
            if name in taken:
                raise ValueError(f"{name!r} is what each record has of its own: another name was wanted")
            self.sources.append((name, self.reader(name, source)))

    def reader(self, name: str, source: _Source) -> Callable[[], Any]:
        if isinstance(source, tuple):
            if len(source) != 2 or not isinstance(source[1], str):
                raise TypeError(f"{name}={source!r}: a pair of a store and a name was wanted")
            source, name = source
        elif callable(source) and not getattr(type(source), "__xctx_store__", False):
            called: Callable[[], Any] = source
            return called
        missing = self.missing

        def read() -> Any:
            return getattr(source, name, missing)

        return read

    def add(self, target: MutableMapping[str, Any]) -> None:
        """Adds the names that are not there yet: what the program gave for this record is not replaced."""
        for name, read in self.sources:
            if name not in target:
                try:
                    value = read()
                except Exception:  # no program is to fail because it logs
                    value = self.missing
                target[name] = printable(value)
        for names in self.readers:
            with contextlib.suppress(Exception):
                for name, value in names().items():
                    if name not in target and name not in self.taken:
                        target[name] = printable(value)


def printable(value: Any) -> Any:
    if isinstance(value, str) and not value.isprintable():
        return "".join(each if each.isprintable() else repr(each)[1:-1] for each in value)
    return value


def all_names(store: _Store) -> Callable[[], dict[str, Any]]:
    """A function that gives all names and values that a store has here."""
    if store is work:
        return all_here
    if isinstance(store, local):
        return lambda: names_of(store)
    if isinstance(store, xlocal):
        return lambda: vars(store)
    raise TypeError(f"an xlocal, a local or xctx.work was wanted, or a keyword argument, not {store!r}")


class Filter(logging.Filter):
    """Adds names to the records that pass it, and lets all records pass.

    On a handler, it works for all records that the handler is called with in the unit that made them. With a
    ``QueueHandler``, put it on that handler, not on those behind the queue::

        handler.addFilter(xctx.logging.Filter(request_id=current, user=(session, "name")))
        handler.setFormatter(logging.Formatter("%(request_id)s %(user)s %(message)s"))

    Args:
        stores: xlocals and locals of which all names are added; :class:`xctx.work` for all of the unit of work.
        missing: the value of a name for which there is none.
        sources: the names to add, and where they are looked up: see :mod:`xctx.logging`.

    Raises:
        TypeError: `stores` and `sources` are both empty, or one of them is something else.
        ValueError: each record has an attribute of that name anyway.

    Thread-safety: never changes.
    """

    def __init__(self, /, *stores: _Store, missing: object = "-", **sources: _Source) -> None:
        super().__init__()
        self._fields = Fields(stores, missing, sources, TAKEN)

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds the names to a record. Returns True."""
        self._fields.add(record.__dict__)
        return True


def install(*stores: _Store, missing: object = "-", **sources: _Source) -> Callable[[], None]:
    """From now on each record that is made has these names, in all loggers and handlers.

    This wraps the ``LogRecord`` factory that is set. A logging call that passes one of the names by ``extra`` then
    raises KeyError, as with the attributes that each record has anyway: if there are such calls, use a :class:`Filter`.

    Args, Raises: as those of :class:`Filter`.

    Returns:
        A function that undoes it.

    Thread-safety: the factory is the whole program's, so call this once, when the program starts.
    """
    fields = Fields(stores, missing, sources, TAKEN)
    before = logging.getLogRecordFactory()
    active = True

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        if active:
            fields.add(record.__dict__)
        return record

    def undo() -> None:
        nonlocal active
        active = False  # another factory may have been put around this one
        if logging.getLogRecordFactory() is factory:
            logging.setLogRecordFactory(before)

    logging.setLogRecordFactory(factory)
    return undo


def processor(
    *stores: _Store, missing: object = "-", **sources: _Source
) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    """Makes a processor for structlog::

        structlog.configure([xctx.logging.processor(request_id=current), structlog.processors.JSONRenderer()])

    Args, Raises: as those of :class:`Filter`, but any name may be added.

    Returns:
        The processor, which adds the names to an event dict.

    Thread-safety: never changes.
    """
    fields = Fields(stores, missing, sources)

    def add(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        fields.add(event)
        return event

    return add
