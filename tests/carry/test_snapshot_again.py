"""One snapshot, applied repeatedly in contexts in which no variable is set: its bindings are reused."""

import contextlib
import contextvars
import gc
import threading
import weakref

import pytest

import xctx

pytestmark = pytest.mark.sampled

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


def by_run(snapshot, func, *args):
    return snapshot.run(func, *args)


def by_block(snapshot, func, *args):
    with snapshot:
        return func(*args)


@pytest.fixture(params=[by_run, by_block])
def call_in(request):
    return request.param


def in_an_empty_context(func, *args):
    return contextvars.Context().run(func, *args)


def seen(many):
    return [getattr(each, "a", None) for each in many]


def all_of(many):
    return list(range(len(many)))


def test_each_call_sees_it_and_nothing_is_left(call_in, many, snapshot):
    def calls():
        for _ in range(CALLS):
            assert call_in(snapshot, seen, many) == all_of(many)
            assert seen(many) == [None] * len(many)
            assert list(contextvars.copy_context()) == []

    for _ in range(3):
        in_an_empty_context(calls)


def test_context_variables_that_it_sets_stay(call_in, many, snapshot):
    var = contextvars.ContextVar("var")

    def calls():
        for number in range(CALLS):
            token = call_in(snapshot, var.set, number)
            assert var.get() == number
            assert seen(many) == [None] * len(many)
            var.reset(token)
            assert call_in(snapshot, seen, many) == all_of(many)

    in_an_empty_context(calls)


def test_a_copied_context_keeps_it(call_in, many, snapshot):
    copies = []

    def call():
        copies.append(contextvars.copy_context())

    def calls():
        for _ in range(CALLS):
            call_in(snapshot, seen, many)
        call_in(snapshot, call)
        for _ in range(CALLS):
            call_in(snapshot, seen, many)

    in_an_empty_context(calls)
    assert copies[0].run(seen, many) == all_of(many)


def test_blocks_within(call_in, many, snapshot):
    copies = []

    def call():
        with many[0](b=1):
            copies.append(contextvars.copy_context())
            assert (many[0].a, many[0].b) == (0, 1)
        assert not hasattr(many[0], "b")

    def calls():
        for _ in range(CALLS):
            call_in(snapshot, call)

    in_an_empty_context(calls)
    for each in copies:
        assert each.run(lambda: (many[0].a, many[0].b)) == (0, 1)


def test_nested_in_itself(call_in, many, snapshot):
    def calls():
        for _ in range(CALLS):
            assert call_in(snapshot, call_in, snapshot, seen, many) == all_of(many)
            assert call_in(snapshot, lambda: (call_in(snapshot, seen, many), seen(many))[1]) == all_of(many)
        assert seen(many) == [None] * len(many)

    in_an_empty_context(calls)


def test_an_exception_undoes_it(call_in, many, snapshot):
    def calls():
        for _ in range(CALLS):
            with pytest.raises(ZeroDivisionError):
                call_in(snapshot, lambda: 1 / 0)
            assert seen(many) == [None] * len(many)

    in_an_empty_context(calls)


def test_threads_at_once(call_in, many, snapshot):
    barrier, wrong = threading.Barrier(4), []

    def work():
        barrier.wait()
        for _ in range(300):
            if call_in(snapshot, seen, many) != all_of(many) or seen(many) != [None] * len(many):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def test_greenlets_that_switch_within_a_call(call_in, many, snapshot, greenlet):
    def work():
        for _ in range(CALLS):
            call_in(snapshot, lambda: [main.switch(), seen(many)])
            assert seen(many) == [None] * len(many)
            assert call_in(snapshot, seen, many) == all_of(many)
        return "done"

    main = greenlet.getcurrent()
    workers = [greenlet.greenlet(work) for _ in range(3)]
    while not all(each.dead for each in workers):
        for each in workers:
            if not each.dead:
                each.switch()
    assert seen(many) == [None] * len(many)


def test_an_entry_of_another_call_left_in_it(call_in, x):
    """A generator that a call began is closed by another: each takes out what its own entry bound."""
    with x(a=1):
        snapshot = xctx.capture()

    def steps():
        with snapshot:
            yield

    def calls():
        for _ in range(CALLS):
            call_in(snapshot, lambda: x.a)
        generator = steps()
        call_in(snapshot, next, generator)
        assert not hasattr(x, "a") or x.a == 1
        return generator

    generator = in_an_empty_context(calls)
    assert in_an_empty_context(lambda: call_in(snapshot, lambda: (generator.close(), x.a)[1])) == 1


def test_what_is_copied_meanwhile_is_its_own(call_in, x):
    """Left in a context that was copied while an earlier call ran, a block takes out its own binding alone."""
    with x(a=1):
        snapshot = xctx.capture()
    copies = []

    def calls():
        for _ in range(CALLS):
            call_in(snapshot, lambda: copies.append(contextvars.copy_context()))
            call_in(snapshot, lambda: x.a)

    in_an_empty_context(calls)
    for each in copies:
        assert each.run(lambda: x.a) == 1
        assert each.run(call_in, snapshot, lambda: x.a) == 1
        assert each.run(lambda: x.a) == 1


def test_nothing_is_kept_but_what_was_visible(call_in, x, thing, no_collector):
    value = thing()
    gone = weakref.ref(value)
    with x(a=value):
        snapshot = xctx.capture()
    del value
    context = contextvars.Context()
    for _ in range(CALLS):
        context.run(call_in, snapshot, lambda: x.a)
    del context
    assert gone() is not None
    del snapshot
    assert gone() is None


def test_no_context_is_kept(call_in, x):
    with x(a=1):
        snapshot = xctx.capture()

    context = contextvars.Context()
    gone = weakref.ref(context)
    for _ in range(CALLS):
        context.run(call_in, snapshot, lambda: x.a)
    del context
    gc.collect()
    assert gone() is None


def test_a_forked_child_binds_for_itself(call_in, x, in_fork):
    with x(a=1):
        snapshot = xctx.capture()

    def calls():
        for _ in range(CALLS):
            assert call_in(snapshot, lambda: x.a) == 1
            assert not hasattr(x, "a")
        return True

    assert in_an_empty_context(calls)
    assert in_fork(lambda: in_an_empty_context(calls))
    assert in_an_empty_context(calls)


def test_blocks_that_were_left_since_are_no_hindrance(call_in, many, snapshot):
    """What is bound within, and left, does not have everything bound anew the next time."""

    def call():
        with many[0](b=1), many[-1](c=2):
            pass

    def calls():
        for _ in range(CALLS):
            call_in(snapshot, call)
            assert seen(many) == [None] * len(many)
        assert call_in(snapshot, seen, many) == all_of(many)

    in_an_empty_context(calls)


@pytest.mark.parametrize("left", ["in a thread", "in another context"])
def test_left_elsewhere(call_in, many, snapshot, left):
    def steps():
        with snapshot:
            yield

    def begin():
        for _ in range(CALLS):
            call_in(snapshot, seen, many)
        generator = steps()
        next(generator)
        return generator

    context = contextvars.Context()
    generator = context.run(begin)
    child = context.copy()
    if left == "in a thread":
        thread = threading.Thread(target=generator.close)
        thread.start()
        thread.join()
    else:
        contextvars.Context().run(call_in, snapshot, generator.close)
    assert context.run(seen, many) == [None] * len(many)
    assert child.run(seen, many) == all_of(many)
    assert context.run(call_in, snapshot, seen, many) == all_of(many)
    assert context.run(seen, many) == [None] * len(many)


def test_two_units_that_have_it_open_at_once(call_in, many, snapshot):
    contexts = [contextvars.Context() for _ in range(3)]

    @xctx.transparent
    def steps():
        with snapshot:
            yield

    for context in contexts:
        for _ in range(CALLS):
            context.run(call_in, snapshot, seen, many)
    generators = [steps() for _ in contexts]
    for context, generator in zip(contexts, generators, strict=True):
        context.run(next, generator)
    contexts[0].run(generators[1].close)
    assert [context.run(seen, many) for context in contexts] == [
        all_of(many),
        [None] * len(many),
        all_of(many),
    ]
    contexts[2].run(generators[0].close)
    contexts[2].run(generators[2].close)
    assert [context.run(seen, many) for context in contexts] == [[None] * len(many)] * 3
