"""Snapshots against a model of a few lines: what each shows, wherever and whenever it is applied."""

import contextvars
import gc
import pickle
import weakref

import pytest
from carry_module import ALL
from helpers.effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import xctx
from xctx._carry.snapshot import AppliedBlock

NAMES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3)
NUMBERS = st.integers(0, 2)


class Model(RuleBasedStateMachine):
    """Blocks and snapshots entered and left in any order, in contexts that are copied at any time, by several units.

    A context is a list of blocks, each (number, unit, barrier, names); `names` has a dict for each xlocal, or None
    where the block says nothing about that one.
    """

    contexts = Bundle("contexts")
    snapshots = Bundle("snapshots")
    entered = Bundle("entered")
    key_name = "callable"

    @initialize(target=contexts)
    def begin(self):
        self.unit = 0
        key = (lambda: self.unit) if self.key_name == "callable" else xctx.keys.context
        self.xlocals = [xctx.xlocal(key=key), xctx.xlocal(key=key)]
        self.real = {}
        self.blocks = {}
        self.taken = {}
        self.open = {}
        self.count = 0
        return self.add(contextvars.Context(), [])

    def add(self, context, blocks):
        self.count += 1
        self.real[self.count], self.blocks[self.count] = context, blocks
        return self.count

    def unit_here(self):
        return self.unit if self.key_name == "callable" else None

    def visible(self, blocks, number):
        names = {}
        for _, unit, barrier, bound in blocks:
            if unit == self.unit_here() and bound[number] is not None:
                names = {**({} if barrier else names), **bound[number]}
        return names

    @rule(target=contexts, context=contexts)
    def copy(self, context):
        return self.add(self.real[context].run(contextvars.copy_context), list(self.blocks[context]))

    @rule(unit=NUMBERS)
    def switch(self, unit):
        self.unit = unit

    @rule(target=entered, context=contexts, number=st.integers(0, 1), names=NAMES)
    def bind(self, context, number, names):
        self.count += 1
        scope = self.xlocals[number](**names)
        self.real[context].run(scope.__enter__)
        bound = (names, None) if number == 0 else (None, names)
        self.blocks[context] = [*self.blocks[context], (self.count, self.unit_here(), False, bound)]
        self.open[self.count] = scope, context
        return self.count

    @rule(target=snapshots, context=contexts, which=st.sampled_from([(), (0,), (1,), (1, 0)]))
    def capture(self, context, which):
        self.count += 1
        chosen = [self.xlocals[each] for each in which]
        snapshot = self.real[context].run(xctx.capture, *chosen)
        seen = tuple(
            self.visible(self.blocks[context], each) if not which or each in which else None for each in (0, 1)
        )
        self.taken[self.count] = snapshot, seen
        return self.count

    @rule(target=entered, context=contexts, snapshot=snapshots)
    def apply(self, context, snapshot):
        self.count += 1
        snapshot, seen = self.taken[snapshot]
        block = AppliedBlock(snapshot)
        self.real[context].run(block.__enter__)
        self.blocks[context] = [*self.blocks[context], (self.count, self.unit_here(), True, seen)]
        self.open[self.count] = block, context
        return self.count

    @rule(context=contexts, entered=entered)
    def leave(self, context, entered):
        block, entered_in = self.open.pop(entered, (None, None))
        if block is not None:
            self.real[context].run(block.__exit__, None, None, None)
            for each_context in (context, entered_in):
                self.blocks[each_context] = [each for each in self.blocks[each_context] if each[0] != entered]

    @rule(context=contexts, snapshot=snapshots)
    def run(self, context, snapshot):
        snapshot, seen = self.taken[snapshot]
        found = self.real[context].run(snapshot.run, lambda: [vars(each) for each in self.xlocals])
        expected = [
            self.visible(self.blocks[context], number) if names is None else names for number, names in enumerate(seen)
        ]
        assert found == expected

    @invariant()
    def each_context_shows_what_it_should(self):
        for context, blocks in self.blocks.items():
            for number, x in enumerate(self.xlocals):
                assert self.real[context].run(vars, x) == self.visible(blocks, number)


@pytest.mark.parametrize("key_name", ["callable", "context"])
def test_model(key_name):
    case = type(f"ModelBy{key_name.title()}", (Model,), {"key_name": key_name}).TestCase
    case.settings = settings(
        max_examples=examples(100), stateful_step_count=40, suppress_health_check=list(HealthCheck)
    )
    case().runTest()


LAYERS = st.lists(st.tuples(st.sampled_from(list(ALL)), NAMES), max_size=6)


@settings(max_examples=examples(100))
@given(layers=LAYERS, outside=LAYERS, protocol=st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_what_is_seen_there_is_what_was_seen_here_also_through_a_pickle(layers, outside, protocol):
    def nested(layers, func):
        if not layers:
            return func()
        (key_name, names), *rest = layers
        with ALL[key_name](**names):
            return nested(rest, func)

    def look():
        return {key_name: vars(x) for key_name, x in ALL.items()}

    here, snapshot = nested(layers, lambda: (look(), xctx.capture()))
    for each in (snapshot, pickle.loads(pickle.dumps(snapshot, protocol))):
        there, before, after = nested(outside, lambda each=each: (each.run(look), look(), look()))
        assert there == here
        assert before == after
    assert set(map(len, look().values())) == {0}


@settings(max_examples=examples(50))
@given(layers=LAYERS, steps=st.lists(st.sampled_from(["take", "enter", "leave", "run", "drop"]), max_size=12))
def test_nothing_stays_alive_afterwards(layers, steps):
    class Thing:
        pass

    refs, snapshots, blocks = [], [], []

    def bind(layers):
        if layers:
            (key_name, names), *rest = layers
            values = {name: Thing() for name in names}
            refs.extend(map(weakref.ref, values.values()))
            scope = ALL[key_name](**values)
            del values
            with scope:
                bind(rest)
        else:
            snapshots.append(xctx.capture())
            act()

    def act():
        for step in steps:
            if step == "take":
                snapshots.append(xctx.capture())
            elif step == "enter" and snapshots:
                snapshots[-1].__enter__()
                blocks.append(snapshots[-1])
            elif step == "leave" and blocks:
                blocks.pop(0).__exit__(None, None, None)
            elif step == "run" and snapshots:
                snapshots[0].run(lambda: None)
            elif step == "drop" and snapshots:
                snapshots.pop()

    bind(layers)
    act()
    while blocks:
        blocks.pop(0).__exit__(None, None, None)
    snapshots.clear()
    gc.disable()
    try:
        assert [ref() for ref in refs if ref() is not None] == []
    finally:
        gc.enable()
    assert [vars(x) for x in ALL.values()] == [{}] * len(ALL)
