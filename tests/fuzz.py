"""A fuzzer of the whole public API with hostile objects: ``make fuzz``, or ``python tests/fuzz.py --seconds 60``.

Each round is a process of its own, which a seed determines as far as threads and signals allow. In it some threads,
greenlets and tasks do random things with a few stores, scopes, snapshots, units of work, proxies, batches and locks,
look at all of them, patch the standard library, and give them objects whose methods do such things again: when they
are compared, hashed, looked up, finalised, while the collector runs, a function traces, a signal's handler raises. A
part of what they use is made before the threads, so that all of these use it at the same time. Anything may be raised.
A round that crashes, or does not end, is reported with its seed, and the run fails.
"""

import argparse
import asyncio
import contextlib
import contextvars
import copy
import dataclasses
import faulthandler
import gc
import importlib
import importlib.util
import operator
import os
import pickle
import pkgutil
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref

# What xctx imports when it is first needed.
IMPORTED_LATE = (
    "annotationlib",
    "difflib",
    "html",
    "json",
    "multiprocessing.context",
    "multiprocessing.reduction",
    "typing",
)
LIMIT = 300  # seconds in which a round must end, on a busy machine and under a sanitizer too
DEEPEST = 4  # how deep hostile objects act within hostile objects
PATIENCE = 1  # seconds for which a thread waits for one that it has started
THREADS = 3
# Those left out may take all that an endless iterator has.
ENDLESS = ("contains", "countOf", "iadd", "iconcat", "indexOf")
FUNCTIONS = [getattr(operator, name) for name in operator.__all__ if name not in ENDLESS]
FUNCTIONS += [iter, reversed, str, int, float, complex, callable, format, memoryview, type, divmod, round, isinstance]
FUNCTIONS += [dataclasses.is_dataclass, dataclasses.fields, dataclasses.asdict, dataclasses.replace]


# --- one round -------------------------------------------------------------------------------------------------------


class Interrupt(Exception):
    """What the handler of a signal raises."""


class Hostile:
    """An object each of whose methods does anything."""

    def __init__(self, world):
        self.world = world
        self.cycle = self

    def _act(self, *_):
        return self.world.act()

    def __eq__(self, other):
        self._act()
        return self.world.random.random() < 0.5

    def __hash__(self):
        self._act()
        return self.world.random.randrange(3)

    def __del__(self):
        self._act()

    def __repr__(self):
        self._act()
        return "hostile"

    def __get__(self, instance, owner):
        self._act()
        return self if self.world.random.random() < 0.5 else instance

    def __next__(self):
        if self.world.over or self.world.random.random() < 0.2:
            raise StopIteration
        return self._act()

    __call__ = __enter__ = __exit__ = __iter__ = __add__ = __len__ = __getitem__ = __bool__ = __await__ = _act

    def __set__(self, instance, value):
        self._act()

    def __reduce_ex__(self, protocol):
        self._act()
        return Hostile, (self.world,)


class HostileName(str):
    world = None

    def __eq__(self, other):
        if self.world is not None:
            return self.world.act()
        raise Interrupt

    def __hash__(self):
        if self.world is not None:
            self.world.act()
        return 1

    __str__ = __format__ = lambda self, *_: 5


NAMES = ["a", "b", "name", "wrapped", "__dict__", "__class__", "__xctx_key__", "", "\ud800", "a\0"]
NAMES += ["x" * 99, "x" * 100_000, HostileName, None, 5, b"a"]


class Vanishing:
    """An object whose references and finaliser act when it dies."""

    def __init__(self, world):
        self.cycle = self
        self.references = [weakref.ref(self, world.act), weakref.ref(world.thing(), world.act)]
        weakref.finalize(self, world.act)


class World:
    """What a round has: stores and all that was made of them."""

    def __init__(self, seed, directory):
        import xctx
        import xctx.concurrent
        import xctx.debug
        import xctx.patch
        import xctx.wire
        from xctx._carry.snapshot import AppliedBlock
        from xctx._runtime.functions import StepContext

        self.xctx = xctx
        self.directory = directory
        self.random = random.Random(seed)
        self.here = threading.local()
        self.over = False
        self.hands_over = threading.Lock()
        self.users = {}  # by the id of a generator or the like, the thread that uses it
        self.library = [getattr(xctx, name) for name in xctx.__all__ if isinstance(getattr(xctx, name), type)]
        self.library += [xctx.keys.Key, xctx.keys.Unit]
        self.parts = (StepContext, AppliedBlock)
        keys = xctx.keys
        self.keys = [keys.process, keys.thread, keys.greenlet, keys.task, keys.flow, keys.work, keys.context]
        self.keys.append(keys.Key(lambda: self.anything()))
        self.things = []
        self.shared = []
        self.makers = [
            lambda: xctx.xlocal(key=self.key()),
            lambda: xctx.local(key=self.key()),
            lambda: type(
                "Derived", (xctx.local,), {"__init__": lambda store, *args: self.act(), "name": self.anything()}
            )(),
            lambda: type("Derived", (xctx.xlocal,), {"__annotations__": {"a": int}, "a": self.anything()})(),
            lambda: type("Made", (xctx.xlocal,), {"__annotations__": {"a": int}, "a": self.made_late()})(),
            lambda: type("Made", (xctx.local,), {"a": self.made_late()}, key=self.key())(),
            lambda: xctx.LocalWrapper(self.anything()),
            lambda: xctx.LocalWrapper.lazy(self.something_lazy),
            lambda: xctx.LocalProxy(self.thing(), self.name()),
            lambda: xctx.LocalProxy(self.act),
            lambda: xctx.BatchExecutor(self.anything, self.random.randrange(1, 5)),
            lambda: xctx.BatchExecutor.from_batches(lambda n: [self.anything()] * n, 3),
            lambda: xctx.SharedLock(key=keys.greenlet),
            lambda: xctx.SharedRLock(key=keys.thread),
            lambda: xctx.SharedLock.at(os.path.join(self.directory, self.name()), on_death="ignore"),
            xctx.work,
            xctx.nothing,
            lambda: xctx.nothing(self.thing()),
            xctx.capture,
            lambda: xctx.capture(self.thing(), self.thing()),
            lambda: xctx.carry(self.act),
            lambda: xctx.carry(self.steps)(),
            lambda: xctx.carry(self.coroutine)(),
            lambda: xctx.isolated(self.steps)(),
            lambda: xctx.isolated(self.coroutine)(),
            lambda: xctx.transparent(self.new_steps())(),
            lambda: xctx.work()(self.steps)(),
            lambda: self.thing()(**{self.name(): self.anything()}),
            lambda: self.thing()(self.steps)(),
            lambda: self.thing()(self.coroutine)(),
            lambda: xctx.wire.extract({"baggage": "a=1"}),
            lambda: Hostile(self),
            lambda: contextvars.copy_context(),
            lambda: weakref.ref(self.thing(), self.act),
            lambda: weakref.proxy(self.thing(), self.act),
            lambda: Vanishing(self),
            lambda: [Hostile(self), self.thing()],
            lambda: xctx.LocalProxy(self.thing(), self.name(), unbound_message=self.anything()),
            lambda: xctx.LocalProxy(contextvars.ContextVar("var", default=None)),
            lambda: type("Named", (xctx.local, self.kind()), {"a": None, "__slots__": self.random.choice(["b", ()])})(),
            lambda: type("Named", (xctx.xlocal,), {"a": xctx.field(default=None), "__annotations__": {"a": None}})(),
            lambda: type("Proxy", (self.random.choice([xctx.LocalProxy, xctx.LocalWrapper]),), {"a": None})(
                self.thing()
            ),
            lambda: xctx.BatchExecutor(lambda: None, 2),
            lambda: xctx.BatchExecutor(self.act, 2).as_local(),
            lambda: xctx.local(key=lambda: None),
            lambda: xctx.keys.Key(self.act),
            lambda: self.kind().__new__(self.kind()),
            lambda: self.random.choice(self.library)(self.thing()),
            lambda: self.chain(),
            lambda: self.chained()(self.random.choice([2, 40, 300])),
            lambda: pickle.loads(pickle.dumps(self.thing())),
            lambda: self.left_open(self.thing()),
            lambda: self.part(),
        ]
        self.uses = [
            lambda it: getattr(it, self.name()),
            lambda it: setattr(it, self.name(), self.anything()),
            lambda it: delattr(it, self.name()),
            lambda it: self.entered(it),
            lambda it: it.__enter__(),
            lambda it: it.__exit__(None, None, None),
            lambda it: it.__aenter__().send(None),
            lambda it: it.__aexit__(None, None, None).send(None),
            lambda it: it(),
            lambda it: it(self.anything()),
            lambda it: it.run(self.act),
            lambda it: it.close(),
            lambda it: it.send(None),
            lambda it: it == self.anything(),
            lambda it: it + self.anything(),
            lambda it: next(it),
            lambda it: len(it),
            lambda it: it[self.anything()],
            lambda it: vars(it).update({self.name(): self.anything()}),
            lambda it: dict(vars(it)),
            repr,
            dir,
            hash,
            copy.copy,
            copy.deepcopy,
            pickle.dumps,
            lambda it: pickle.loads(pickle.dumps(it)),
            xctx.unwrap,
            xctx.is_proxy,
            xctx.capture,
            xctx.debug.units_of,
            xctx.debug.stores_of,
            lambda it: xctx.debug.stores_of(it.current()),
            lambda it: xctx.debug.explain(it, self.name()),
            lambda it: xctx.wire.inject({}, it),
            lambda it: it.current(),
            lambda it: it.forget(self.anything()),
            lambda it: it.__release_local__(),
            lambda it: it.throw(Interrupt),
            lambda it: it(**{self.name(): None}),
            lambda it: setattr(it, self.name(), None),
            lambda it: self.random.choice(FUNCTIONS)(it),
            lambda it: self.random.choice(FUNCTIONS)(it, self.anything()),
            lambda it: self.random.choice(FUNCTIONS)(self.anything(), it),
            lambda it: self.called_on(it),
            lambda it: type(it).__new__(type(it)),
            lambda it: type(it)(),
            lambda it: self.matched(it),
            lambda it: isinstance(it, self.kind()),
            lambda it: gc.get_referents(it),
            lambda it: gc.get_referrers(it),
            lambda it: weakref.finalize(it, self.act),
            lambda it: object.__getattribute__(it, self.name()),
            lambda it: self.entered_often(it),
        ]
        # The other methods of these wait for other threads, which may wait in turn.
        self.calm_types = (xctx.SharedLock, xctx.BatchExecutor, type(xctx.BatchExecutor(self.act, 1).as_local()))
        self.calm_uses = [
            lambda it: it.acquire(timeout=0) if isinstance(it, xctx.SharedLock) else it.load(block=False),
            lambda it: it.release(),
            lambda it: it.acquire(exclusive=True, timeout=0),
            lambda it: getattr(it, self.name()),
            lambda it: it.as_local().load(block=False),
            lambda it: (it.stats, it.closed, it.leftover, it.__length_hint__()),
            lambda it: it == self.anything(),
            repr,
            dir,
            copy.copy,
            gc.get_referents,
        ]
        self.turns = [
            lambda: gc.collect(self.random.randrange(3)),
            lambda: gc.set_threshold(self.random.choice([1, 10, 700])),
            lambda: contextvars.copy_context().run(self.act),
            lambda: contextvars.Context().run(self.act),
            lambda: self.in_greenlet(),
            lambda: self.in_work(),
            lambda: self.in_thread(),
            lambda: self.in_loop(),
            lambda: self.traced(),
            lambda: self.look(),
            lambda: self.in_executor(),
            lambda: self.patched(),
            xctx.debug.live_bindings,
            lambda: xctx.debug.track(self.random.random() < 0.5),
            lambda: self.things.pop(self.random.randrange(len(self.things))),
            lambda: self.things.clear(),
        ]

    def key(self):
        return self.random.choice(self.keys)

    def kind(self):
        return self.random.choice([*self.library, object, list, type])

    def name(self):
        name = self.random.choice(NAMES)
        if name is HostileName:
            name = HostileName(self.random.choice(["a", "__class__", "", "x" * 99]))
            name.world = self.random.choice([None, self])
        return name

    def share(self):
        """Makes what all threads use: before they start, so that they need nothing else to agree on."""
        xctx = self.xctx
        lazy = xctx.LocalWrapper.lazy(self.something_lazy)
        scoped = xctx.xlocal()
        shared = [scoped, *(xctx.local(key=key) for key in self.keys), *(xctx.xlocal(key=key) for key in self.keys)]
        shared += [xctx.SharedLock(key=xctx.keys.thread), xctx.SharedRLock(), xctx.BatchExecutor(self.anything, 2)]
        shared += [lazy, xctx.LocalWrapper(lazy), xctx.LocalWrapper([]), xctx.LocalProxy(scoped, "a"), scoped(a=None)]
        with scoped(a=1), xctx.work() as work:
            snapshot = xctx.capture(scoped)
            shared += [work, snapshot, xctx.capture(), pickle.loads(pickle.dumps(xctx.nothing())), snapshot(self.act)]
            shared += [xctx.carry(self.act), contextvars.copy_context()]
        self.shared = shared

    def thing(self):
        things = self.things
        if self.random.random() < 0.3 and self.shared:
            return self.random.choice(self.shared)
        try:
            return things[self.random.randrange(len(things))]
        except (IndexError, ValueError):  # another thread has taken them
            return Hostile(self)

    def anything(self):
        choice = self.random.randrange(6)
        return [None, 1, self.name(), self.thing(), Hostile(self), (self.thing(),)][choice]

    def steps(self):
        for _ in range(99):
            yield self.act()

    def chained(self):
        @self.xctx.isolated
        def steps(depth):
            yield self.act()
            if depth:
                yield from steps(depth - 1)

        return steps

    def chain(self):
        """Of which each part is made of the one before. It is freed without recursion."""
        xctx = self.xctx
        wrap = self.random.choice([xctx.carry, xctx.isolated, xctx.work(), xctx.capture(), xctx.LocalProxy])
        made = self.random.choice([self.act, self.steps, self.coroutine])
        for _ in range(self.random.choice([3, 30, 1000])):
            made = wrap(made)
        return made

    def part(self):
        """What the library has made for itself."""
        parts = [each for each in gc.get_referents(self.thing()) if type(each).__module__.startswith("xctx")]
        return self.random.choice(parts)

    def called_on(self, it):
        """Calls a method on an object of another class."""
        kind = self.random.choice(self.library)
        name = self.random.choice([name for name in dir(kind) if name.startswith("__") or kind not in self.calm_types])
        return getattr(kind, name)(it, *[self.anything()] * self.random.randrange(3))

    def matched(self, it):
        match it:
            case [first, *_] | {"a": first} | self.xctx.local(a=first) | self.xctx.Snapshot(a=first) | str(first):
                return first

    def left_open(self, it):
        if not isinstance(self.xctx.unwrap(it), self.calm_types):
            contextlib.ExitStack().enter_context(it)
        return it

    def release_locks(self):
        """Others may wait for what this thread holds, if they got a lock from a proxy that had given something else."""
        for it in [*self.shared, *self.things]:
            with contextlib.suppress(Exception):
                while isinstance(it, self.xctx.SharedLock):
                    it.release()

    def entered_often(self, it):
        with contextlib.ExitStack() as stack:
            for _ in range(self.random.choice([3, 300])):
                stack.enter_context(it)
            return self.act()

    def new_steps(self):
        def steps():
            yield self.act()

        return steps

    async def coroutine(self):
        return self.act()

    def made_late(self):
        return self.xctx.field(default_factory=self.act)

    def something_lazy(self):
        """What a factory makes. It uses no lazy wrapper: two threads whose factories need each other's never end."""
        depth = self.here.depth
        self.here.depth = DEEPEST
        try:
            if self.random.random() < 0.3:
                raise Interrupt
            gc.collect(0)
            return self.anything()
        finally:
            self.here.depth = depth

    def entered(self, it):
        with it:
            return self.act()

    def in_greenlet(self):
        greenlet = sys.modules.get("greenlet")
        if greenlet is None:
            return self.act()
        made = greenlet.greenlet(lambda: [self.act(), greenlet.getcurrent().parent.switch(), self.act()])
        self.things.append(made)
        return made.switch()

    def in_work(self):
        with self.xctx.work():
            return self.act()

    def in_thread(self):
        if not self.is_left_alone():
            return self.act()
        depth = self.here.depth

        def run():
            self.here.depth = depth
            self.act()

        thread = self.xctx.concurrent.Thread(target=run, daemon=True)
        thread.start()
        return thread.join(PATIENCE)

    def in_executor(self):
        # The standard library holds a lock while work is handed over, and waits until a thread has started, which may
        # come to a finalizer that would wait for the lock.
        if not self.is_left_alone() or not self.hands_over.acquire(blocking=False):
            return self.act()
        depth = self.here.depth

        def run():
            self.here.depth = depth
            return self.act()

        try:
            pool = self.xctx.concurrent.ThreadPoolExecutor(1, initializer=self.random.choice([None, run]))
            future = pool.submit(run)
        finally:
            self.hands_over.release()
        try:
            return future.result(PATIENCE)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def patched(self):
        if not self.is_left_alone():
            return self.act()
        patch = self.xctx.patch
        with self.random.choice([patch.locals, patch.proxies, patch.carry, patch.all])():
            made = threading.local()
            if isinstance(made, self.xctx.local):  # another thread may have undone the patch meanwhile
                self.things.append(made)
            patch.report()
            return self.act()

    def in_loop(self):
        if not self.is_left_alone():
            return self.act()
        loop = asyncio.new_event_loop()

        async def main():
            tasks = [loop.create_task(self.coroutine()) for _ in range(2)]
            self.things.append(tasks[0])
            self.act()
            await asyncio.sleep(0)
            self.act()
            return tasks[1].cancel()

        coroutine = main()
        try:
            return loop.run_until_complete(coroutine)
        finally:
            coroutine.close()
            loop.close()

    @staticmethod
    def is_left_alone():
        """Not in the thread in which handlers of signals raise: they might in the middle of what the library does."""
        return threading.current_thread() is not threading.main_thread()

    def look(self):
        tree = self.xctx.debug.tree(values=self.random.random() < 0.5)
        return self.random.choice([str, repr, type(tree).json, type(tree).html])(tree)

    def traced(self):
        def trace(frame, event, arg):
            if self.random.random() < 0.05:
                self.act()
            return trace

        sys.settrace(trace)
        try:
            return self.act()
        finally:
            sys.settrace(None)

    @contextlib.contextmanager
    def claimed(self, it):
        """Raises if another thread uses a generator, or a part of one: only one thread at a time may do that."""
        me = [threading.get_ident()]
        user = me
        if hasattr(type(it), "__next__") or hasattr(type(it), "send") or isinstance(it, self.parts):
            user = self.users.setdefault(id(it), me)
            if user != me:
                raise Interrupt
        try:
            yield
        finally:
            if user is me:
                self.users.pop(id(it), None)

    def act(self, *_):
        """Does something, and something else within it."""
        depth = getattr(self.here, "depth", 0)
        if depth >= DEEPEST or self.over:
            return None
        self.here.depth = depth + 1
        try:
            choice = self.random.random()
            if choice < 0.3 and len(self.things) < 60:
                self.things.append(self.random.choice(self.makers)())
            elif choice < 0.9:
                it = self.thing()
                behind = self.xctx.unwrap(it)
                if isinstance(behind, self.calm_types):
                    return self.random.choice(self.calm_uses)(it)
                with self.claimed(it), self.claimed(behind):
                    return self.random.choice(self.uses)(it)
            else:
                return self.random.choice(self.turns)()
        except Exception:
            return None
        finally:
            self.here.depth = depth

    def work(self, count):
        for _ in range(count):
            with contextlib.suppress(BaseException):
                self.act()


def round_of(seed, count):
    """Runs in a process of its own."""
    faulthandler.dump_traceback_later(LIMIT * 0.9)  # says where a round hangs that does not end
    with contextlib.suppress(ImportError):
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            raise ImportError  # greenlet would switch the GIL on
        import greenlet

        # Where a thread has ended, greenlet gives up a reference to its main greenlet if the collector finds nobody
        # that has it, although C code may.
        greenlet._greenlet.enable_optional_cleanup(False)
    import_all()  # a signal or trace function in the middle of an import may leave its lock held
    sys.unraisablehook = threading.excepthook = lambda *args: None
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(500)
    with tempfile.TemporaryDirectory() as directory:
        world = World(seed, directory)
        world.share()
        run_round(world, count)


def run_round(world, count):
    threads = [threading.Thread(target=world.work, args=(count,), daemon=True) for _ in range(THREADS)]

    def interrupt(_number, frame):
        # Only where it is caught: an end in the middle of what follows would leave the timer running.
        while frame is not None:
            if frame.f_code is World.work.__code__:
                raise Interrupt
            frame = frame.f_back

    for thread in threads:
        thread.start()
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.005)
    try:
        world.work(count)
    except Interrupt:
        pass
    finally:
        ignore_signals()
    world.over = True
    world.release_locks()
    for thread in threads:
        thread.join(LIMIT)
    world.things.clear()
    world.shared = []
    gc.collect()


def import_all():
    import xctx

    for module in pkgutil.walk_packages(xctx.__path__, "xctx."):
        if module.name.startswith(("xctx._", "xctx.concurrent", "xctx.debug", "xctx.patch", "xctx.wire")):
            importlib.import_module(module.name)
    for name in IMPORTED_LATE:
        if importlib.util.find_spec(name):
            importlib.import_module(name)


def ignore_signals():
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


# --- many rounds -----------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    parser.add_argument("--seed", type=int, help="of the first round; default: another one each time")
    parser.add_argument("--count", type=int, default=400, help="how many things each thread of a round does")
    parser.add_argument("--round", type=int, metavar="SEED", help="run this round only, here")
    options = parser.parse_args()
    if options.round is not None:
        return round_of(options.round, options.count)
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    end, rounds, failed = time.monotonic() + options.seconds, 0, []
    while time.monotonic() < end:
        command = [sys.executable, "-X", "faulthandler", __file__, "--round", str(seed), "--count", str(options.count)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT)
            status, said = done.returncode, done.stderr
        except subprocess.TimeoutExpired as expired:
            status, said = "no end", (expired.stderr or b"").decode(errors="replace")
        if status:
            failed.append(seed)
            print(f"seed {seed}: {status}\n{said[-20_000:]}", flush=True)
        seed, rounds = seed + 1, rounds + 1
    print(f"{rounds} rounds, {len(failed)} failed{(failed and f': seeds {failed}') or ''}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
