"""Everything at once, for XCTX_STRESS_SECONDS (2): bind, read, switch and die from many threads and greenlets."""

import contextvars
import random
import threading
import time

import pytest
from helpers.effort import STRESS_SECONDS

import xctx
from xctx import keys

pytestmark = pytest.mark.stress
SECONDS = STRESS_SECONDS / 2
THREADS = 4


@pytest.fixture
def hammer():
    """hammer(work): calls work(random) over and over in several threads; raises what any of them raised."""

    def run(work):
        end = time.monotonic() + SECONDS
        errors, rounds = [], [0] * THREADS

        def repeat(i):
            chance = random.Random(i)
            try:
                while (not rounds[i] or time.monotonic() < end) and not errors:
                    work(chance)
                    rounds[i] += 1
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=repeat, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        assert sum(rounds)

    return run


def test_threads_bind_and_read(hammer, x):
    def work(chance):
        value, name = object(), chance.choice("abcd")
        with x(**{name: value}), x(z=1):
            assert getattr(x, name) is value
            with x(**{name: [name]}):
                assert getattr(x, name) == [name]
            assert vars(x) == {name: value, "z": 1}
        assert vars(x) == {}

    hammer(work)


def test_threads_share_one_binding(hammer, x):
    value = object()
    scope = x(a=value, b=[1])

    def work(chance):
        with scope:
            assert x.a is value
            if chance.random() < 0.5:
                with scope:
                    assert x.b == [1]
            assert x.a is value
        assert vars(x) == {}

    hammer(work)


def test_threads_share_copies_of_contexts(hammer, x):
    contexts = [contextvars.Context() for _ in range(8)]

    def work(chance):
        def inside():
            with x(a=chance.random(), **{chance.choice("bcd"): object()}):
                x.a
                copied = contextvars.copy_context()
                if chance.random() < 0.01:
                    x(e=1).__enter__()
            getattr(x, "b", None)
            vars(x)
            return copied

        at = chance.randrange(8)
        contexts[at] = contexts[chance.randrange(8)].copy().run(inside)

    hammer(work)


def test_threads_come_and_go(hammer, x):
    def work(chance):
        seen = []

        def run():
            keys.thread.current()
            with x(a=1):
                seen.append(x.a)
            x(b=[2]).__enter__()
            seen.append(x.b)

        thread = threading.Thread(target=run)
        thread.start()
        keys.thread.of(thread)
        thread.join()
        assert seen == [1, [2]]
        assert vars(x) == {}

    hammer(work)


def test_xlocals_come_and_go(hammer, key):
    def work(chance):
        xs = [xctx.xlocal(key=key) for _ in range(chance.randrange(1, 40))]
        for i, each in enumerate(xs):
            with each(a=i):
                assert each.a == i
        assert not any(hasattr(each, "a") for each in xs)

    hammer(work)


def test_values_of_a_key_come_and_go(hammer, thing):
    current = threading.local()
    key = keys.Key(lambda: current.value)
    x = xctx.xlocal(key=key)

    def work(chance):
        current.value = thing() if chance.random() < 0.7 else (threading.get_ident(), chance.randrange(5))
        with x(a=current.value):
            assert x.a is current.value
        if chance.random() < 0.2:
            key.forget(current.value)
        assert not hasattr(x, "a")

    hammer(work)


def test_greenlets_switch_and_die(hammer, x, greenlet):
    def work(chance):
        def run(i):
            with x(a=i):
                for _ in range(3):
                    greenlet.getcurrent().parent.switch()
                    assert x.a == i
                    with x(b=-i):
                        greenlet.getcurrent().parent.switch()
                        assert vars(x) == {"a": i, "b": -i}

        greenlets = [greenlet.greenlet(run) for _ in range(10)]
        for i, each in enumerate(greenlets):
            each.switch(i)
        for _ in range(20):
            each = chance.choice(greenlets)
            if not each.dead:
                each.switch()
            assert not hasattr(x, "a")
        # Those still suspended are killed here.

    hammer(work)
