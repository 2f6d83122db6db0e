"""The parts of a patch: stores, proxies and carrying.

Each is put in place when it is first asked for, and taken out when each call that asked for it was undone. A library
that is not imported yet is patched when it is imported.
"""

import _thread
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from xctx._patch import carrying, importing, proxies, stores
from xctx._patch.exchange import Exchange, is_module, modules, names_of

DEFINED_IN = {"threading": "_thread", "gevent.local": "gevent._gevent_clocal"}  # where that is not the module itself

# Held while names are exchanged. Nothing is imported meanwhile: a thread that imports may be waiting for it.
lock = threading.RLock()


class Finding(NamedTuple):
    """What became of one thing: :func:`xctx.patch.report` lists these.

    Attributes:
        name: what it is about, with its module.
        replaced: whether xctx's is there now. Otherwise the library's own is.
        why: where it was replaced, or why it was not.
    """

    name: str
    replaced: bool
    why: str

    def __str__(self) -> str:
        return f"{'replaced' if self.replaced else 'left    '}  {self.name}: {self.why}"


class Part:
    """What is patched together. Guarded by the lock."""

    def __init__(self) -> None:
        self.asked_by: list[object] = []
        self.hooks: list[tuple[str, importing.Wanted]] = []
        self.faults: dict[str, str] = {}

    def ask(self, handle: object) -> None:
        self.asked_by.append(handle)
        if len(self.asked_by) == 1:
            self.put()

    def give_back(self, handle: object) -> None:
        """Takes back one call of `ask`, also one that failed. A second time does what the first left undone."""
        if self.asked_by == [handle]:
            for name, function in self.hooks:
                importing.no_longer(name, function)
            self.hooks.clear()
            self.take_back()
            self.faults.clear()
        self.asked_by = [each for each in self.asked_by if each is not handle]

    def on_module(self, name: str, function: Callable[[str, ModuleType], None]) -> None:
        """Calls a function with a module and its name: now, if it was imported, and whenever it is imported.

        Where the function fails, nothing of what the part has put because of this module stays.
        """

        def imported(module: ModuleType) -> None:
            with lock:
                if not self.asked_by:
                    return
                try:
                    function(name, module)
                except BaseException as exc:
                    self.take_back_in(name)
                    if not isinstance(exc, Exception):
                        raise
                    # The program goes on: it need not know of the patch.
                    self.faults[name] = f"could not be looked through: {exc!r}"

        self.hooks.append((name, imported))
        importing.when_imported(name, imported)
        module = sys.modules.get(name)
        if is_module(module):
            imported(module)

    def put(self) -> None:
        raise NotImplementedError

    def take_back_in(self, place: str) -> None:
        """Takes back what was put because of one module."""
        raise NotImplementedError

    def take_back(self) -> None:
        raise NotImplementedError

    def findings(self) -> list[Finding]:
        raise NotImplementedError


class Classes(Part):
    """Classes and functions that have a stand-in, by the modules that define them."""

    def __init__(self, makers: dict[str, tuple[str, Callable[[type], Any]]]) -> None:
        super().__init__()
        self.makers = makers
        self.exchange = Exchange()
        self.made: dict[Any, Any] = {}  # stays when it is undone, so that the next patch has the same classes
        self.titles: dict[Any, str] = {}

    def put(self) -> None:
        for name in self.makers:
            self.on_module(name, self.put_in)

    def put_in(self, place: str, module: ModuleType) -> None:
        name, make = self.makers[place]
        original = native_local() if place == "threading" else names_of(module).get(name)
        if not isinstance(original, type) or original.__module__ != DEFINED_IN.get(place, place):
            return  # put there by others, such as gevent, whose class is exchanged with gevent's module
        if id(original) in self.exchange.originals or self.exchange.has(original):
            return
        if original not in self.made:
            self.made[original] = make(original)
        self.exchange_one(f"{place}.{name}", original)

    def exchange_one(self, title: str, original: Any) -> None:
        self.titles[original] = title
        self.exchange.add(original, self.made[original])
        self.exchange.put()

    def take_back_in(self, place: str) -> None:
        for original, title in list(self.titles.items()):
            if title.rpartition(".")[0] == place:
                if self.exchange.has(original):
                    self.exchange.take_back(original)
                del self.titles[original]

    def take_back(self) -> None:
        self.exchange.take_back()
        self.titles.clear()

    def findings(self) -> list[Finding]:
        found = []
        for original, title in self.titles.items():
            where = [
                name
                for name, module in sorted(modules(), key=lambda pair: pair[0])
                if any(value is self.made[original] for value in names_of(module).copy().values())
            ]
            if where:
                found.append(Finding(title, True, f"in {', '.join(where)}"))
            if not isinstance(original, type):
                continue
            for each in subclasses(original):
                found.append(
                    Finding(f"{each.__module__}.{each.__qualname__}", False, f"a class made of {title} before")
                )
            found += [
                Finding(f"{module}.{name}", False, f"an object of {title}, made before")
                for module, name, _ in globals_of_type({original, *subclasses(original)})
            ]
        for place, (name, _) in self.makers.items():
            module = sys.modules.get(place)
            if is_module(module):
                value = names_of(module).get(name)
                if id(value) not in self.exchange.originals:
                    found.append(Finding(f"{place}.{name}", False, f"it is {value!r}, which xctx has no stand-in for"))
        found += [Finding(name, False, why) for name, why in self.faults.items()]
        return found


def native_local() -> Any:
    """The class of CPython's, which ``threading.local`` is unless gevent has patched it."""
    saved = getattr(sys.modules.get("gevent.monkey._state"), "saved", {})
    return saved.get("_thread", {}).get("_local", _thread._local)


def subclasses(cls: type) -> list[type]:
    found: list[type] = []
    each: type
    for each in type.__subclasses__(cls):
        found += [each, *subclasses(each)]
    return found


def globals_of_type(types: set[type]) -> list[tuple[str, str, Any]]:
    """The global names that refer to an object of these types: the module, the name and the object."""
    return [
        (module, name, value)
        for module, names in [(name, names_of(module)) for name, module in modules()]
        for name, value in names.copy().items()
        if type(value) in types
    ]


# --- stores ----------------------------------------------------------------------------------------------------------


class Stores(Classes):
    def __init__(self) -> None:
        super().__init__(
            {
                "threading": ("local", stores.for_threads),
                "_threading_local": ("local", stores.for_threads),
                "gevent.local": ("local", stores.for_greenlets),
                "werkzeug.local": ("Local", stores.for_werkzeug),
                "asgiref.local": ("Local", stores.for_asgiref),
            }
        )
        self.executors: Any = None  # a store of asgiref's own class
        self.faster: list[tuple[Any, Any, Any]] = []  # a class, the store that it had, and the one it has now

    def put(self) -> None:
        super().put()
        self.on_module("asgiref.sync", self.put_executors)
        self.on_module("asgiref.sync", self.put_restoring)
        self.on_module("gevent.local", self.put_dicts)

    def put_dicts(self, place: str, module: ModuleType) -> None:
        self.put_function(place, "all_local_dicts_for_greenlet", names_of(module), stores.dicts_of_greenlet)

    def put_restoring(self, place: str, module: ModuleType) -> None:
        names = names_of(module)
        self.put_function(place, "_restore_context", names, lambda original: stores.restoring(original, names))

    def put_function(self, place: str, name: str, names: dict[str, Any], make: Callable[[Any], Any]) -> None:
        original, title = names.get(name), f"{place}.{name}"
        if id(original) in self.exchange.originals or self.exchange.has(original):
            return
        made = self.made.get(original) or (make(original) if callable(original) else None)
        if made is None:
            self.faults[title] = "there is no such function" if original is None else "xctx does not know what it does"
            return
        self.made[original] = made
        self.exchange_one(title, original)

    def put_in(self, place: str, module: ModuleType) -> None:
        original = names_of(module).get("Local")
        if place == "asgiref.local" and isinstance(original, type) and id(original) not in self.exchange.originals:
            self.executors = original()  # now, because it refuses to be called once its name leads elsewhere
        super().put_in(place, module)

    def put_executors(self, place: str, module: ModuleType) -> None:
        # By this store asgiref finds the thread that waits for a task. A thread that runs in a copied context must not
        # see it, so it goes on as one of asgiref's own, which tells threads apart too.
        names = names_of(module)
        cls: Any = names.get("AsyncToSync")
        own = found = getattr(cls, "executors", None)
        if type(found) in self.made.values() and self.executors is not None:
            own = self.executors
        made = stores.for_executors(own, names)
        if made is not own:
            self.faster.append((cls, own, made))
        if made is not found:
            cls.executors = made

    def take_back_in(self, place: str) -> None:
        if place == "asgiref.sync":
            self.take_back_executors()
        super().take_back_in(place)

    def take_back(self) -> None:
        self.take_back_executors()
        super().take_back()

    def take_back_executors(self) -> None:
        while self.faster:
            cls, own, made = self.faster[-1]
            if cls.executors is made:
                cls.executors = own
            self.faster.pop()

    def findings(self) -> list[Finding]:
        return super().findings() + [
            Finding(f"{cls.__module__}.{cls.__qualname__}.executors", True, "the same store, read in C")
            for cls, _, made in self.faster
            if cls.executors is made
        ]


# --- proxies ---------------------------------------------------------------------------------------------------------


class Proxies(Classes):
    def __init__(self) -> None:
        super().__init__({"werkzeug.local": ("LocalProxy", proxies.for_werkzeug)})
        self.objects = Exchange()

    def put(self) -> None:
        super().put()
        self.put_objects()

    def put_in(self, place: str, module: ModuleType) -> None:
        super().put_in(place, module)
        self.put_objects()

    def take_back_in(self, place: str) -> None:
        self.objects.take_back()
        super().take_back_in(place)

    def put_objects(self) -> None:
        """Exchanges the proxies that are global names of modules."""
        for original in self.titles:
            for _, _, value in globals_of_type({original}):
                if not self.objects.has(value):
                    made = proxies.stand_in(self.made[original], value)
                    if made is not None:
                        self.objects.add(value, made)
        self.objects.put()

    def take_back(self) -> None:
        self.objects.take_back()
        super().take_back()

    def findings(self) -> list[Finding]:
        by_stand_in = {id(made): made for _, made in self.objects.stand_ins.values()}
        found = [
            Finding(f"{name}.{each}", True, "a proxy that existed")
            for name, module in modules()
            for each, value in names_of(module).copy().items()
            if id(value) in by_stand_in
        ]
        return super().findings() + found


# --- carrying --------------------------------------------------------------------------------------------------------


class Method(NamedTuple):
    """A method or function that is exchanged."""

    place: str
    holder: Any  # the class or module
    name: str
    own: Any  # what the holder had of its own, or None
    made: Any


class Carry(Part):
    def __init__(self) -> None:
        super().__init__()
        self.methods: list[Method] = []
        self.functions = Exchange()

    def put(self) -> None:
        for name in carrying.METHODS:
            self.on_module(name, self.put_in)

    def put_in(self, place: str, module: ModuleType) -> None:
        for owner, names, make in carrying.METHODS[place]:
            holder: Any = module if owner is None else names_of(module).get(owner)
            for name in names:
                title = ".".join(filter(None, (place, owner, name)))
                found = getattr(holder, name, None)
                if found is None:
                    self.faults[title] = "there is no such name"
                    continue
                if any(each.holder is holder and each.name == name for each in self.methods):
                    continue
                method = Method(place, holder, name, vars(holder).get(name), make(found))
                self.methods.append(method)
                try:
                    setattr(holder, name, method.made)
                except TypeError as exc:
                    self.methods.remove(method)
                    self.faults[title] = str(exc)
                    continue
                if owner is None:
                    self.functions.add(found, method.made)
        if self.functions.stand_ins:
            self.functions.put()
        if place == "gevent":
            self.faults["gevent.Greenlet.start"] = (
                "the class is compiled: greenlets that Greenlet.spawn or start begins take nothing along"
            )

    def take_back_in(self, place: str) -> None:
        self.restore([each for each in self.methods if each.place == place])

    def take_back(self) -> None:
        self.restore(self.methods)

    def restore(self, methods: list[Method]) -> None:
        for method in reversed(methods):
            if vars(method.holder).get(method.name) is not method.made:
                continue  # other code has patched it since, and calls what is there
            if method.own is None:
                delattr(method.holder, method.name)
            else:
                setattr(method.holder, method.name, method.own)
        if any(isinstance(each.holder, ModuleType) for each in methods):
            self.functions.take_back()
        self.methods = [each for each in self.methods if each not in methods]

    def findings(self) -> list[Finding]:
        found = [
            Finding(
                f"{each.holder.__module__}.{each.holder.__qualname__}.{each.name}"
                if isinstance(each.holder, type)
                else f"{each.holder.__name__}.{each.name}",
                True,
                "takes bindings along",
            )
            for each in self.methods
        ]
        return found + [Finding(name, False, why) for name, why in self.faults.items()]


STORES, PROXIES, CARRY = Stores(), Proxies(), Carry()
PARTS: dict[str, Part] = {"locals": STORES, "proxies": PROXIES, "carry": CARRY}
