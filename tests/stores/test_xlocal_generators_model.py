"""Blocks of generators and their callers against a model of one page.

The model of a context is a list of blocks in the order in which they were entered, each with the generator that entered
it and the context where it did. What code sees depends on the generators that run it, the outermost first:

* a block of a generator that is not among them is hidden in the context in which it was entered,
* one that was left belongs to no generator: copies of the context have it, and it is hidden from none,
* of the others, one of a generator further inwards takes precedence, and of those of one generator the later.
"""

import contextlib
import contextvars
import itertools
from functools import partial

from helpers.effort import examples
from helpers.packages import installed
from helpers.units import in_thread
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import xctx

GENERATORS = 3
SCOPES = [{"a": 0}, {"a": 1}, {"a": 2, "b": 2}, {"b": 3}, {"c": 4}]

some_generator = st.integers(0, GENERATORS - 1)
some_chain = st.lists(some_generator, unique=True, max_size=GENERATORS)
some_scope = st.integers(0, len(SCOPES) - 1)
some_context = st.integers(0, 3)


def steps():
    """A generator that does what it is sent, in its own frame or in those that it delegates to."""
    done = None
    while True:
        todo, what = yield done
        done = None
        if todo == "enter":
            with what:
                yield from steps()
        elif todo == "leave":
            return
        else:
            done = what()


class Model(RuleBasedStateMachine):
    """Scopes that all share, generators that run each other, in contexts that are copied at any time."""

    key_name = "flow"

    @initialize()
    def begin(self):
        self.x = xctx.xlocal(key=getattr(xctx.keys, self.key_name))
        self.scopes = [self.x(**names) for names in SCOPES]
        self.contexts = [contextvars.Context()]
        self.blocks = [[]]  # of each context: (number, names, generator or None, context in which it hides or None)
        self.generators = [None] * GENERATORS
        self.open = [[] for _ in range(GENERATORS)]  # of each generator: (number, context)
        self.own = []  # of no generator: (number, context, exit)
        self.numbers = itertools.count()
        for number in range(GENERATORS):
            self.begin_anew(number)

    def begin_anew(self, number):
        self.generators[number] = steps()
        next(self.generators[number])
        self.open[number] = []

    def run(self, chain, context, function):
        """Calls a function that the last generator of the chain runs, which the one before it runs, in a context."""
        for number in reversed(chain):
            function = partial(self.generators[number].send, ("call", function))
        return self.contexts[context].run(function)

    # --- the model ---

    def seen(self, chain, context):
        place = {number: place for place, number in enumerate(chain, 1)}
        names = {}
        for _, bound, _, _ in sorted(
            (block for block in self.blocks[context] if block[3] != context or block[2] in place),
            key=lambda block: (place.get(block[2], 0), self.blocks[context].index(block)),
        ):
            names.update(bound)
        return names

    def left(self, number, entered_in, here):
        for context, blocks in enumerate(self.blocks):
            if context in (entered_in, here):
                blocks[:] = [block for block in blocks if block[0] != number]
            else:
                blocks[:] = [(*block[:2], None, None) if block[0] == number else block for block in blocks]

    # --- what happens ---

    @rule(generator=some_generator, chain=some_chain, scope=some_scope, context=some_context)
    def enter(self, generator, chain, scope, context):
        context %= len(self.contexts)
        chain = [each for each in chain if each != generator]
        self.run([*chain], context, lambda: self.generators[generator].send(("enter", self.scopes[scope])))
        number = next(self.numbers)
        self.blocks[context].append((number, SCOPES[scope], generator, context))
        self.open[generator].append((number, context))

    @rule(generator=some_generator, chain=some_chain, context=some_context)
    def leave(self, generator, chain, context):
        context %= len(self.contexts)
        if self.open[generator]:
            chain = [each for each in chain if each != generator]
            self.run(chain, context, lambda: self.generators[generator].send(("leave", None)))
            self.left(*self.open[generator].pop(), context)

    @rule(chain=some_chain, scope=some_scope, context=some_context)
    def enter_and_stay(self, chain, scope, context):
        """A function that the generators run enters a block by hand, and it stays open when they are suspended."""
        context %= len(self.contexts)
        stack = contextlib.ExitStack()
        self.run(chain, context, lambda: stack.enter_context(self.x(**SCOPES[scope])))
        number = next(self.numbers)
        here = [block[2] for block in self.blocks[context]]
        home = next(
            (each for each in reversed(chain) if each in here), None
        )  # it is its caller's, if that has bound too
        self.blocks[context].append((number, SCOPES[scope], home, None))
        self.own.append((number, context, stack.close))

    @precondition(lambda self: getattr(self, "own", None))
    @rule(which=st.integers(0, 9), context=some_context)
    def leave_what_stayed(self, which, context):
        context %= len(self.contexts)
        number, entered_in, leave = self.own.pop(which % len(self.own))
        self.contexts[context].run(leave)
        self.left(number, entered_in, context)

    @rule(chain=some_chain, context=some_context)
    def copy(self, chain, context):
        if len(self.contexts) < 4:
            context %= len(self.contexts)
            self.contexts.append(self.run(chain, context, contextvars.copy_context))
            self.blocks.append(list(self.blocks[context]))

    @rule(generator=some_generator, chain=some_chain, context=some_context, how=st.sampled_from(["close", "forget"]))
    def end(self, generator, chain, context, how):
        context %= len(self.contexts)
        chain = [each for each in chain if each != generator]
        ended = [self.generators[generator]]
        self.generators[generator] = None
        self.run(chain, context, ended[0].close if how == "close" else ended.clear)
        ended.clear()
        for number, entered_in in reversed(self.open[generator]):
            self.left(number, entered_in, context)
        # The generator is replaced by another one from now on, so what was bound by code that it ran has no home.
        for blocks in self.blocks:
            blocks[:] = [(*block[:2], None, block[3]) if block[2] == generator else block for block in blocks]
        self.begin_anew(generator)

    # --- what is seen ---

    def look(self):
        return dict(vars(self.x)), {name: getattr(self.x, name, None) for name in "abc"}, xctx.capture(self.x)

    def agrees(self, found, chain, context):
        names, read, captured = found
        expected = self.seen(chain, context)
        assert names == expected
        assert read == {name: expected.get(name) for name in "abc"}
        assert contextvars.Context().run(captured.run, lambda: dict(vars(self.x))) == expected

    @rule(chain=some_chain, context=some_context)
    def look_from_a_thread(self, chain, context):
        context %= len(self.contexts)
        if self.key_name == "flow":
            self.agrees(in_thread(lambda: self.run(chain, context, self.look)), chain, context)

    @rule(chain=some_chain, context=some_context)
    def look_from_a_greenlet(self, chain, context):
        """It shares the context of its parent, for which it does this."""
        if not installed("greenlet"):
            return
        import greenlet

        context %= len(self.contexts)

        def switch():
            made = greenlet.greenlet(self.look)
            made.gr_context = greenlet.getcurrent().gr_context
            return made.switch()

        self.agrees(self.run(chain, context, switch), chain, context)

    @invariant()
    def everything_is_as_in_the_model(self):
        for context in range(len(getattr(self, "contexts", ()))):
            for length in range(GENERATORS):
                for chain in itertools.permutations(range(GENERATORS), length):
                    self.agrees(self.run(chain, context, self.look), chain, context)


class ContextModel(Model):
    key_name = "context"


class ThreadModel(Model):
    key_name = "thread"


def tried(number):
    return settings(max_examples=examples(number), stateful_step_count=30, suppress_health_check=list(HealthCheck))


SETTINGS = tried(40)
TestByFlow = Model.TestCase
TestByFlow.settings = SETTINGS
TestByContext = ContextModel.TestCase
TestByContext.settings = SETTINGS
TestByThread = ThreadModel.TestCase
# Fewer, because the model has a running generator outrank in copies of the context, too, what was bound after they were
# copied; there the order is that of age.
TestByThread.settings = tried(10)
