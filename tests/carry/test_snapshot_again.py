"""Calls that one snapshot binds one after the other in contexts in which no variable is set: they share what is bound."""

import contextlib
import contextvars
import gc
import threading
import weakref

import pytest

import xctx

CALLS = 6


@pytest.fixture
def x(key):
    return xctx.xlocal(key=key)


@pytest.fixture(params=[1, 2, 40], ids=lambda number: f"{number} xlocals")
def many(request, key):
    return [xctx.xlocal(key=key) for _ in range(request.param)]


@pytest.fixture
def snapshot(many):
    with contextlib.ExitStack() as stack:
        for number, each in enumerate(many):
            stack.enter_context(each(a=number))
        return xctx.capture()


def in_an_empty_context(func, *args):
    return contextvars.Context().run(func, *args)


def seen(many):
    return [getattr(each, "a", None) for each in many]


def all_of(many):
    return list(range(len(many)))


def test_each_call_sees_it_and_nothing_is_left(many, snapshot):
    def calls():
        for _ in range(CALLS):
            assert snapshot.run(seen, many) == all_of(many)
            assert seen(many) == [None] * len(many)
            assert list(contextvars.copy_context()) == []

    for _ in range(3):
        in_an_empty_context(calls)


def test_context_variables_that_it_sets_stay(many, snapshot):
    var = contextvars.ContextVar("var")

    def calls():
        for number in range(CALLS):
            token = snapshot.run(var.set, number)
            assert var.get() == number
            assert seen(many) == [None] * len(many)
            var.reset(token)
            assert snapshot.run(seen, many) == all_of(many)

    in_an_empty_context(calls)


def test_a_copied_context_keeps_it(many, snapshot):
    copies = []

    def call():
        copies.append(contextvars.copy_context())

    def calls():
        for _ in range(CALLS):
            snapshot.run(seen, many)
        snapshot.run(call)
        for _ in range(CALLS):
            snapshot.run(seen, many)

    in_an_empty_context(calls)
    assert copies[0].run(seen, many) == all_of(many)


def test_blocks_within(many, snapshot):
    copies = []

    def call():
        with many[0](b=1):
            copies.append(contextvars.copy_context())
            assert (many[0].a, many[0].b) == (0, 1)
        assert not hasattr(many[0], "b")

    def calls():
        for _ in range(CALLS):
            snapshot.run(call)

    in_an_empty_context(calls)
    for each in copies:
        assert each.run(lambda: (many[0].a, many[0].b)) == (0, 1)


def test_nested_in_itself(many, snapshot):
    def calls():
        for _ in range(CALLS):
            assert snapshot.run(snapshot.run, seen, many) == all_of(many)
            assert snapshot.run(lambda: (snapshot.run(seen, many), seen(many))[1]) == all_of(many)
        assert seen(many) == [None] * len(many)

    in_an_empty_context(calls)


def test_an_exception_undoes_it(many, snapshot):
    def calls():
        for _ in range(CALLS):
            with pytest.raises(ZeroDivisionError):
                snapshot.run(lambda: 1 / 0)
            assert seen(many) == [None] * len(many)

    in_an_empty_context(calls)


def test_threads_at_once(many, snapshot):
    barrier, wrong = threading.Barrier(4), []

    def work():
        barrier.wait()
        for _ in range(300):
            if snapshot.run(seen, many) != all_of(many) or seen(many) != [None] * len(many):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def test_greenlets_that_switch_within_a_call(many, snapshot, greenlet):
    def work():
        for _ in range(CALLS):
            snapshot.run(lambda: [main.switch(), seen(many)])
            assert seen(many) == [None] * len(many)
            assert snapshot.run(seen, many) == all_of(many)
        return "done"

    main = greenlet.getcurrent()
    workers = [greenlet.greenlet(work) for _ in range(3)]
    while not all(each.dead for each in workers):
        for each in workers:
            if not each.dead:
                each.switch()
    assert seen(many) == [None] * len(many)


def test_an_entry_of_another_call_left_in_it(x):
    """A generator that a call began is closed by another: each takes out what its own entry bound."""
    with x(a=1):
        snapshot = xctx.capture()

    def steps():
        with snapshot:
            yield

    def calls():
        for _ in range(CALLS):
            snapshot.run(lambda: x.a)
        generator = steps()
        snapshot.run(next, generator)
        assert not hasattr(x, "a") or x.a == 1
        return generator

    generator = in_an_empty_context(calls)
    assert in_an_empty_context(lambda: snapshot.run(lambda: (generator.close(), x.a)[1])) == 1


def test_what_is_copied_meanwhile_is_its_own(x):
    """Left in a context that was copied while an earlier call ran, a block takes out its own binding alone."""
    with x(a=1):
        snapshot = xctx.capture()
    copies = []

    def calls():
        for _ in range(CALLS):
            snapshot.run(lambda: copies.append(contextvars.copy_context()))
            snapshot.run(lambda: x.a)

    in_an_empty_context(calls)
    for each in copies:
        assert each.run(lambda: x.a) == 1
        assert each.run(snapshot.run, lambda: x.a) == 1
        assert each.run(lambda: x.a) == 1


def test_nothing_is_kept_but_what_was_visible(x, thing, no_collector):
    value = thing()
    gone = weakref.ref(value)
    with x(a=value):
        snapshot = xctx.capture()
    del value
    context = contextvars.Context()
    for _ in range(CALLS):
        context.run(snapshot.run, lambda: x.a)
    del context
    assert gone() is not None
    del snapshot
    assert gone() is None


def test_no_context_is_kept(x):
    with x(a=1):
        snapshot = xctx.capture()

    context = contextvars.Context()
    gone = weakref.ref(context)
    for _ in range(CALLS):
        context.run(snapshot.run, lambda: x.a)
    del context
    gc.collect()
    assert gone() is None


def test_a_forked_child_binds_for_itself(x, in_fork):
    with x(a=1):
        snapshot = xctx.capture()

    def calls():
        for _ in range(CALLS):
            assert snapshot.run(lambda: x.a) == 1
            assert not hasattr(x, "a")
        return True

    assert in_an_empty_context(calls)
    assert in_fork(lambda: in_an_empty_context(calls))
    assert in_an_empty_context(calls)
