"""What passes through a service: members of others, properties, and what it does not let through."""

import functools
import json
import pickle
import subprocess
import sys
from typing import Annotated

import pytest
from helpers.packages import installed

import xctx
from xctx import wire
from xctx._wire import passing


class Edge(xctx.xlocal):
    request_id: Annotated[str, xctx.carried("request-id")]
    retries: Annotated[int, xctx.carried]
    deadline: Annotated[float, xctx.carried(accept=False)]
    token: Annotated[str, xctx.carried("api-token", send=False)]


edge = Edge()


def handed_on(header, *stores, **names):
    stores = stores or (edge,)  # not all: those of other tests have names that are the same
    with wire.extract({"baggage": header}, *stores), stores[0](**names):
        return wire.inject({}, *stores).get("baggage")


# --- members of others ----------------------------------------------------------------------------------------------


def test_members_of_others_go_on_as_they_came():
    header = "user-id=u%2D17;ttl=5; secure,request-id=r1,node=DF%2028;a = %31 ,odd%key=v,twice=1,twice=2"
    assert handed_on(header).split(",") == [
        "request-id=r1", "user-id=u%2D17;ttl=5; secure", "node=DF%2028;a = %31", "odd%key=v", "twice=1", "twice=2",
    ]  # fmt: skip
    assert not passing.by_key.flow.others


def test_they_go_on_where_nothing_of_ours_is_bound():
    assert handed_on("a=1") == "a=1"
    store = xctx.xlocal()
    wire.declare(store, "some_other_name")
    assert handed_on("a=1", store) == "a=1"


def test_what_we_bind_counts_and_so_does_what_the_carrier_has():
    with wire.extract({"baggage": "request-id=r1;p,a=1,b=2"}, edge), edge(request_id="r2"):
        assert wire.inject({"baggage": "a=3;q"}, edge) == {"baggage": "a=3;q,request-id=r2,b=2"}


def test_what_came_with_an_inner_request_hides_what_came_with_the_outer():
    with wire.extract({"baggage": "a=1,request-id=r;p"}, edge):
        with wire.extract({"baggage": "b=2"}, edge):
            assert wire.inject({}, edge) == {"baggage": "request-id=r,b=2"}
        with xctx.nothing():
            assert wire.inject({}, edge) == {}


def test_they_are_seen_where_the_names_are_that_came_with_them(key, other_unit, in_thread):
    store = xctx.xlocal(key=key)
    wire.declare(store, "name")

    def served():
        with wire.extract({"baggage": "name=n,a=1"}, store):
            return wire.inject({}, store), xctx.capture().run(wire.inject, {}, store)

    wanted = {"baggage": "name=n,a=1"}
    assert other_unit(served) == (wanted, wanted)
    assert wire.inject({}, store) == {}


def injected():
    return wire.inject({}, edge)


def test_they_go_along_to_another_process(in_spawned):
    arrived = wire.extract({"baggage": "request-id=r;p=1,a=1;q"}, edge)
    assert in_spawned(functools.partial(pickle.loads(pickle.dumps(arrived)).run, injected)) == {
        "baggage": "request-id=r;p=1,a=1;q"
    }


def test_the_limits_hold_for_all_together(dropped):
    there = ",".join(f"t{number}=v" for number in range(40))
    others = ",".join(f"o{number}=v" for number in range(30))
    with wire.extract({"baggage": others}, edge), edge(request_id="r"):
        written = wire.inject({"baggage": there}, edge, report=dropped)["baggage"].split(",")
    assert written == [*there.split(","), "request-id=r", *others.split(",")[:23]]
    assert [what for what, why in dropped] == [f"o{number}=v" for number in range(23, 30)]
    dropped.clear()
    much = ",".join(f"o{number}={'x' * 1000}" for number in range(8))
    with wire.extract({"baggage": much}, edge), edge(request_id="y" * 1000):
        written = wire.inject({}, edge, report=dropped)["baggage"]
    assert written.startswith("request-id=y") and len(written) <= 8192 and written.count(",") == 7
    assert [(what[:3], why) for what, why in dropped] == [("o7=", "a baggage has at most 8192 bytes")]


def test_what_is_there_already_is_held_to_the_limits(dropped):
    there = ",".join(f"t{number}=v" for number in range(70))
    with edge(request_id="r"):
        written = wire.inject({"baggage": there}, edge, report=dropped)["baggage"]
    assert written == ",".join(there.split(",")[:64])
    assert len(dropped) == 7


# --- properties -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "names", "wanted"),
    [
        ("request-id=r1;ttl=5", {}, "request-id=r1;ttl=5"),
        ("request-id=%721 ; ttl = 5;x", {}, "request-id=%721 ; ttl = 5;x"),
        ("request-id=r1;ttl=5", {"request_id": "r1"}, "request-id=r1;ttl=5"),
        ("request-id=r1;ttl=5", {"request_id": "r2"}, "request-id=r2"),
        ("retries=%32;p", {}, "retries=%32;p"),
        ("retries=1;p", {"retries": True}, None),
        ("retries=1;p,retries=2;q", {}, "retries=2;q"),
        ("retries=one;p", {}, None),
    ],
)
def test_properties_stay_as_long_as_the_value_is_the_same(header, names, wanted):
    assert handed_on(header, **names) == wanted


# --- what goes one way only, and lists at the edge ------------------------------------------------------------------


def test_what_is_not_accepted_is_neither_bound_nor_handed_on(dropped):
    with wire.extract({"baggage": "deadline=9;p,a=1"}, edge, report=dropped):
        assert not hasattr(edge, "deadline")
        assert wire.inject({}, edge) == {"baggage": "a=1"}
        with edge(deadline=1.5):
            assert wire.inject({}, edge) == {"baggage": "deadline=1.5,a=1"}
    assert dropped == [("deadline=9;p", "carried(accept=False): it is taken from nobody")]


def test_what_is_not_sent_ends_here():
    with wire.extract({"baggage": "api-token=secret;p,a=1"}, edge):
        assert edge.token == "secret"
        assert wire.inject({}, edge) == {"baggage": "a=1"}
        with edge(token="other"):
            assert wire.inject({}, edge) == {"baggage": "a=1"}


def test_they_do_not_pass_by_where_other_xlocals_are_asked_for():
    store = xctx.xlocal()
    wire.declare(store, "name")
    assert handed_on("name=n,api-token=secret,deadline=9,request-id=r", store) == "name=n,request-id=r"


def test_a_name_goes_at_least_one_way():
    with pytest.raises(ValueError, match="neither accepted nor sent, a name is not carried"):
        xctx.carried(accept=False, send=False)
    assert repr(xctx.carried("a", accept=False)) == "carried('a', accept=False)"


def test_at_the_edge_only_what_is_listed_is_taken(dropped):
    header = {"baggage": "request-id=r;p,retries=1,a=1,b=2"}
    with wire.extract(header, edge, report=dropped, accept=["request-id", "b"]):
        assert vars(edge) == {"request_id": "r"}
        assert wire.inject({}, edge) == {"baggage": "request-id=r;p,b=2"}
    assert dropped == [(each, "it is not among the names to accept") for each in ("retries=1", "a=1")]
    assert repr(wire.extract(header, edge, accept=())) == "<snapshot of nothing>"


@pytest.mark.parametrize("wrong", ["request-id", b"request-id", [7]], ids=repr)
def test_a_list_of_names_is_one(wrong):
    with pytest.raises(TypeError, match="accept is a collection of names on the wire"):
        wire.extract({}, accept=wrong)


def test_the_middlewares_take_such_a_list():
    def app(environ, start_response):
        return [json.dumps([vars(edge), wire.inject({}, edge)]).encode()]

    served = xctx.wsgi.Middleware(app, edge, accept=["request-id"])
    assert json.loads(served({"HTTP_BAGGAGE": "request-id=r,retries=1,a=1"}, None)[0]) == [
        {"request_id": "r"}, {"baggage": "request-id=r"},
    ]  # fmt: skip
    with pytest.raises(TypeError, match="accept is a collection"):
        xctx.asgi.Middleware(app, edge, accept="request-id")


# --- beside OpenTelemetry -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not installed("opentelemetry"), reason="OpenTelemetry is not installed here")
def test_what_opentelemetry_has_read_as_well_goes_on_as_it_came():
    script = """
        from opentelemetry import baggage, context
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from xctx import wire
        headers = {"baggage": "a=1;p=2,b=x+y,c=1,d=1"}
        made = baggage.set_baggage("e", "5", W3CBaggagePropagator().extract(headers))
        made = baggage.set_baggage("c", "3", made)
        token = context.attach(made)
        with wire.extract(headers):
            print(wire.inject({})["baggage"])
    """
    done = subprocess.run([sys.executable, "-c", "if True:" + script], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.strip().split(",")) == ["a=1;p=2", "b=x+y", "c=3", "d=1", "e=5"]
