"""xlocal against a model of a few lines: a context is a list of blocks, each with its unit, names and number."""

import contextvars

import pytest
from helpers.effort import examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import xctx

NAMES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3)


class Model(RuleBasedStateMachine):
    """Blocks entered and left in any order, in contexts that are copied at any time, by units that come and go."""

    contexts = Bundle("contexts")
    scopes = Bundle("scopes")
    key_name = "callable"

    @initialize(target=contexts)
    def begin(self):
        self.unit = 0
        key = (lambda: self.unit) if self.key_name == "callable" else xctx.keys.context
        self.x = xctx.xlocal(key=key)
        self.blocks = {}  # number of a context -> [(unit, names, number of the block)]
        self.real = {}
        self.entered = {}  # number of a scope -> the blocks that it has entered, in order: (number, unit, real context)
        self.made = {}
        self.count = 0
        return self.add(contextvars.Context(), [])

    def add(self, context, blocks):
        self.count += 1
        self.real[self.count], self.blocks[self.count] = context, blocks
        return self.count

    def unit_here(self):
        return self.unit if self.key_name == "callable" else None

    @rule(target=contexts, context=contexts)
    def copy(self, context):
        return self.add(self.real[context].run(contextvars.copy_context), list(self.blocks[context]))

    @rule(target=contexts)
    def new(self):
        return self.add(contextvars.Context(), [])

    @rule(unit=st.integers(0, 2))
    def switch(self, unit):
        self.unit = unit

    @rule(target=scopes, names=NAMES)
    def make(self, names):
        self.count += 1
        self.made[self.count] = self.x(**names), names
        self.entered[self.count] = []
        return self.count

    @rule(scope=scopes, context=contexts)
    def enter(self, scope, context):
        real, names = self.made[scope]
        self.real[context].run(real.__enter__)
        self.count += 1
        self.blocks[context].append((self.unit_here(), names, self.count))
        self.entered[scope].append((self.count, self.unit_here(), self.real[context]))

    @rule(scope=scopes, context=contexts)
    def leave(self, scope, context):
        real, _ = self.made[scope]
        entered = self.entered[scope]
        if not entered:
            with pytest.raises(RuntimeError, match="not entered"):
                self.real[context].run(real.__exit__, None, None, None)
            return
        self.real[context].run(real.__exit__, None, None, None)
        numbers = [number for number, _, _ in entered]
        here = [number for _, _, number in reversed(self.blocks[context]) if number in numbers]
        mine = [number for number, unit, _ in reversed(entered) if unit == self.unit_here()]
        left = (here or mine or numbers[::-1])[0]
        self.entered[scope] = [each for each in entered if each[0] != left]
        entered_in = next(real for number, _, real in entered if number == left)
        for number, blocks in self.blocks.items():
            if number == context or self.real[number] is entered_in:
                self.blocks[number] = [each for each in blocks if each[2] != left]

    @rule(context=contexts, times=st.integers(1, 40), names=NAMES)
    def grow(self, context, times, names):
        """Blocks that are left in a context whose copy goes on, as by a timer that arms itself again."""

        def once():
            with self.x(**names):
                return contextvars.copy_context()

        for _ in range(times):
            self.real[context] = self.real[context].run(once)
        self.blocks[context].append((self.unit_here(), names, None))

    @rule(context=contexts, names=NAMES)
    def nest(self, context, names):
        def inside():
            with self.x(**names):
                return dict(vars(self.x))

        assert self.real[context].run(inside) == {**self.visible(context), **names}

    def visible(self, context):
        names = {}
        for unit, bound, _ in self.blocks[context]:
            if unit == self.unit_here():
                names.update(bound)
        return names

    @invariant()
    def everything_is_as_in_the_model(self):
        for context, real in getattr(self, "real", {}).items():
            visible = self.visible(context)
            assert real.run(lambda: dict(vars(self.x))) == visible
            for name in "abc":
                assert real.run(getattr, self.x, name, None) == visible.get(name)


class ContextModel(Model):
    """The same under the key `context`, where every unit reads."""

    key_name = "context"


SETTINGS = settings(max_examples=examples(60), stateful_step_count=40, suppress_health_check=list(HealthCheck))
TestByValue = Model.TestCase
TestByValue.settings = SETTINGS
TestByContext = ContextModel.TestCase
TestByContext.settings = SETTINGS
