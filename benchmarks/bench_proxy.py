"""Proxies beside their peers: LocalWrapper of one object, LocalProxy over each kind of source."""

import importlib
from contextvars import ContextVar

import xctx
from benchmarks.harness import Case, Contender
from benchmarks.rooms import two_threads


class Slots:
    __slots__ = ("x",)

    def __init__(self):
        self.x = 1


class Plain:
    def __init__(self):
        self.x = 1

    def method(self):
        pass


def one():
    return [1]


def five():
    return 5


# Name, statement on `p`, what is behind the proxy, peer -> the ratio that is not to be passed ("all": of each peer).
MUCH, METHODS, SAME = (
    dict.fromkeys(["wrapt", "ft_utils"], 1 / 20),
    dict.fromkeys(["wrapt", "ft_utils"], 1 / 8),
    {"all": 1.1},
)
WRAPPED = [
    ("attribute", "p.x", Plain, MUCH),
    ("attribute in a slot", "p.x", Slots, MUCH),
    ("method in Python", "p.method()", Plain, METHODS),
    ("method in C", "p.count(1)", one, METHODS),
    ("[0] of a list", "p[0]", one, SAME),
    ("['a'] of a dict", "p['a']", lambda: {"a": 1}, SAME),
    ("len", "len(p)", one, SAME),
    ("+", "p + 1", five, SAME),
    ("reflected +", "1 + p", five, SAME),
    ("==", "p == 5", five, {}),
    ("in", "1 in p", one, {}),
    ("call", "p()", lambda: int, {}),
    ("setattr", "p.x = 1", Plain, {}),
    ("making one", "make(obj)", five, {"ft_utils": 1.2}),
]
PROXIED = [
    ("attribute", "p.x", Plain, {"werkzeug": 1 / 20}),
    ("len", "len(p)", one, {"werkzeug": 1 / 8}),
    ("[0]", "p[0]", one, {"werkzeug": 1 / 8}),
]
# By two threads, each with a proxy of its own of one shared object: at most so many times what one thread takes.
SHARED = [
    ("attribute", "p.x", Plain),
    ("[0]", "p[0]", one),
    ("['a']", "p['a']", lambda: {"a": 1}),
    ("len", "len(p)", one),
    ("+", "p + 1", lambda: 5000),
    ("==", "p == 1", lambda: 5000),
    ("iteration of 10", "for _ in p: pass", lambda: [1] * 10),
    ("method in C", "p.count(1)", one),
    ("method in Python", "p.method()", Plain),
]


def installed(name, attribute):
    try:
        return getattr(importlib.import_module(name), attribute)
    except ImportError:
        return None


def bare(obj):
    return obj


def wrappers(operation=""):
    """Peer -> what makes a wrapper of an object."""
    found = {"xctx": xctx.LocalWrapper, "the object itself": bare}
    if wrapt := installed("wrapt", "CallableObjectProxy" if operation == "call" else "ObjectProxy"):
        found["wrapt"] = wrapt
    if lazy := installed("lazy_object_proxy", "Proxy"):
        # Made of what gives the object, not of the object.
        found["lazy-object-proxy"] = lambda obj: lazy(lambda: obj)
    if ft := installed("ft_utils.local", "LocalWrapper"):
        found["ft_utils"] = ft
    return found


def wrapper_case(name, statement, setup, targets):
    obj = setup()
    contenders = [
        Contender(peer, statement, {"p": make(obj), "make": make, "obj": obj}, reference=make is bare)
        for peer, make in wrappers(name).items()
    ]
    if limit := targets.get("all"):
        targets = {each.name: limit for each in contenders[1:] if not each.reference}
    return Case("LocalWrapper", name, contenders, targets)


def proxies(source):
    """Peer -> what makes a proxy whose source gives an object; sources are made anew for each call."""
    werkzeug = installed("werkzeug.local", "LocalProxy")
    classes = {"xctx": (xctx.LocalProxy, xctx.local)}
    if werkzeug:
        classes["werkzeug"] = werkzeug, installed("werkzeug.local", "Local")

    def over(proxy, local):
        def make(obj):
            if source == "a ContextVar":
                variable = ContextVar("variable")
                variable.set(obj)
                return proxy(variable)
            if source == "a callable":
                return proxy(lambda: obj)
            store = local()
            store.obj = obj
            return proxy(store, "obj")

        return make

    return {peer: over(*both) for peer, both in classes.items()}


def cases():
    """The cases that this room is measured by."""
    made = [wrapper_case(*each) for each in WRAPPED]
    for source in ("a ContextVar", "a store", "a callable"):
        for name, statement, setup, targets in PROXIED:
            obj = setup()
            contenders = [Contender(peer, statement, {"p": make(obj)}) for peer, make in proxies(source).items()]
            targets = {} if source == "a callable" else targets
            made.append(Case("LocalProxy", f"{name} over {source}", contenders, targets))
    return made + [shared_case(*each) for each in SHARED]


def shared_case(name, statement, setup):
    obj = setup()

    def names(make):
        return lambda: {"p": make(obj)}  # called in each thread

    beside = {peer: make for peer, make in wrappers(name).items() if peer in ("the object itself", "ft_utils")}
    case = two_threads(
        "LocalWrapper",
        f"{name} by two threads, one object",
        statement,
        names(xctx.LocalWrapper),
        [(peer, statement, names(make)) for peer, make in beside.items()],
    )
    for contender in case.contenders:
        contender.reference |= contender.name == "the object itself"
    if name == "method in Python":  # the function's own count is touched by both threads
        case.targets = {"ft_utils": 1 / 2}
    return case
