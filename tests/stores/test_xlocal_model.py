"""xlocal against a model of a few lines: a context is a list of blocks, each with its unit, names and number."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.effort import examples
from helpers.packages import installed
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import xctx

NAMES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3)


class Model(RuleBasedStateMachine):
    """Blocks entered and left in any order, in contexts that are copied at any time, by units that come and go."""

    contexts = Bundle("contexts")
    scopes = Bundle("scopes")

    @initialize(target=contexts)
    def begin(self):
        self.unit = 0
        self.x = xctx.xlocal(key=self.key())
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

    def key(self):
        return lambda: self.unit

    def teardown(self):
        vars(self).clear()  # hypothesis keeps this object, and so all that was left open

    def unit_here(self):
        return self.unit

    def run(self, context, function, *args):
        """Calls the function in a context, by the current unit."""
        return self.real[context].run(function, *args)

    @rule(target=contexts, context=contexts)
    def copy(self, context):
        return self.add(self.run(context, contextvars.copy_context), list(self.blocks[context]))

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
        self.run(context, real.__enter__)
        self.count += 1
        self.blocks[context].append((self.unit_here(), names, self.count))
        self.entered[scope].append((self.count, self.unit_here(), self.real[context]))

    @rule(scope=scopes, context=contexts)
    def leave(self, scope, context):
        real, _ = self.made[scope]
        entered = self.entered[scope]
        if not entered:
            with pytest.raises(RuntimeError, match="not entered"):
                self.run(context, real.__exit__, None, None, None)
            return
        self.run(context, real.__exit__, None, None, None)
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
            self.real[context] = self.run(context, once)
        self.blocks[context].append((self.unit_here(), names, None))

    @rule(context=contexts, names=NAMES)
    def nest(self, context, names):
        def inside():
            with self.x(**names):
                return dict(vars(self.x))

        assert self.run(context, inside) == {**self.visible(context), **names}

    def visible(self, context):
        names = {}
        for unit, bound, _ in self.blocks[context]:
            if unit == self.unit_here():
                names.update(bound)
        return names

    def look(self):
        return dict(vars(self.x)), {name: getattr(self.x, name, None) for name in "abc"}

    @invariant()
    def everything_is_as_in_the_model(self):
        for context in getattr(self, "real", {}):
            visible = self.visible(context)
            assert self.run(context, self.look) == (visible, {name: visible.get(name) for name in "abc"})


class ContextModel(Model):
    """The same under the key `context`, where every unit reads."""

    def key(self):
        return xctx.keys.context

    def unit_here(self):
        return None


class ThreadModel(Model):
    """The same under the key `thread`, with threads that take turns."""

    def key(self):
        self.threads = [ThreadPoolExecutor(1) for _ in range(3)]
        return xctx.keys.thread

    def run(self, context, function, *args):
        return self.threads[self.unit].submit(self.real[context].run, function, *args).result()

    def teardown(self):
        for thread in getattr(self, "threads", ()):
            thread.shutdown()
        super().teardown()


class GreenletModel(Model):
    """The same under the key `greenlet`, with greenlets of one thread."""

    def key(self):
        import greenlet

        def serve(function):
            while True:
                try:
                    outcome = function(), None
                except Exception as exc:
                    outcome = None, exc
                function = greenlet.getcurrent().parent.switch(outcome)

        self.greenlets = [greenlet.greenlet(serve) for _ in range(3)]
        return xctx.keys.greenlet

    def run(self, context, function, *args):
        result, raised = self.greenlets[self.unit].switch(lambda: self.real[context].run(function, *args))
        if raised is not None:
            raise raised
        return result


def tried(number):
    return settings(max_examples=examples(number), stateful_step_count=40, suppress_health_check=list(HealthCheck))


TestByValue = Model.TestCase
TestByValue.settings = tried(60)
TestByContext = ContextModel.TestCase
TestByContext.settings = tried(60)
TestByThread = ThreadModel.TestCase
TestByThread.settings = tried(20)
TestByGreenlet = pytest.mark.skipif(not installed("greenlet"), reason="greenlet cannot be imported here")(
    GreenletModel.TestCase
)
TestByGreenlet.settings = tried(40)
