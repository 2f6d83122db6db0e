"""A context's whole mapping is replaced in one step when a snapshot is applied repeatedly, and put back in one step.

`test_snapshot_again.py` is about contexts in which nothing is set; here something is.
"""

import contextlib
import contextvars
import gc
import sys
import threading
import weakref

import pytest
from helpers.effort import sized

import xctx
from xctx._carry.snapshot import current_context, snapshot_of

pytestmark = pytest.mark.sampled

CALLS = 7  # by then a snapshot is applied at one stroke, and has been so a few times
VAR = contextvars.ContextVar("VAR")
OTHER = contextvars.ContextVar("OTHER")


def by_run(snapshot, func, *args):
    return snapshot.run(func, *args)


def by_block(snapshot, func, *args):
    with snapshot:
        return func(*args)


@pytest.fixture(params=[by_run, by_block])
def call_in(request):
    return request.param


@pytest.fixture(params=[1, 12], ids=lambda number: f"{number} xlocals")
def many(request, key):
    return [xctx.xlocal(key=key) for _ in range(request.param)]


@pytest.fixture
def hidden(key):
    return xctx.xlocal(key=key)


@pytest.fixture
def snapshot(many):
    with contextlib.ExitStack() as stack:
        for number, each in enumerate(many):
            stack.enter_context(each(a=number))
        return xctx.capture()


def seen(many):
    return [getattr(each, "a", None) for each in many]


def all_of(many):
    return list(range(len(many)))


def what_is_set():
    # What finalisers of other tests set in a local is none of it.
    return [(var, value) for var, value in contextvars.copy_context().items() if var.name != "xctx.local"]


@pytest.fixture(params=["a variable", "blocks"])
def in_a_context(request, many, hidden):
    """Calls a function in a context in which something is set; gives what is seen there of `many`."""

    def run(func):
        VAR.set("outside")
        if request.param == "a variable":
            return func([None] * len(many))
        with many[0](a="outer", b=2), hidden(a="outer"):
            result = func(["outer"] + [None] * (len(many) - 1))
            assert (many[0].a, many[0].b, hidden.a) == ("outer", 2, "outer")
        assert seen(many) == [None] * len(many)
        return result

    return lambda func: contextvars.Context().run(run, func)


def test_each_call_sees_it_and_nothing_else_changes(call_in, many, hidden, snapshot, in_a_context, no_collector):
    def calls(outside):
        before = what_is_set()
        was = getattr(hidden, "a", None)
        for _ in range(CALLS):
            assert call_in(snapshot, seen, many) == all_of(many)
            assert not call_in(snapshot, hasattr, hidden, "a")
            assert seen(many) == outside
            assert getattr(hidden, "a", None) == was
            assert VAR.get() == "outside"
            assert what_is_set() == before

    in_a_context(calls)


@pytest.mark.parametrize("how", ["set", "reset", "in a block", "other"])
def test_variables_that_the_call_sets(call_in, many, snapshot, in_a_context, how):
    def call(number):
        assert seen(many) == all_of(many)
        if how == "set":
            VAR.set(number)
        elif how == "reset":
            VAR.reset(VAR.set(number))
        elif how == "other":
            OTHER.set(number)
        else:
            with many[0](a=5), many[-1](c=number):
                assert many[0].a == 5 or len(many) == 1
                assert many[-1].c == number
        assert seen(many) == all_of(many)

    def calls(outside):
        for number in range(3 * CALLS):
            call_in(snapshot, call, number)
            assert seen(many) == outside
            assert VAR.get() == (number if how == "set" else "outside")
            assert OTHER.get(None) == (number if how == "other" else None)

    in_a_context(calls)


def test_variables_that_are_set_between_the_calls(call_in, many, snapshot, in_a_context):
    def calls(outside):
        for number in range(3 * CALLS):
            if number % 4 == 3:
                VAR.set(number)
            assert call_in(snapshot, lambda: (seen(many), VAR.get())) == (all_of(many), VAR.get())
            assert seen(many) == outside

    in_a_context(calls)


def test_nested_in_itself_and_in_another(call_in, many, snapshot, in_a_context):
    other = xctx.nothing()

    def calls(outside):
        for _ in range(CALLS):
            assert call_in(snapshot, call_in, snapshot, seen, many) == all_of(many)
            assert call_in(snapshot, lambda: (call_in(snapshot, seen, many), seen(many))[1]) == all_of(many)
            assert call_in(snapshot, call_in, other, seen, many) == [None] * len(many)
            assert call_in(other, call_in, snapshot, seen, many) == all_of(many)
            assert seen(many) == outside

    in_a_context(calls)


def test_an_exception_undoes_it(call_in, many, snapshot, in_a_context):
    def calls(outside):
        for _ in range(CALLS):
            with pytest.raises(ZeroDivisionError):
                call_in(snapshot, lambda: 1 / 0)
            assert seen(many) == outside

    in_a_context(calls)


def test_copies_made_within_keep_it(call_in, many, snapshot, in_a_context):
    copies = []

    def call(sets):
        if sets:
            OTHER.set(1)
        copies.append(contextvars.copy_context())

    def calls(outside):
        for number in range(3 * CALLS):
            call_in(snapshot, call, number % 3 == 2)
            assert seen(many) == outside
            assert call_in(snapshot, seen, many) == all_of(many)

    in_a_context(calls)
    for each in copies:
        assert each.run(seen, many) == all_of(many)
        assert each.run(VAR.get) == "outside"
        assert each.run(call_in, snapshot, seen, many) == all_of(many)
        assert each.run(seen, many) == all_of(many)


def test_copies_made_outside_share_what_is_mapped(call_in, many, snapshot, in_a_context):
    """One mapping in several contexts: what is applied in one is not seen in the others, whichever is left first."""

    def calls(outside):
        for _ in range(CALLS):
            call_in(snapshot, seen, many)
        copies = [contextvars.copy_context() for _ in range(3)]
        for each in copies:
            assert each.run(seen, many) == outside
            others = [other for other in copies if other is not each]
            assert each.run(call_in, snapshot, seen_in, others, many) == [outside, outside]
            assert each.run(seen, many) == outside
        assert seen(many) == outside
        return copies

    for each in in_a_context(calls):
        assert each.run(call_in, snapshot, seen, many) == all_of(many)


def test_threads_with_copies_of_one_context(call_in, many, snapshot, in_a_context):
    wrong = []

    def work(barrier, outside):
        barrier.wait()
        for _ in range(200):
            if call_in(snapshot, seen, many) != all_of(many) or seen(many) != outside or VAR.get() != "outside":
                wrong.append(1)

    def calls(outside):
        for _ in range(CALLS):
            call_in(snapshot, seen, many)
        barrier = threading.Barrier(3)
        copies = [contextvars.copy_context() for _ in range(3)]
        # What a thread sees of its own under each key, it saw before.
        seen_there = [in_thread_of(each, seen, many) for each in copies]
        threads = [
            threading.Thread(target=each.run, args=(work, barrier, there))
            for each, there in zip(copies, seen_there, strict=True)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert seen(many) == outside

    in_a_context(calls)
    assert wrong == []


def seen_in(contexts, many):
    return [each.run(seen, many) for each in contexts]


def in_thread_of(context, func, *args):
    result = []
    thread = threading.Thread(target=lambda: result.append(context.run(func, *args)))
    thread.start()
    thread.join()
    return result[0]


def test_a_context_that_is_copied_by_another_thread_meanwhile(call_in, many, snapshot, in_a_context):
    """A copy has all of it or nothing of it."""
    stop, wrong = threading.Event(), []

    def watch(started):
        while not stop.is_set():
            values = dict(contextvars.Context.copy(started[0]).items())
            shown = [key for key in values if key.name == "xctx.xlocal"]
            if values.get(VAR) != "outside" or len(shown) > 2 * len(many) + 1:
                wrong.append(values)

    def calls(outside):
        context = [current_context()]
        for _ in range(CALLS):
            call_in(snapshot, seen, many)
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            return  # CPython does not guard a context that another thread copies
        thread = threading.Thread(target=watch, args=(context,))
        thread.start()
        for _ in range(300):
            call_in(snapshot, seen, many)
        stop.set()
        thread.join()

    in_a_context(calls)
    assert wrong == []


def test_greenlets_that_switch_within_a_call(call_in, many, snapshot, greenlet):
    def work():
        VAR.set(greenlet.getcurrent())
        for _ in range(CALLS):
            call_in(snapshot, lambda: [main.switch(), seen(many)])
            assert seen(many) == [None] * len(many)
            assert VAR.get() is greenlet.getcurrent()
            assert call_in(snapshot, seen, many) == all_of(many)
        return "done"

    main = greenlet.getcurrent()
    workers = [greenlet.greenlet(work) for _ in range(3)]
    while not all(each.dead for each in workers):
        for each in workers:
            if not each.dead:
                each.switch()


def test_greenlets_in_one_context(call_in, many, snapshot, greenlet):
    """They take turns in the middle of calls, in one context: each takes out its own."""
    context = contextvars.Context()
    context.run(VAR.set, "outside")

    def work():
        for _ in range(CALLS):
            call_in(snapshot, main.switch)
        return "done"

    main = greenlet.getcurrent()
    workers = [greenlet.greenlet(work) for _ in range(3)]
    for each in workers:
        each.gr_context = context
    while not all(each.dead for each in workers):
        for each in workers:
            if not each.dead:
                each.switch()
    assert context.run(seen, many) == [None] * len(many)
    assert context.run(VAR.get) == "outside"


@pytest.mark.parametrize("when", ["within", "between"])
def test_values_that_were_replaced_are_not_kept(call_in, many, thing, no_collector, when):
    """Neither while it is applied nor afterwards: a context variable's, and that of a block which was left."""
    x = xctx.xlocal()
    with contextlib.ExitStack() as stack:
        for number, each in enumerate(many):
            stack.enter_context(each(a=number))
        snapshot = xctx.capture(*many)

    def calls():
        for _ in range(CALLS):
            value, other = thing(), thing()
            refs = [weakref.ref(value), weakref.ref(other)]
            VAR.set(value)
            block = x(v=other)
            block.__enter__()
            del value, other
            for _ in range(CALLS):
                call_in(snapshot, seen, many)
            assert None not in [ref() for ref in refs]
            scopes = [block]
            del block
            if when == "within":
                call_in(snapshot, replace_in, scopes, refs)
            else:
                replace_in(scopes, refs)

    def replace_in(scopes, refs):
        VAR.set(None)
        scopes.pop().__exit__(None, None, None)
        assert [ref() for ref in refs] == [None, None]

    contextvars.Context().run(calls)


def test_the_context_is_not_kept(call_in, many, snapshot, thing, no_collector):
    value = thing()
    refs = [weakref.ref(value)]
    context = contextvars.Context()
    context.run(VAR.set, value)
    del value
    for _ in range(CALLS):
        context.run(call_in, snapshot, seen, many)
    del context
    assert refs[0]() is None
    assert contextvars.Context().run(call_in, snapshot, seen, many) == all_of(many)


def test_the_snapshot_is_not_kept(call_in, many, thing, no_collector):
    value = thing()
    gone = weakref.ref(value)
    with many[0](a=value):
        snapshot = xctx.capture()
    del value

    def calls(snapshot):
        VAR.set(1)
        for _ in range(CALLS):
            call_in(snapshot, seen, many)

    context = contextvars.Context()
    context.run(calls, snapshot)
    assert gone() is not None
    del snapshot
    assert gone() is None


@pytest.mark.sampled
def test_what_a_finaliser_sets_while_it_is_applied_stays(call_in, many, snapshot, small_heap):
    """On 3.11 the collector runs where anything is allocated."""

    class Resource:
        def __init__(self, number):
            self.cycle = self
            self.number = number

        def __del__(self):
            OTHER.set(OTHER.get(0) + 1)

    def calls():
        VAR.set("outside")
        OTHER.set(0)
        before = gc.get_threshold()
        for number in range(1, sized(20, 60)):
            Resource(number)
            gc.set_threshold(1 + number % 7)
            try:
                assert call_in(snapshot, seen, many) == all_of(many)
            finally:
                gc.set_threshold(*before)
            gc.collect()
            assert OTHER.get() == number
            assert seen(many) == [None] * len(many)

    contextvars.Context().run(calls)


def test_a_finaliser_that_enters_it_again(call_in, many, snapshot):
    """Values that are released where the mapping is replaced run code that finds all as it is to be."""
    wrong = []

    class Resource:
        def __del__(self):
            wrong.extend(each for each in (call_in(snapshot, seen, many),) if each != all_of(many))

    def call():
        VAR.set(Resource())
        VAR.set(None)
        OTHER.set(Resource())

    def calls():
        for _ in range(3 * CALLS):
            call_in(snapshot, call)
            assert seen(many) == [None] * len(many)
            OTHER.set(None)
            assert call_in(snapshot, seen, many) == all_of(many)

    contextvars.Context().run(calls)
    assert wrong == []


@pytest.mark.parametrize("left", ["in a thread", "in another context", "in a copy"])
def test_left_elsewhere(many, snapshot, left):
    @xctx.transparent
    def steps():
        with snapshot:
            yield

    def begin():
        VAR.set("outside")
        for _ in range(CALLS):
            with snapshot:
                pass
        generator = steps()
        next(generator)
        return generator

    context = contextvars.Context()
    generator = context.run(begin)
    assert context.run(seen, many) == all_of(many)
    child = context.copy()
    if left == "in a thread":
        thread = threading.Thread(target=generator.close)
        thread.start()
        thread.join()
    elif left == "in a copy":
        child.run(generator.close)
    else:
        contextvars.Context().run(generator.close)
    assert context.run(seen, many) == [None] * len(many)
    assert child.run(seen, many) == ([None] * len(many) if left == "in a copy" else all_of(many))
    assert context.run(snapshot.run, seen, many) == all_of(many)
    assert context.run(seen, many) == [None] * len(many)
    assert context.run(VAR.get) == "outside"


def test_a_forked_child_binds_for_itself(call_in, many, snapshot, in_fork):
    def calls():
        VAR.set("outside")
        for _ in range(CALLS):
            assert call_in(snapshot, seen, many) == all_of(many)
            assert seen(many) == [None] * len(many)
        return True

    def again():
        for _ in range(CALLS):
            assert call_in(snapshot, seen, many) == all_of(many)
            assert seen(many) == [None] * len(many)
        return True

    context = contextvars.Context()
    assert context.run(calls)
    assert in_fork(lambda: context.run(again))
    assert context.run(again)


def test_context_variables_are_told(call_in, many, snapshot, in_a_context):
    """They note what they were last found to be."""

    def calls(outside):
        for _ in range(CALLS):
            assert VAR.get() == "outside"
            assert (call_in(snapshot, seen, many), VAR.get(), seen(many)) == (all_of(many), "outside", outside)
            assert contextvars.copy_context().run(seen, many) == outside

    in_a_context(calls)


def test_values_made_by_factories_are_made_for_each_application(call_in):
    class Current(xctx.xlocal):
        a: int
        tags: list = xctx.field(default_factory=list)

    current = Current()
    snapshot = snapshot_of([(current, {"a": 1})])
    for context in (contextvars.Context(), contextvars.copy_context()):
        made = [context.run(call_in, snapshot, lambda: current.tags) for _ in range(CALLS)]
        assert len({id(each) for each in made}) == CALLS


def test_other_threads_see_what_is_theirs_though_the_mapping_is_the_same(call_in, snapshot, many):
    """Under a key that tells threads apart, what is to be hidden depends on the thread."""
    x = xctx.xlocal(key=xctx.keys.thread)

    def calls():
        VAR.set("outside")
        with x(a="of this thread"):
            copied = contextvars.copy_context()
            for _ in range(CALLS):
                assert call_in(snapshot, getattr, x, "a", None) is None
            # The copy has the same mapping, and this thread's binding is not seen in another one.
            found = in_thread_of(copied, lambda: [call_in(snapshot, seen, many) for _ in range(CALLS)])
            assert found == [all_of(many)] * CALLS
            assert call_in(snapshot, getattr, x, "a", None) is None

    contextvars.Context().run(calls)


def test_a_generator_that_runs_sees_its_own_beneath(call_in, many, snapshot):
    """What a generator has bound comes before what lies above it, while it runs, and is hidden while it does not."""
    x = xctx.xlocal()

    def steps():
        with x(a="generator"):
            while True:
                yield call_in(snapshot, getattr, x, "a", None), x.a

    def calls():
        VAR.set("outside")
        generator = steps()
        for _ in range(CALLS):
            assert next(generator) == (None, "generator")
            assert not hasattr(x, "a")
            assert call_in(snapshot, getattr, x, "a", None) is None
            with x(a="consumer"):
                assert call_in(snapshot, getattr, x, "a", None) is None
                assert next(generator) == (None, "generator")
                assert x.a == "consumer"

    contextvars.Context().run(calls)


@pytest.mark.sampled
def test_what_is_kept_for_the_next_time_is_no_open_block(call_in, many, snapshot, in_a_context):
    def calls(outside):
        for _ in range(CALLS):
            call_in(snapshot, seen, many)
            told = xctx.debug.explain(many[-1], "a")
            assert "a block that is open" not in told or outside[-1] is not None

    in_a_context(calls)
