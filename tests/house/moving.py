"""What changes for a program that moves over from another library: the same question put to both sides.

A question is a function of a maker of stores (or locks, proxies, batches); what it returns is what the tables in
``docs/moving.rst`` say. ``python tests/house/moving.py xlocal`` prints one, without a name all.
"""

import asyncio
import contextlib
import contextvars
import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
import weakref
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import units
from helpers.packages import installed, offers

# --- what the answers are made of ------------------------------------------------------------------------------------


class Value:
    """Something whose death can be seen."""


def told(function):
    """What a call comes to, in a word or two."""
    try:
        result = function()
    except Exception:
        return "fails"
    return "works" if result is None else str(result)


def raised(function):
    """The name of the exception that a call raises."""
    try:
        function()
    except Exception as exc:
        return type(exc).__name__
    return "nothing raised"


def apart(run):
    def question(make):
        store = make()
        store.a = "mine"

        def elsewhere():
            seen = getattr(store, "a", None)
            store.a = "theirs"
            return seen

        seen = run(elsewhere)
        return "shared" if store.a != "mine" else "a copy" if seen else "apart"

    return question


def wait_until_gone(gone, rounds=1000):
    for _ in range(rounds):
        if gone() is None:
            return True
        time.sleep(0.001)
    return False


# --- stores of attributes --------------------------------------------------------------------------------------------


def inherits(make):
    store = make()

    async def child():
        return "inherits" if getattr(store, "a", None) else "starts empty"

    async def main():
        store.a = 1
        return await asyncio.create_task(child())

    return asyncio.run(main())


def in_to_thread(make):
    store = make()

    async def main():
        store.a = 1
        return await asyncio.to_thread(lambda: "seen" if getattr(store, "a", None) else "not seen")

    return asyncio.run(main())


def forked(make):
    store = make()
    store.a = 1
    return units.in_fork(lambda: "has the parent's" if hasattr(store, "a") else "starts empty")


def missing_name(make):
    return raised(lambda: make().nothing)


def deletes(make):
    store = make()

    def delete():
        store.a = 1
        del store.a
        return "still there" if hasattr(store, "a") else "works"

    return told(delete)


def initialises(make):
    calls = []
    try:

        class Mine(make.cls):
            def __init__(self):
                super().__init__()
                calls.append(1)
                self.a = 1

        store = Mine()
        units.in_fresh_thread(lambda: hasattr(store, "a"))
    except TypeError:
        return "no subclass allowed"
    return "once a unit" if len(calls) == 2 else "once in all"


def copies(make):
    store = make()
    store.a = 1

    def duplicate():
        other = copy.copy(store)
        other.a = 2
        return "a store of its own" if store.a == 1 else "the same values"

    return told(duplicate)


def releases_a_thread(make):
    store = make()
    kept = []

    def work():
        store.a = value = Value()
        kept.append(weakref.ref(value))

    units.in_fresh_thread(work)
    return "released" if wait_until_gone(kept[0]) else "kept"


def releases_a_greenlet(make):
    import gevent

    store = make()
    kept = []

    def work():
        store.a = value = Value()
        kept.append(weakref.ref(value))

    finished = gevent.spawn(work)
    finished.join()
    for _ in range(5):
        gevent.sleep(0)
    gone = kept[0]() is None
    del finished
    return "released" if gone else "kept"


def keeps_a_link(make):
    import gevent

    def work():
        store = make()
        store.a = 1
        del store
        gc.collect()
        return "one link, for all stores" if gevent.getcurrent().has_links() else "no link of theirs"

    greenlet = gevent.spawn(work)
    gevent.sleep(0)  # get() would be a link
    return greenlet.get()


def value_of_its_own_store(make):
    store, value = make(), Value()
    value.store = store
    store.a = value
    gone = weakref.ref(value)
    del store, value
    gc.collect()
    return "collected" if gone() is None else "kept"


def has_a_dict(make):
    store = make()
    store.a = 1
    return told(lambda: "its names" if store.__dict__ == {"a": 1} else "something else")


def iterates(make):
    store = make()
    store.a = 1
    return told(lambda: "pairs" if list(store) == [("a", 1)] else "something else")


def is_callable(make):
    return "yes" if callable(make()) else "no"


def initialised_by(use):
    """Whether the first use of a subclass's object in another thread calls `__init__` there."""

    def question(make):
        calls = []

        class Mine(make.cls):
            known = 1
            fixed = property(lambda self: 1)

            def __init__(self):
                super().__init__()
                calls.append(threading.get_ident())

        store = Mine()

        def elsewhere():
            with contextlib.suppress(AttributeError):
                use(store)
            return threading.get_ident() in calls

        return "called" if units.in_fresh_thread(elsewhere) else "not called"

    return question


def takes_a_context_variable(make):
    variable = contextvars.ContextVar("variable", default=None)

    def use():
        make(variable).a = 1
        return "is not used" if variable.get() is None else "has the values"

    return told(use)


def cleaned_up(arrange):
    """What a LocalManager of werkzeug's does at the end of a request."""

    def question(make):
        from werkzeug.local import LocalManager

        store = make()
        store.a = 1

        def clean():
            LocalManager(arrange(store)).cleanup()
            return "released" if not hasattr(store, "a") else "kept"

        return told(clean)

    return question


def proxy_by_a_call(make):
    store = make()
    store.a = 1
    return told(lambda: "a proxy" if store("a") == 1 else "something else")


LOCAL = {
    "another thread": apart(units.in_fresh_thread),
    "another greenlet of the thread": apart(units.in_greenlet),
    "another asyncio task of the thread": apart(units.in_asyncio_task),
    "a child task": inherits,
    "a function in ``asyncio.to_thread``": in_to_thread,
    "a forked child": forked,
    "a name that is not set": missing_name,
    "``del store.name``": deletes,
    "``__init__`` of a subclass": initialises,
    "``copy.copy(store)``": copies,
    "``store.__dict__``": has_a_dict,
    "``list(store)``": iterates,
    "``callable(store)``": is_callable,
    "``store(name)``": proxy_by_a_call,
    "values of a thread that ended": releases_a_thread,
    "values of a ``Greenlet`` that finished, still referred to": releases_a_greenlet,
    "a value that refers to its own store": value_of_its_own_store,
}

# Where `__init__` is called once a unit, or might be.
UNIT_LOCAL = LOCAL | {
    "``__init__`` in a thread that reads a name that is not set": initialised_by(lambda store: store.none),
    "``__init__`` in a thread that reads a name of the class": initialised_by(lambda store: store.known),
    "``__init__`` in a thread that reads a property which reads no name": initialised_by(lambda store: store.fixed),
    "``__init__`` in a thread that reads ``store.__dict__``": initialised_by(lambda store: store.__dict__),
    "``__init__`` in a thread that calls ``repr(store)``": initialised_by(repr),
    "``__init__`` in a thread that calls ``isinstance(store, str)``": initialised_by(
        lambda store: isinstance(store, str)
    ),
}

GEVENT_LOCAL = UNIT_LOCAL | {"a greenlet that runs on when its stores have died has": keeps_a_link}

WERKZEUG_LOCAL = LOCAL | {
    "``Local(context_variable)``: the variable": takes_a_context_variable,
    "``LocalManager([store])``, at the end of the request": cleaned_up(lambda store: [store]),
    "``LocalManager(store)``": cleaned_up(lambda store: store),
    "``LocalManager()``": cleaned_up(lambda store: None),
}


# --- scoped names ----------------------------------------------------------------------------------------------------


def reserved_name(make):
    x = make()
    with contextlib.suppress(Exception), x(a=1, _b=2):
        pass
    return "stays bound" if hasattr(x, "a") else "nothing bound"


def reserved_error(make):
    def bind():
        with make()(_b=2):
            pass

    return raised(bind)


def twice(make):
    x = make()
    scope = x(a=1)

    def enter():
        with scope, scope:
            pass
        return "stays bound" if hasattr(x, "a") else "works"

    return told(enter)


def interleaved_tasks(make):
    x = make()

    async def work(number):
        with x(a=number):
            await asyncio.sleep(0.001 * (number % 3))
            return x.a == number

    async def main():
        return await asyncio.gather(*map(work, range(20)))

    try:
        return "apart" if all(asyncio.run(main())) else "mixed up"
    except Exception:
        return "mixed up"


def name_self(make):
    def bind():
        with make()(self=1) as x:
            return "works" if x is not None else "lost"

    return told(bind)


def given_by_with(make):
    x = make()
    with x(a=1) as got:
        return "the xlocal" if got is x else "the binding"


def decorates(make):
    x = make()

    def decorate():
        @x(a=1)
        def function():
            return x.a

        return "works" if function() == 1 else "does nothing"

    return told(decorate)


def abandoned(make):
    import greenlet

    x = make()
    value = Value()
    gone = weakref.ref(value)
    hub = greenlet.getcurrent()

    def work(value):
        x(a=value).__enter__()
        del value
        hub.switch()

    inner = greenlet.greenlet(work)
    inner.switch(value)
    del value, inner
    gc.collect()
    return "released" if gone() is None else "kept"


def setting(make):
    return raised(lambda: setattr(make(), "a", 1))


def bound_in(run):
    def question(make):
        x = make()
        with x(a=1):
            return "seen" if run(lambda: hasattr(x, "a")) else "not seen"

    return question


XLOCAL = {
    "another thread": bound_in(units.in_fresh_thread),
    "another greenlet of the thread": bound_in(units.in_greenlet),
    "tasks that bind in turn": interleaved_tasks,
    "``as y`` gives": given_by_with,
    "``x.a = 1``": setting,
    "``with x(_b=2):``": reserved_error,
    "``a``, after ``with x(a=1, _b=2):`` has failed": reserved_name,
    "one binding entered twice": twice,
    "``x(self=1)``": name_self,
    "``@x(a=1)``": decorates,
    "a block that a dead greenlet never left": abandoned,
}


# --- proxies ---------------------------------------------------------------------------------------------------------


class Holder:
    """Something that a proxy stands for."""

    def __init__(self, value):
        self.value = value


def over(value, function):
    """A question to a proxy of a value."""
    return lambda make: told(lambda: function(make(value)))


def in_place(proxy):
    proxy += 5
    return "works" if proxy == 10 else "the result is lost"


def in_place_shared(proxy):
    other = proxy
    proxy += 1
    return "changed too" if other == 2 else "unchanged"


def as_the_object(value, function, expected):
    def ask(make):
        return told(lambda: "as the object" if function(make(value)) == expected else "something else")

    return ask


class PathLike:
    def __fspath__(self):
        return "there"


LOCAL_PROXY = {
    "``proxy += 5`` on a number": over(5, in_place),
    "``os.fspath(proxy)``": as_the_object(PathLike(), os.fspath, "there"),
    "``memoryview(proxy)``": as_the_object(b"ab", lambda proxy: bytes(memoryview(proxy)), b"ab"),
    "``pow(2, proxy, 5)``": as_the_object(3, lambda proxy: pow(2, proxy, 5), 3),
    "``weakref.ref(proxy)``": over(5, lambda proxy: weakref.ref(proxy) and None),
    "``pickle.dumps(proxy)``": as_the_object([1], lambda proxy: pickle.loads(pickle.dumps(proxy)), [1]),
    "``proxy.__module__``": as_the_object(Holder(1), lambda proxy: proxy.__module__, Holder.__module__),
    "``repr(proxy)``, ``len(proxy)``, ``proxy == value``": as_the_object(
        [1], lambda proxy: (repr(proxy), len(proxy), proxy == [1]), ("[1]", 1, True)
    ),
    "``isinstance(proxy, type)``": as_the_object([1], lambda proxy: isinstance(proxy, list), True),
}


def entered(wrapper):
    with wrapper:
        return "works"


LOCAL_WRAPPER = {
    "``2 - wrapper``": as_the_object(2, lambda w: 2 - w, 0),
    "``divmod(7, wrapper)``": as_the_object(2, lambda w: divmod(7, w), (3, 1)),
    "``wrapper ** wrapper``": as_the_object(2, lambda w: w**w, 4),
    "``len(wrapper)`` of an empty dict": as_the_object({}, len, 0),
    "``b``, after ``b = a; a += 1``": over(1, in_place_shared),
    "``round(wrapper)``": as_the_object(1.6, round, 2),
    "``format(wrapper, '04')``": as_the_object(7, lambda w: format(w, "04"), "0007"),
    "``copy.copy(wrapper)``": as_the_object([1], lambda w: copy.copy(w), [1]),
    "``pickle.dumps(wrapper)``": as_the_object([1], lambda w: pickle.loads(pickle.dumps(w)), [1]),
    "``callable(wrapper)`` of a list": as_the_object([1], callable, False),
    "``repr(wrapper)``": as_the_object([1], repr, "[1]"),
    "``str(wrapper)``": as_the_object([1], str, "[1]"),
    "``isinstance(wrapper, list)``": as_the_object([1], lambda w: isinstance(w, list), True),
    "``isinstance(wrapper, LocalWrapper)``": lambda make: told(lambda: isinstance(make([1]), make)),
    "``type(wrapper) is LocalWrapper``": lambda make: told(lambda: type(make([1])) is make),
    "``wrapper.__class__``": as_the_object([1], lambda w: w.__class__, list),
    "``wrapper == value``": as_the_object([1], lambda w: w == [1], True),
    "``hash(wrapper)`` of a str": as_the_object("a", hash, hash("a")),
    "``with wrapper:``": over(threading.Lock(), entered),
    "``wrapper.wrapped``": as_the_object([1], lambda w: w.wrapped, [1]),
}


# --- batches ---------------------------------------------------------------------------------------------------------


def each_once(make):
    numbers = iter(range(10**6))
    guard = threading.Lock()

    def source():
        with guard:
            number = next(numbers)
        time.sleep(0)
        return number

    executor = make(source, 16)
    taken = [[], [], [], []]
    threads = [
        threading.Thread(target=lambda mine=mine: mine.extend([executor.load() for _ in range(2000)])) for mine in taken
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = [value for mine in taken for value in mine]
    return "each value once" if len(set(values)) == len(values) else "some twice"


def after_an_error(make):
    calls = []

    def source():
        calls.append(1)
        if len(calls) == 3:
            raise ValueError("once")
        return len(calls)

    executor = make(source, 4)
    seen = [told(executor.load) for _ in range(6)]
    return "goes on" if seen[-1] != "fails" else "fails for ever"


BATCH = {
    "four threads, a source that gives way": each_once,
    "a source that raised once": after_an_error,
}


# --- locks -----------------------------------------------------------------------------------------------------------


def keyword(*args, **kwargs):
    def question(make):
        lock = make()

        def acquire():
            got = lock.acquire(*args, **kwargs)
            lock.release()
            return "works" if got is not False else "not acquired"

        return told(acquire)

    return question


def second_greenlet(make):
    lock = make()
    lock.acquire()
    return told(lambda: "works" if units.in_greenlet(lambda: lock.acquire() is not False) else "refused")


def killed(exclusive):
    def question(make):
        import signal

        lock = make()
        read_end, write_end = os.pipe()
        pid = os.fork()
        if not pid:
            lock.acquire(exclusive)
            os.write(write_end, b"x")
            time.sleep(60)
            os._exit(0)
        os.read(read_end, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read_end)
        os.close(write_end)

        def ask():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                lock.acquire(True)

        waiter = threading.Thread(target=ask, daemon=True)
        waiter.start()
        waiter.join(6)
        return "is given back" if not waiter.is_alive() else "is held for ever"

    return question


def gives(use):
    """What a call returns, or that it fails."""

    def question(make):
        lock = make()

        def ask():
            got = use(lock)
            return "the lock" if got is lock else repr(got)

        return told(ask)

    return question


def entered_as(lock):
    with lock as it:
        return it


LOCK = {
    "``acquire()``, ``release()``": keyword(),
    "``acquire(True)``, to write": keyword(True),
    "``acquire(timeout=1)``": keyword(timeout=1),
    "``acquire(blocking=False)``": keyword(blocking=False),
    "``acquire()`` gives": gives(lambda lock: lock.acquire()),
    "``acquire(True)`` gives": gives(lambda lock: lock.acquire(True)),
    "``release()`` gives": gives(lambda lock: (lock.acquire(), lock.release())[1]),
    "``with lock as it:`` gives": gives(entered_as),
    "``release()`` of a lock that is free": lambda make: raised(lambda: make().release()),
    "another greenlet of the thread acquires to read": second_greenlet,
    "a reader is killed: its hold": killed(False),
    "a writer is killed: its hold": killed(True),
}


# --- both sides ------------------------------------------------------------------------------------------------------


def maker(cls, **named):
    def make(*args):
        return cls(*args, **named)

    make.cls = cls
    return make


def sides(peer):
    """The questions for a peer, and how its stores and xctx's are made."""
    import xctx

    keys = xctx.keys
    if peer == "threading.local":
        return UNIT_LOCAL, lambda: maker(threading.local), maker(xctx.local)
    if peer == "gevent.local":

        def make():
            from gevent.local import local

            return maker(local)

        return (
            GEVENT_LOCAL,
            make,
            maker(xctx.local),
        )
    if peer == "werkzeug.local.Local":

        def make():
            from werkzeug.local import Local

            return maker(Local)

        return WERKZEUG_LOCAL, make, maker(type("Local", (xctx.local,), {}, key=keys.context))
    if peer == "asgiref.local.Local":

        def make():
            from asgiref.local import Local

            return maker(Local)

        return LOCAL, make, maker(type("Local", (xctx.local,), {}, key=keys.context))
    if peer == "multiprocessing_utils.local":

        def make():
            from multiprocessing_utils import local

            return maker(local)

        return UNIT_LOCAL, make, maker(xctx.local)
    if peer == "xlocal":

        def make():
            from xlocal import xlocal

            return xlocal

        return XLOCAL, make, xctx.xlocal
    if peer == "werkzeug.local.LocalProxy":

        def make():
            from werkzeug.local import LocalProxy

            return lambda value: LocalProxy(lambda: value)

        return LOCAL_PROXY, make, lambda value: xctx.LocalProxy(lambda: value)
    if peer == "ft_utils.local.LocalWrapper":

        def make():
            from ft_utils.local import LocalWrapper

            return LocalWrapper

        return LOCAL_WRAPPER, make, xctx.LocalWrapper
    if peer == "ft_utils.local.BatchExecutor":

        def make():
            from ft_utils.local import BatchExecutor

            return BatchExecutor

        return BATCH, make, xctx.BatchExecutor
    if peer == "multiprocessing_utils.SharedLock":

        def make():
            from multiprocessing_utils import SharedLock

            return SharedLock

        return LOCK, make, xctx.SharedLock if offers("SharedLock") else None
    raise ValueError(f"no peer {peer!r}")


PEERS = {
    "threading.local": "threading",
    "gevent.local": "gevent",
    "werkzeug.local.Local": "werkzeug",
    "asgiref.local.Local": "asgiref",
    "multiprocessing_utils.local": "multiprocessing_utils",
    "xlocal": "xlocal",
    "werkzeug.local.LocalProxy": "werkzeug",
    "ft_utils.local.LocalWrapper": "ft_utils",
    "ft_utils.local.BatchExecutor": "ft_utils",
    "multiprocessing_utils.SharedLock": "multiprocessing_utils",
}


def can_be_asked(peer):
    """Whether both sides are there."""
    needs = [PEERS[peer], "gevent"]
    return hasattr(os, "fork") and all(map(installed, needs)) and sides(peer)[2] is not None


def answers(peer, side):
    """What one side answers to each question of a peer.

    In an interpreter of its own; where a question crashes that, in another one from the next question on.
    """
    questions = list(sides(peer)[0])
    found = []
    while len(found) < len(questions):
        done = subprocess.run(
            [sys.executable, __file__, peer, side, str(len(found))],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path[1:]])},
        )
        assert done.returncode <= 0, done.stderr
        found += done.stdout.splitlines()
        if done.returncode:
            found.append("crashes")
    return dict(zip(questions, found, strict=True))


def main(peer, side, first):
    questions, theirs, ours = sides(peer)
    if side == "patched":
        from xctx import patch

        patch.all()
    make = ours if side == "ours" else theirs()
    for question in list(questions.values())[int(first) :]:
        print(question(make), flush=True)
    os._exit(0)  # ends what a question left behind, such as a thread that waits for ever


def table(peer):
    """The rows of a peer's table in the manual: the questions to which the answers differ."""
    theirs, ours = answers(peer, "theirs"), answers(peer, "ours")
    return [[question, theirs[question], ours[question]] for question in theirs if theirs[question] != ours[question]]


# Whose names `xctx.patch` leads to stand-ins.
PATCHED = (
    "threading.local",
    "gevent.local",
    "werkzeug.local.Local",
    "asgiref.local.Local",
    "werkzeug.local.LocalProxy",
)


def patched(peer):
    """The same of a program that names the peer, and runs patched."""
    theirs, stand_in = answers(peer, "theirs"), answers(peer, "patched")
    return [
        [question, theirs[question], stand_in[question]]
        for question in theirs
        if theirs[question] != stand_in[question]
    ]


if __name__ == "__main__":
    if len(sys.argv) == 4:
        main(*sys.argv[1:])
    for peer in sys.argv[1:] or PEERS:
        if can_be_asked(peer):
            print(f"\n.. changes: {peer}\n\n.. list-table::\n   :header-rows: 1\n   :widths: 50 25 25\n")
            for row in [["", f"``{peer}``", "xctx"], *table(peer)]:
                print("   * - " + "\n     - ".join(row))
