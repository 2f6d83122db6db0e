"""Any sequence of operations on stores and units, against a dict of dicts; for each key."""

import contextvars
import gc
import threading

import pytest
from helpers.effort import examples
from helpers.packages import installed
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

import xctx
from xctx import debug, keys

# Few enough to meet often, enough to make a store pass from one way of keeping things to the next; interned and not.
NAMES = st.sampled_from([f"name{i}" for i in range(15)]).map(lambda name: "".join(name))
VALUES = st.integers(0, 100)

SETTINGS = settings(max_examples=examples(20), stateful_step_count=40, suppress_health_check=list(HealthCheck))


class ThreadUnit:
    """A thread that runs one function after another."""

    def __init__(self):
        self.given, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.job = None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while True:
            self.given.acquire()
            if self.job is None:
                return
            func, self.job = self.job, None
            try:
                self.outcome = func(), None
            except Exception as exc:
                self.outcome = None, exc.with_traceback(None)
            func = None
            self.done.release()

    def run(self, func):
        self.job = func
        self.given.release()
        self.done.acquire()
        (value, exc), self.outcome = self.outcome, None
        if exc is not None:
            raise exc
        return value

    def end(self):
        self.given.release()
        self.thread.join()


class GreenletUnit:
    """The same as a greenlet."""

    def __init__(self):
        import greenlet

        self.greenlet = greenlet.greenlet(self.work)
        self.greenlet.switch()

    @staticmethod
    def work():
        import greenlet

        outcome = None
        while True:
            func = greenlet.getcurrent().parent.switch(outcome)
            outcome = None
            if func is None:
                return
            try:
                outcome = func(), None
            except Exception as exc:
                outcome = None, exc.with_traceback(None)
            func = None

    def run(self, func):
        import greenlet

        self.greenlet.parent = greenlet.getcurrent()
        value, exc = self.greenlet.switch(func)
        if exc is not None:
            raise exc
        return value

    def end(self):
        self.greenlet.switch(None)
        self.greenlet = None  # a plain greenlet tells of its end when it is let go


class ContextUnit:
    def __init__(self):
        self.context = contextvars.Context()

    def run(self, func):
        return self.context.run(func)

    def end(self):
        self.context = None


class ValueUnit:
    current = None

    def __init__(self):
        self.value = object() if id(self) % 32 else str(id(self))

    def run(self, func):
        ValueUnit.current = self.value
        try:
            return func()
        finally:
            ValueUnit.current = None

    def end(self):
        VALUE_KEY.forget(self.value)


VALUE_KEY = keys.Key(lambda: ValueUnit.current, "model")


class Model(RuleBasedStateMachine):
    """`expected[store][unit]` is what the store should hold for the unit."""

    key = unit_class = None
    stores = Bundle("stores")
    units = Bundle("units")

    def __init__(self):
        super().__init__()
        self.expected = {}
        self.alive = set()

    @rule(target=stores, initialised=st.booleans())
    def make_store(self, initialised):
        if initialised:

            class Initialised(xctx.local, key=self.key):
                default = "default"

                def __init__(self, value):
                    self.name0 = value

            store = Initialised("first")
            here = {"name0": "first"}
        else:
            store, here = xctx.local(key=self.key), {}
        self.expected[store] = {None: here}
        return store

    @rule(target=units)
    def make_unit(self):
        unit = self.unit_class()
        self.alive.add(unit)
        return unit

    def names(self, store, unit):
        first = {"name0": "first"} if type(store) is not xctx.local else {}
        return self.expected[store].setdefault(unit, first)

    def run(self, unit, func):
        return func() if unit is None else unit.run(func)

    somewhere = st.one_of(st.none(), units)

    @rule(store=stores, unit=somewhere, name=NAMES, value=VALUES)
    def set(self, store, unit, name, value):
        self.run(unit, lambda: setattr(store, name, value))
        self.names(store, unit)[name] = value

    @rule(store=stores, unit=somewhere, name=NAMES)
    def get(self, store, unit, name):
        assert self.run(unit, lambda: getattr(store, name, None)) == self.names(store, unit).get(name)

    @rule(store=stores, unit=somewhere, name=NAMES)
    def delete(self, store, unit, name):
        if self.names(store, unit).pop(name, None) is None:
            with pytest.raises(AttributeError, match=name):
                self.run(unit, lambda: delattr(store, name))
        else:
            self.run(unit, lambda: delattr(store, name))

    @rule(store=stores, unit=somewhere, more=st.dictionaries(NAMES, VALUES))
    def update(self, store, unit, more):
        self.run(unit, lambda: store.__dict__.update(more))
        self.names(store, unit).update(more)

    @rule(store=stores, unit=somewhere, name=NAMES)
    def pop(self, store, unit, name):
        assert self.run(unit, lambda: store.__dict__.pop(name, None)) == self.names(store, unit).pop(name, None)

    @rule(store=stores, unit=somewhere)
    def clear(self, store, unit):
        self.run(unit, store.__release_local__)
        self.names(store, unit).clear()

    @rule(store=stores, unit=somewhere)
    def look(self, store, unit):
        expected = self.names(store, unit)
        assert self.run(unit, lambda: dict(store.__dict__)) == expected

    @rule(store=consumes(stores))
    def drop_store(self, store):
        del self.expected[store]

    @rule(unit=consumes(units))
    def end_unit(self, unit):
        unit.end()
        self.alive.discard(unit)
        for units in self.expected.values():
            units.pop(unit, None)

    @invariant()
    def what_is_listed_is_what_there_is(self):
        if self.key is keys.context:
            return
        for store, units in self.expected.items():
            listed = [values for _, values in debug.units_of(store) if values]
            expected = [values for values in units.values() if values]
            assert same_in_any_order(listed, expected)

    def teardown(self):
        for unit in self.alive:
            unit.end()
        self.expected.clear()
        gc.collect()


def same_in_any_order(listed, expected):
    left = list(expected)
    for each in listed:
        if each not in left:
            return False
        left.remove(each)
    return not left


@pytest.mark.parametrize(
    ("key", "unit_class"),
    [
        (keys.thread, ThreadUnit),
        (keys.greenlet, ThreadUnit),
        (keys.greenlet, GreenletUnit),
        (keys.task, GreenletUnit),
        (keys.context, ContextUnit),
        (keys.context, ThreadUnit),
        (VALUE_KEY, ValueUnit),
    ],
    ids=lambda each: getattr(each, "name", getattr(each, "__name__", None)),
)
def test_model(key, unit_class):
    if unit_class is GreenletUnit and not installed("greenlet"):
        pytest.skip("greenlet is not installed")
    case = type("Case", (Model,), {"key": key, "unit_class": unit_class})
    run_state_machine_as_test(case, settings=SETTINGS)
