"""Values as they are written on the wire, and what is read of what others write."""

import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_names import Everything, came

from xctx import wire

TENANT = uuid.UUID("12345678-1234-5678-1234-567812345678")


# --- the wire form ----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
everything = Everything()


@settings(deadline=None)
@given(json_values)
@example("null")
@example('"')
@example('"quoted"')
@example(" spaced ")
@example("1 + 1 = 2, or 100%; ü\n\0")
@example("NaN")
@example("[" * 100)
def test_any_value_of_json_arrives_as_it_went(value):
    with everything(anything=value):
        headers = wire.inject({}, everything)
    if len(headers.get("baggage", "")):
        (arrived,) = came(headers, everything).values()
        assert arrived == {"anything": value} and type(arrived["anything"]) is type(value)
        assert headers["baggage"].isascii() and " " not in headers["baggage"]


@settings(deadline=None)
@given(st.text())
@example('"')
@example("7")
@example("null")
def test_any_str_declared_as_one_arrives_as_it_went(value):
    with everything(request_id=value):
        headers = wire.inject({}, everything)
    if headers:
        assert came(headers, everything) == {everything: {"request_id": value}}


@pytest.mark.parametrize(
    ("member", "name", "value"),
    [
        ("request_id=abc-123", "request_id", "abc-123"),
        ("request_id=7", "request_id", "7"),
        ("request_id=%22abc%22", "request_id", "abc"),
        ("request_id=%22abc", "request_id", '"abc'),
        ("request_id=a%20b+c=d", "request_id", "a b+c=d"),
        ("request_id=%C3%BC%FF", "request_id", "ü\N{REPLACEMENT CHARACTER}"),
        ("request_id=%zz%4", "request_id", "%zz%4"),
        ("request_id=", "request_id", ""),
        ("\t request_id \t=\t abc \t;p=1; q ;r = 2", "request_id", "abc"),
        ("retries=7", "retries", 7),
        ("ratio=7", "ratio", 7.0),
        ("tags=null", "tags", None),
        ("tags=[%22a%22]", "tags", ["a"]),
        ("anything=abc", "anything", "abc"),
        ("anything=true", "anything", True),
        ("anything=NaN", "anything", "NaN"),
        (f"tenant-id={TENANT}", "tenant", TENANT),
    ],
)
def test_what_others_send_is_read(current, dropped, member, name, value):
    arrived = came({"baggage": member}, current, report=dropped)
    assert arrived == {current: {name: value}} and type(arrived[current][name]) is type(value)
    assert dropped == []


@pytest.mark.parametrize(
    "member",
    [
        *(
            "request_id",
            "=abc",
            "request id=abc",
            'request_id="abc"',
            "request_id=ü",
            "request_id=a b",
            "request_id=a\\b",
        ),
        *("request_id=a;=p", "request_id=a;p=ü", "request_id=a\r\nX: y", "request_id=\0"),
        *(
            "retries=seven",
            "retries=true",
            "retries=7.5",
            "retries=%227%22",
            "retries=",
            "ratio=1e999",
            "ratio=NaN",
            "ratio=true",
        ),
        *(
            "ratio=" + "9" * 400,
            "tags=7",
            "tags=[1",
            "tenant-id=nobody",
            "tags=" + "[" * 100 + "]" * 100,
            "tags=[1e999]",
        ),
        *("tags=[%22%5Cud800%22]", "retries=" + "9" * 5000),
    ],
)
def test_what_is_malformed_or_of_another_type_is_left_out_and_told(current, dropped, member):
    assert not came({"baggage": member}, current, report=dropped)
    assert len(dropped) == 1 and dropped[0][0].startswith(member[:20].strip())
    arrived = came({"baggage": f"{member},request_id=whole"}, current)
    assert arrived == {current: {"request_id": "whole"}}


def test_what_was_taken_in_can_be_put_out_again(current):
    """Also by whoever is deep in the stack."""
    deep = "[" * 64 + "]" * 64
    with wire.extract({"baggage": f"anything={deep},ratio=1e308"}, current):

        def deeper(levels):
            return wire.inject({}, current) if levels == 0 else deeper(levels - 1)

        assert deeper(500)["baggage"].count("[") == 64


def test_of_a_name_that_comes_twice_the_last_counts(current, dropped):
    headers = [("Baggage", "request_id=1,other=2"), ("BAGGAGE", "request_id=3")]
    assert came(headers, current, report=dropped) == {current: {"request_id": "3"}}
    assert dropped == [("request_id", "it came more than once: the last counts")]


def test_limits_on_the_way_in(current, dropped):
    many = ",".join(f"k{number}=v" for number in range(63))
    assert came({"baggage": f"{many},request_id=r"}, current, report=dropped)
    assert dropped == []
    assert not came({"baggage": f"{many},k=v,request_id=r"}, current, report=dropped)
    assert dropped == [("request_id=r", "a baggage has at most 64 members")]
    dropped.clear()
    long = "k=" + "v" * (8192 - len("k=,retries=1"))
    assert came({"baggage": f"{long},retries=1"}, current, report=dropped) == {current: {"retries": 1}}
    assert dropped == []
    assert not came({"baggage": f"{long},retries=12"}, current, report=dropped)
    assert came({"baggage": f"retries=3,{long},retries=12"}, current, report=dropped) == {current: {"retries": 3}}
    assert not came({"baggage": "request_id=" + "x" * 9000}, current, report=dropped)
    assert {why for what, why in dropped} == {"a baggage has at most 8192 bytes"}


def test_limits_on_the_way_out(current, dropped):
    there = ",".join(f"k{number}=v;p" for number in range(63))
    with current(request_id="r", retries=1):
        assert wire.inject({"baggage": there}, current, report=dropped) == {"baggage": f"{there},request_id=r"}
    assert dropped == [("retries=1", "a baggage has at most 64 members")]
    dropped.clear()
    room = 8192 - len("request_id=")
    with current(request_id="x" * room):
        assert len(wire.inject({}, current, report=dropped)["baggage"]) == 8192
    assert dropped == []
    with current(request_id="x" * (room + 1), retries=1):
        assert wire.inject({}, current, report=dropped) == {"baggage": "retries=1"}
    assert [why for what, why in dropped] == ["a baggage has at most 8192 bytes"]
