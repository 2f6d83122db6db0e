"""Blocks of generators and their callers against a model of a page: who is within whom, as the calls nest.

A *flow* is a thread, greenlet or context with a stack of calls: at the bottom its own code, above it the generators that it
runs. Blocks are entered by what is on top of a stack, through scopes that all share.
"""

import contextlib
import contextvars

import pytest
from helpers.effort import examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from helpers.units import in_thread

import xctx

NAMES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), min_size=1, max_size=2)


class Model(RuleBasedStateMachine):
    """The program is a tree of generators, each of which does what it is sent."""

    generators = Bundle("generators")
    scopes = Bundle("scopes")

    @initialize()
    def begin(self):
        self.x = xctx.xlocal()
        self.count = 0
        self.scopes = {}
        # Of the model: context number -> blocks in the order in which they were entered: (names, generator or None, number)
        self.blocks = {0: []}
        self.real = {0: contextvars.Context()}
        self.open = {}  # generator -> the blocks that it has entered: (number of the context, number of the block)
        self.own = []  # of no generator: (context, block, manager)
        self.made = {}

    def number(self):
        self.count += 1
        return self.count

    @rule(target=scopes, names=NAMES)
    def make_scope(self, names):
        number = self.number()
        self.scopes[number] = self.x(**names), names
        return number

    def generate(self):
        """Does what it is sent: a function that is given its stack of blocks, called in its own frame, and its result."""
        done = None
        try:
            while True:
                todo, scope = yield done
                if todo == "block":
                    with scope:
                        yield from self.inside(())
                        done = None
                elif todo == "call":
                    done = scope()
        finally:
            pass

    def inside(self, _):
        """A block that the generator is in, until it is told to leave it."""
        done = None
        while True:
            todo, scope = yield done
            if todo == "leave":
                return
            if todo == "block":
                with scope:
                    yield from self.inside(())
                done = None
            elif todo == "call":
                done = scope()

    @rule(target=generators)
    def make_generator(self):
        number = self.number()
        self.made[number] = self.generate()
        next(self.made[number])
        self.open[number] = []
        return number

    def path(self, generators, context, action):
        """Runs an action with these generators running, each within the one before, in a context."""
        for generator in reversed(generators):
            action = lambda generator=generator, action=action: self.made[generator].send(("call", action))
        return self.real[context].run(action)

    def seen(self, generators, context):
        """The model: what is hidden is left out, what is left counts by its generator's place, then by its age."""
        names = {}
        places = {generator: place for place, generator in enumerate(generators, 1)}
        blocks = [
            (places.get(home, 0), age, bound)
            for age, (bound, home, _, made_in) in enumerate(self.blocks[context])
            if made_in is None or made_in != context or home in places
        ]
        for _, _, bound in sorted(blocks, key=lambda block: block[:2]):
            names.update(bound)
        return names

    chains = st.lists(generators, unique=True, max_size=3)

    @rule(generator=generators, scope=scopes, chain=chains, data=st.data())
    def enter(self, generator, scope, chain, data):
        """A generator enters a block, run by others or by nobody."""
        chain = [each for each in chain if each != generator]
        context = data.draw(st.sampled_from(sorted(self.real)))
        self.path(chain, context, lambda: self.made[generator].send(("block", self.scopes[scope][0])))
        block = self.number()
        self.blocks[context].append((self.scopes[scope][1], generator, block, context))
        self.open[generator].append((context, block))

    @rule(generator=generators, chain=chains, data=st.data())
    def leave(self, generator, chain, data):
        """It leaves its innermost block, in the same context or in another."""
        if not self.open[generator]:
            return
        context = data.draw(st.sampled_from(sorted(self.real)))
        chain = [each for each in chain if each != generator]
        self.path(chain, context, lambda: self.made[generator].send(("leave", None)))
        self.left(*self.open[generator].pop(), context)

    def left(self, entered_in, block, here):
        for context, blocks in self.blocks.items():
            if context in (entered_in, here):
                self.blocks[context] = [each for each in blocks if each[2] != block]
            else:  # a copy keeps it, and nothing hides it there
                self.blocks[context] = [(*each[:3], None if each[2] == block else each[3]) for each in blocks]

    @rule(scope=scopes, data=st.data())
    def enter_own(self, scope, data):
        """Code of no generator enters a block and leaves it open."""
        context = data.draw(st.sampled_from(sorted(self.real)))
        opener, names = self.scopes[scope]
        manager = contextlib.ExitStack()
        self.real[context].run(manager.enter_context, self.x(**names))
        block = self.number()
        self.blocks[context].append((names, None, block, None))
        self.own.append((context, block, manager))

    @rule(data=st.data())
    def leave_own(self, data):
        if self.own:
            context, block, manager = self.own.pop(data.draw(st.integers(0, len(self.own) - 1)))
            self.real[context].run(manager.close)
            self.left(context, block, context)

    @rule(chain=chains, data=st.data())
    def copy(self, chain, data):
        if len(self.real) > 4:
            return
        context = data.draw(st.sampled_from(sorted(self.real)))
        made = self.number()
        self.real[made] = self.path(chain, context, contextvars.copy_context)
        self.blocks[made] = list(self.blocks[context])

    @rule(generator=consumes(generators), chain=chains, data=st.data())
    def end(self, generator, chain, data):
        """It is closed, or forgotten, anywhere."""
        context = data.draw(st.sampled_from(sorted(self.real)))
        chain = [each for each in chain if each != generator and each in self.made]
        how = data.draw(st.sampled_from(["close", "forget"]))
        ended = self.made.pop(generator)
        if how == "close":
            self.path(chain, context, ended.close)
        else:
            box = [ended]
            del ended
            self.path(chain, context, box.clear)
        for entered_in, block in reversed(self.open.pop(generator)):
            self.left(entered_in, block, context)

    @rule(chain=chains, data=st.data(), elsewhere=st.sampled_from(["here", "thread", "greenlet"]))
    def look(self, chain, data, elsewhere):
        chain = [each for each in chain if each in self.made]
        context = data.draw(st.sampled_from(sorted(self.real)))
        x = self.x
        if elsewhere == "here":
            seen = self.path(chain, context, lambda: (dict(vars(x)), [getattr(x, name, None) for name in "abc"]))
            captured = self.path(chain, context, lambda: xctx.capture(x).run(lambda: dict(vars(x))))
            assert captured == seen[0]
        elif elsewhere == "greenlet":
            greenlet = pytest.importorskip("greenlet")
            look = lambda: (dict(vars(x)), [getattr(x, name, None) for name in "abc"])

            def switch():
                made = greenlet.greenlet(look)
                made.gr_context = greenlet.getcurrent().gr_context
                return made.switch()

            seen = self.path(chain, context, switch)
        else:
            real = self.real[context]
            seen = in_thread(
                lambda: self.path(chain, context, lambda: (dict(vars(x)), [getattr(x, name, None) for name in "abc"]))
            )
            assert real is self.real[context]
        expected = self.seen(chain, context)
        assert seen == (expected, [expected.get(name) for name in "abc"])

    @invariant()
    def nobody_sees_what_is_not_his(self):
        for context, real in getattr(self, "real", {}).items():
            assert real.run(lambda: dict(vars(self.x))) == self.seen([], context)


TestGenerators = Model.TestCase
TestGenerators.settings = settings(
    max_examples=examples(60), stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
