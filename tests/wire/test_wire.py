"""What is carried to other machines goes into headers on one side, and is bound on the other."""

import multiprocessing
import threading
import uuid
import weakref

import pytest
import wire_names
from wire_names import came

import xctx
from xctx import concurrent, wire

TENANT = uuid.UUID("12345678-1234-5678-1234-567812345678")


# --- what travels -----------------------------------------------------------------------------------------------------


def test_what_is_declared_travels_and_nothing_else(current):
    with current(request_id="r-1", tenant=TENANT, retries=2, user="ada"):
        headers = wire.inject({"Accept": "*/*"}, current)
    assert headers == {"Accept": "*/*", "baggage": f"request_id=r-1,tenant-id={TENANT},retries=2"}
    arrived = wire.extract(headers, current)
    assert came(headers, current) == {current: {"request_id": "r-1", "tenant": TENANT, "retries": 2}}
    with arrived:
        assert (current.request_id, current.tenant, current.retries, current.user) == ("r-1", TENANT, 2, None)
    assert not hasattr(current, "request_id")
    assert arrived.run(lambda: current.request_id) == "r-1"


def test_defaults_and_bindings_of_other_units_stay(current, in_thread):
    with current(user="ada"):
        assert wire.inject({}, current) == {}
    with current(request_id="mine"):
        assert in_thread(lambda: wire.inject({}, current)) == {}


def test_the_innermost_binding_travels(current):
    with current(request_id="outer", retries=1), current(request_id="inner"):
        assert wire.inject({}, current) == {"baggage": "request_id=inner,retries=1"}


def test_bound_in_every_kind_of_unit_under_every_key(key, other_unit, unit_kind):
    store = xctx.xlocal(key=key)
    wire.declare(store, "request_id")

    def served():
        with wire.extract({"baggage": "request_id=7"}, store):
            return store.request_id, wire.inject({}, store)["baggage"]

    assert other_unit(served) == ("7", "request_id=7")
    assert not hasattr(store, "request_id")


def test_without_xlocals_every_one_that_carries_takes_part():
    one, two, three = xctx.xlocal(), xctx.xlocal(), xctx.xlocal()
    wire.declare(one, "first_of_all")
    wire.declare(two, "second_of_all", "first_of_all")
    arrived = came({"baggage": "first_of_all=1,second_of_all=2,third=3"})
    assert arrived == {one: {"first_of_all": "1"}, two: {"first_of_all": "1", "second_of_all": "2"}}
    with one(first_of_all="a"), two(second_of_all="b"), three(third="c"):
        assert wire.inject({}) == {"baggage": "first_of_all=a,second_of_all=b"}


def test_of_two_that_have_a_name_bound_the_later_one_goes_and_the_other_is_reported(dropped):
    one, two = xctx.xlocal(), xctx.xlocal()
    wire.declare(one, "same")
    wire.declare(two, "same")
    with one(same="a"), two(same="b"):
        assert wire.inject({}, one, two, report=dropped) == {"baggage": "same=b"}
    assert [what for what, why in dropped] == ["same=a"]


@pytest.mark.usefixtures("nothing_stays_bound")
def test_what_arrived_is_bound_again_and_again_nested_and_in_many_units(current, in_thread):
    arrived = wire.extract({"baggage": "request_id=r"}, current)
    with arrived, arrived:
        with current(request_id="inner"):
            assert in_thread(lambda: arrived.run(lambda: current.request_id)) == "r"
            assert current.request_id == "inner"
        assert current.request_id == "r"
    assert not hasattr(current, "request_id")


def test_a_failure_to_bind_one_leaves_the_others_unbound(current):
    def broken():
        if fails:
            raise LookupError("no unit")

    fails = False
    other = xctx.xlocal(key=xctx.keys.Key(broken, "broken"))
    wire.declare(other, "name")
    arrived = wire.extract({"baggage": "request_id=r,name=n"}, current, other)
    fails = True
    with pytest.raises(LookupError, match="no unit"):
        arrived.__enter__()
    assert not hasattr(current, "request_id")


def test_values_are_kept_no_longer_than_what_arrived(current, no_collector):
    class Value(str):
        pass

    alive = []

    def decode(text):
        value = Value(text)
        alive.append(weakref.ref(value))
        return value

    wire.declare(current, tenant=xctx.carried(encode=str, decode=decode))
    arrived = wire.extract({"baggage": "tenant=t"}, current)
    with arrived:
        pass
    assert alive[0]() is not None
    del arrived
    assert alive[0]() is None


# --- with executors, and in many threads ------------------------------------------------------------------------------


def test_what_arrived_is_taken_along_by_executors_which_put_it_out_again():
    spawn = multiprocessing.get_context("spawn")
    with wire.extract({"baggage": "request-id=r"}, wire_names.current):
        with concurrent.ThreadPoolExecutor(1) as threads:
            assert threads.submit(wire.inject, {}, wire_names.current).result() == {"baggage": "request-id=r"}
        with concurrent.ProcessPoolExecutor(1, mp_context=spawn) as processes:
            assert processes.submit(wire_names.sent).result() == {"baggage": "request-id=r"}


def test_xlocals_come_and_go_while_others_are_looked_for():
    wrong = []

    def run(number):
        try:
            for turn in range(300):
                name = f"name-{number}"
                store = xctx.xlocal()
                wire.declare(store, name=xctx.carried(name))
                with wire.extract({"baggage": f"{name}={turn}"}):
                    if store.name != str(turn) or f"{name}={turn}" not in wire.inject({})["baggage"]:
                        wrong.append(number)
        except BaseException as exc:
            wrong.append(exc)
            raise

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
