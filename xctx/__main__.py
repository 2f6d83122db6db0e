"""What this interpreter offers to xctx, a quick check of an installation, and a small demonstration.

    python -m xctx            # what there is: versions, GIL, packages, keys
    python -m xctx --check    # tries threads, greenlets, tasks, a fork and more; status 1 if anything is wrong
    python -m xctx --demo     # a thousand requests at once, with a global and with xctx
    python -m xctx locks      # the named locks: which units hold them, which wait (--who, --json, --watch)
    python -m xctx dump PID   # who is running in another process (--json, --html FILE, --values)
    python -m xctx run --all program.py     # a program with xctx's classes in place of those of other libraries

Greenlet is imported only where that leaves the GIL as it is.
"""

import sys

if __name__ == "__main__" and sys.argv[1:2] == ["run"]:  # before anything is imported that a program may want patched
    from xctx._patch import program

    sys.exit(program.main(sys.argv[2:]))

import argparse
import asyncio
import faulthandler
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import platform
import signal
import sysconfig
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import xctx
from xctx import debug, keys

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
PACKAGES = ("greenlet", "gevent", "trio", "flask", "werkzeug", "sqlalchemy", "celery", "distributed", "rq", "dramatiq")
# The packages that some modules of xctx are for.
NEEDS = {"gevent": "gevent", "celery": "celery", "dask": "distributed", "rq": "rq", "dramatiq": "dramatiq"}
LADDER = ("process", "thread", "greenlet", "task", "context")
PATIENCE = 60  # seconds after which a check that hangs is ended, and the stacks of its threads are printed


class Skip(Exception):
    """A check cannot be made here. The argument says why."""


# --- what there is ---------------------------------------------------------------------------------------------------


def version(package: str) -> str | None:
    """The version of an installed package, without importing it; None where it is not installed."""
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def gil() -> str:
    if not FREE_THREADED:
        return "on, as always in this build"
    return "on, though this build can do without: set by the program, or by a module" if gil_is_on() else "off"


def gil_is_on() -> bool:
    asked = getattr(sys, "_is_gil_enabled", None)
    return True if asked is None else bool(asked())


def why_no_greenlets() -> str | None:
    """Why greenlet is better not imported here, or None."""
    found = version("greenlet")
    if found is None:
        return "greenlet is not installed"
    if "greenlet" not in sys.modules and not gil_is_on():
        known = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
        if known < (3, 3) or sys.version_info < (3, 14):
            return f"importing greenlet {found} would switch the GIL on"
    return None


def locks() -> str:
    """What the locks between processes are made of here."""
    try:
        with xctx.SharedLock():
            return "shared memory" + (", waiters sleep on a futex" if sys.platform == "linux" else "")
    except NotImplementedError as exc:
        return f"none: {exc}"


def integrations() -> list[str]:
    """The public modules of xctx, and which of them lack the package that they are for."""
    found = sorted(name for _, name, _ in pkgutil.iter_modules(xctx.__path__) if not name.startswith("_"))
    missing = {name for name, package in NEEDS.items() if version(package) is None}
    return [f"xctx.{name}" + (f" (without {NEEDS[name]})" if name in missing else "") for name in found]


def show() -> int:
    """Prints what there is."""
    threads = "a copy of its starter's" if getattr(sys.flags, "thread_inherit_context", False) else "an empty one"
    hubs = why_no_greenlets()
    build = "free-threaded" if FREE_THREADED else "default"
    rows = [
        ("xctx", f"{version('xctx')}, {os.path.dirname(xctx.__file__)}"),
        ("interpreter", f"{platform.python_implementation()} {platform.python_version()}, {platform.platform()}"),
        ("build", build + (", debug" if hasattr(sys, "gettotalrefcount") else "")),
        ("GIL", gil()),
        ("a thread's context", threads),
        ("greenlets", "told apart" if hubs is None else hubs),
        ("fork", "a child starts empty" if hasattr(os, "fork") else "nothing forks here"),
        ("locks", locks()),
        ("modules", ", ".join(integrations())),
        ("packages", ", ".join(f"{name} {version(name)}" for name in PACKAGES if version(name)) or "none of interest"),
    ]
    for name, value in rows:
        print(f"{name:<20}{value}")
    print("keys, and the unit that each finds here")
    for name in LADDER:
        print(f"  {name:<18}{getattr(keys, name).current()!r}")
    return 0


# --- the check -------------------------------------------------------------------------------------------------------


def in_thread(function: Callable[[], Any]) -> Any:
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(function()))
    thread.start()
    thread.join()
    expect(outcome, "the thread died")
    return outcome[0]


def expect(holds: object, what: str) -> None:
    """Fails the check; an assert would be gone under -O."""
    if not holds:
        raise AssertionError(what)


class Value:
    """An object whose death can be observed by a weak reference."""


def check_scopes() -> None:
    x = xctx.xlocal()
    value = Value()
    gone = weakref.ref(value)
    with x(a=value):
        expect(x.a is value, "a bound name reads as another value")
        with x(b=2):
            expect((x.a, x.b) == (value, 2), "an inner block hides the outer one")
        expect(not hasattr(x, "b"), "a name outlives its block")
    del value
    expect(gone() is None and not hasattr(x, "a"), "a value outlives its block")


def check_threads() -> None:
    x, store = xctx.xlocal(), xctx.local()
    store.a = 1
    kept: list[Any] = []

    def elsewhere() -> tuple[bool, bool]:
        seen = hasattr(x, "a"), hasattr(store, "a")
        store.a = value = Value()
        kept.append(weakref.ref(value))
        return seen

    with x(a=1):
        expect(in_thread(elsewhere) == (False, False), "a thread sees what belongs to another")
    end = time.monotonic() + 5
    while kept[0]() is not None and time.monotonic() < end:  # the thread's state goes after join() has returned
        time.sleep(0.001)
    expect(kept[0]() is None, "a thread's values outlive it")
    expect(store.a == 1, "a thread has written into another's store")


def check_many_threads() -> None:
    x, store = xctx.xlocal(), xctx.local()
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(2000):
            store.n = number
            with x(n=(number, turn)):
                if x.n != (number, turn) or store.n != number:
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not wrong, f"threads were mixed up {len(wrong)} times")


def check_greenlets() -> None:
    reason = why_no_greenlets()
    if reason is not None:
        raise Skip(reason)
    greenlet = importlib.import_module("greenlet").greenlet
    x, store = xctx.xlocal(), xctx.local()
    main = importlib.import_module("greenlet").getcurrent()

    def work(number: int) -> bool:
        store.n = number
        with x(n=number):
            main.switch()
            return bool(x.n == number and store.n == number)

    workers = [greenlet(work) for _ in range(10)]
    for number, worker in enumerate(workers):
        worker.switch(number)
    expect(not hasattr(x, "n") and not hasattr(store, "n"), "greenlets leak into the one that runs them")
    expect(all(worker.switch() for worker in workers), "greenlets see what belongs to another")


def check_gevent() -> None:
    reason = why_no_greenlets()
    if reason is not None or version("gevent") is None:
        raise Skip(reason or "gevent is not installed")
    gevent = importlib.import_module("gevent")
    x, store = xctx.xlocal(), xctx.local()

    def work(number: int) -> bool:
        store.n = number
        with x(n=number):
            gevent.sleep(0)
            return bool(x.n == number and store.n == number)

    workers = [gevent.spawn(work, number) for number in range(10)]
    gevent.joinall(workers, timeout=30)
    expect(all(worker.value for worker in workers), "gevent's greenlets see what belongs to another")
    gevent.sleep(0)  # lets the hub call back that they have finished
    expect(not debug.units_of(store), "finished greenlets keep what they stored")


def check_tasks() -> None:
    x, store = xctx.xlocal(key=keys.task), xctx.local(key=keys.task)

    async def work(number: int) -> bool:
        store.n = number
        with x(n=number):
            await asyncio.sleep(0)
            return bool(x.n == number and store.n == number)

    async def main() -> list[bool]:
        with x(n="main"):
            return await asyncio.gather(*[work(number) for number in range(10)])

    expect(all(asyncio.run(main())), "tasks see what belongs to another")


def check_fork() -> None:
    if not hasattr(os, "fork"):
        raise Skip("nothing forks here")
    x, store = xctx.xlocal(), xctx.local()
    store.a = 1
    with x(a=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of faulthandler's thread
            child = os.fork()
        if not child:
            status = 2
            try:
                signal.alarm(30)
                status = int(hasattr(x, "a") or hasattr(store, "a"))
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        expect(status in (0, 1), f"the forked child ended with status {status}")
        expect(status == 0, "a forked child sees what belongs to its parent")
        expect((x.a, store.a) == (1, 1), "a fork has emptied its parent")


def check_proxies() -> None:
    wrapped = xctx.LocalWrapper([1])
    wrapped += [2]
    expect(wrapped == [1, 2] and len(wrapped) == 2 and isinstance(wrapped, list), "a wrapper is not as its target")
    x = xctx.xlocal()
    proxy: Any = xctx.LocalProxy(x, "n", unbound_message="nothing here")
    with x(n=2):
        expect(proxy + 1 == 3 and xctx.unwrap(proxy) == 2, "a proxy is not as its target")
    try:
        proxy + 1
    except RuntimeError as exc:
        expect(str(exc) == "nothing here", f"an unbound proxy says {exc}")
    else:
        expect(False, "an unbound proxy gives a value")


def check_batches() -> None:
    numbers: Iterator[int] = iter(range(4000))
    executor = xctx.BatchExecutor(lambda: next(numbers), 10)
    taken: list[int] = []

    def work() -> None:
        taken.extend([executor.load() for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(sorted([*taken, *executor.close(), *numbers]) == list(range(4000)), "a value was lost or handed out twice")


def check_locks() -> None:
    try:
        lock = xctx.SharedLock()
    except NotImplementedError as exc:
        raise Skip(str(exc)) from None

    def reads() -> bool:
        got = lock.acquire(timeout=5)
        lock.release()
        return got

    with lock:
        expect(in_thread(reads), "two cannot read at a time")
        expect(not in_thread(lambda: lock.acquire(exclusive=True, blocking=False)), "one writes while another reads")
    with lock.exclusive():
        expect(not in_thread(lambda: lock.acquire(blocking=False)), "one reads while another writes")
    expect(not lock.locked(), "a lock that was released is held")


def check_carry() -> None:
    x = xctx.xlocal()
    with x(a=1):
        carried = xctx.carry(lambda: getattr(x, "a", None))
    expect(in_thread(carried) == 1, "bindings were not carried along")
    expect(carried() == 1 and not hasattr(x, "a"), "what was carried stays")


def check_gil() -> None:
    """Comes last, to see that none of the checks has switched the GIL on."""
    if not FREE_THREADED:
        raise Skip("this build always has one")
    if not gil_was_off:
        raise Skip("it was on from the start")
    expect(not gil_is_on(), "importing or using xctx has switched the GIL on")


gil_was_off = not gil_is_on()
CHECKS: dict[str, Callable[[], None]] = {
    "scopes end, and release": check_scopes,
    "threads are kept apart": check_threads,
    "many threads at once": check_many_threads,
    "greenlets are kept apart": check_greenlets,
    "gevent's greenlets too": check_gevent,
    "asyncio's tasks too": check_tasks,
    "a fork starts empty": check_fork,
    "proxies do as their targets": check_proxies,
    "batches give each value once": check_batches,
    "locks exclude": check_locks,
    "bindings are carried along": check_carry,
    "the GIL stays off": check_gil,
}


def check() -> int:
    """Runs the checks, and prints the outcome of each."""
    if hasattr(sys.stderr, "fileno"):
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
    failed = []
    begin = time.perf_counter()
    for name, run in CHECKS.items():
        try:
            run()
        except Skip as reason:
            print(f"skip  {name}: {reason}")
        except Exception as exc:
            failed.append(name)
            print(f"FAIL  {name}: {exc if isinstance(exc, AssertionError) else repr(exc)}")
        else:
            print(f"ok    {name}")
        sys.stdout.flush()
    faulthandler.cancel_dump_traceback_later()
    seconds = time.perf_counter() - begin
    if failed:
        print(f"failed: {', '.join(failed)}")
        return 1
    print(f"all is well ({seconds:.1f} s)")
    return 0


# --- the demonstration -----------------------------------------------------------------------------------------------

REQUESTS = 1000


class Global:
    """The user in one attribute for all requests, which goes wrong."""

    user: str

    def serve(self, user: str, pause: Callable[[], None]) -> bool:
        self.user = user
        pause()
        return self.user == user

    async def aserve(self, user: str) -> bool:
        self.user = user
        await asyncio.sleep(0)
        return self.user == user


class Scoped:
    """The user bound for the time of the request."""

    def __init__(self) -> None:
        self.current = xctx.xlocal(key=keys.task)

    def serve(self, user: str, pause: Callable[[], None]) -> bool:
        with self.current(user=user):
            pause()
            return bool(self.current.user == user)

    async def aserve(self, user: str) -> bool:
        with self.current(user=user):
            await asyncio.sleep(0)
            return bool(self.current.user == user)


def by_threads(way: Global | Scoped) -> int:
    """How many of the requests found another user than theirs."""
    right: list[bool] = []
    workers = 20
    together = threading.Barrier(workers)

    def pause() -> None:
        together.wait()

    def work(number: int) -> None:
        for turn in range(REQUESTS // workers):
            right.append(way.serve(f"user {number}-{turn}", pause))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return REQUESTS - sum(right)


def by_gevent(way: Global | Scoped) -> int:
    gevent = importlib.import_module("gevent")
    workers = [gevent.spawn(way.serve, f"user {number}", lambda: gevent.sleep(0)) for number in range(REQUESTS)]
    gevent.joinall(workers)
    return REQUESTS - sum(bool(worker.value) for worker in workers)


def by_tasks(way: Global | Scoped) -> int:
    async def main() -> list[bool]:
        return await asyncio.gather(*[way.aserve(f"user {number}") for number in range(REQUESTS)])

    return REQUESTS - sum(asyncio.run(main()))


def demo() -> int:
    """Shows what a global does to concurrent requests, and what xctx does."""
    kinds = {"threads": by_threads, "gevent greenlets": by_gevent, "asyncio tasks": by_tasks}
    reason = why_no_greenlets() or (None if version("gevent") else "gevent is not installed")
    if reason is not None:
        del kinds["gevent greenlets"]
    print(f"{REQUESTS} requests at once ask for their user; how many get another one:\n")
    print(f"{'':20}{'in a global':>14}{'in an xlocal':>14}")
    wrong = 0
    for name, run in kinds.items():
        by_global, by_xctx = run(Global()), run(Scoped())
        wrong += by_xctx
        print(f"{name:20}{by_global:14}{by_xctx:14}")
    if reason is not None:
        print(f"{'gevent greenlets':20}{'(' + reason + ')':>28}")
    left = debug.live_bindings()
    print(f"\nbindings left afterwards: {left}")
    return 1 if wrong or left else 0


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line, and gives the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["locks"]:
        from xctx._lock import listing

        return listing.main(arguments[1:])
    if arguments[:1] == ["dump"]:
        from xctx._tree import asking

        return asking.main(arguments[1:])
    if arguments[:1] == ["run"]:
        from xctx._patch import program

        return program.main(arguments[1:]) or 0
    parser = argparse.ArgumentParser(
        prog="python -m xctx",
        description="What this interpreter offers to xctx. `python -m xctx locks` tells of the locks with a name, "
        "`python -m xctx dump` of who is running in another process; `python -m xctx run` runs a program patched.",
        epilog="Ends with 0 where all is well, 1 where a check failed, 2 where the command makes no sense.",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="try the installation, in a few seconds")
    choice.add_argument("--demo", action="store_true", help="a thousand requests at once, with a global and with xctx")
    options = parser.parse_args(arguments)
    return check() if options.check else demo() if options.demo else show()


if __name__ == "__main__":
    sys.exit(main())
