"""Headers in the carriers that programs have."""

from email.message import Message
from http.client import HTTPMessage
from typing import Annotated

import pytest
from werkzeug.datastructures import Headers
from wire_names import came

import xctx
from xctx import wire

# --- carriers ---------------------------------------------------------------------------------------------------------


def test_baggage_that_is_there_stays_and_ours_replaces_ours(current, dropped):
    headers = {"BagGage": " a=1;p=2 ,request_id=old;q, ,rubbish,b=%20"}
    with current(request_id="new"):
        assert wire.inject(headers, current, report=dropped) == {"BagGage": "a=1;p=2,b=%20,request_id=new"}
    assert dropped == [("rubbish", "it is no member of a W3C baggage")]
    with current(request_id="new"):  # the value is the same, so the properties stay
        assert wire.inject({"baggage": "request_id=%6Eew;q=1"}, current) == {"baggage": "request_id=%6Eew;q=1"}
        assert wire.inject({"baggage": "request_id=new;q=1,request_id=new"}, current) == {
            "baggage": "request_id=new;q=1"
        }
    assert wire.inject({"baggage": "request_id=old;q"}, current) == {"baggage": "request_id=old;q"}


def http_message():
    message = HTTPMessage()
    message["Accept"] = "*/*"
    return message


@pytest.mark.parametrize("make", [dict, Headers, Message, http_message, list], ids=lambda make: make.__name__)
def test_carriers(current, make):
    carrier = make()
    with current(request_id="r"):
        for _ in range(2):  # the second time there is one
            assert wire.inject(carrier, current) is carrier
            pairs = list(carrier.items() if hasattr(carrier, "items") else carrier)
            assert [(key.lower(), value) for key, value in pairs if key.lower() == "baggage"] == [
                ("baggage", "request_id=r")
            ]
            assert came(carrier, current) == {current: {"request_id": "r"}}


def test_several_headers_become_one(current):
    message = Message()
    headers = Headers()
    for carrier in (message, headers):
        carrier.add_header("Baggage", "a=1")
        carrier.add_header("baggage", "b=2")
    pairs = [(b"accept", b"*/*"), (b"Baggage", b"a=1"), (b"baggage", b"b=2")]
    different = {"Baggage": "a=1", "baggage": ["b=2"]}
    with current(request_id="r"):
        for carrier in (message, headers, different):
            assert [value for key, value in wire.inject(carrier, current).items()] == ["a=1,b=2,request_id=r"]
        assert wire.inject(pairs, current) == [(b"accept", b"*/*"), (b"baggage", b"a=1,b=2,request_id=r")]


class Hostile:
    def __getattr__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("repr")

    def __iter__(self):
        raise RuntimeError("iter")


class Odd:
    def items(self):
        return self

    def __iter__(self):
        yield from [
            1,
            (),
            ("baggage",),
            (None, "x"),
            ("baggage", object()),
            ("baggage", b"request_id=r"),
            ("baggage", None),
        ]


@pytest.mark.parametrize(
    "carrier",
    [
        *(
            None,
            7,
            "baggage",
            b"baggage",
            {},
            [],
            [1],
            [[]],
            object(),
            {1: 2, None: 3},
            {"baggage": None},
            {"baggage": 7},
        ),
        *({"baggage": [None]}, [("baggage", {})], Hostile(), {"baggage": Hostile()}, [Hostile()]),
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_whatever_a_carrier_is_nothing_is_raised(current, carrier):
    assert not came(carrier, current)


def test_what_can_be_read_of_an_odd_carrier_is(current):
    assert came(Odd(), current) == {current: {"request_id": "r"}}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("anything", object(), "TypeError"),
        ("anything", {1: 2}, "1 is no str, as the keys of JSON are"),
        ("anything", float("nan"), "nan is no JSON"),
        pytest.param("anything", 10**5000, "ValueError", id="giant"),
        ("retries", "2", "'2' is no int"),
        ("retries", True, "True is no int"),
        ("ratio", 2**53 + 1, "is no float exactly"),
        ("ratio", float("inf"), "inf is no JSON"),
        ("tags", ["a", 1], "is no list[str] or dict or None"),
        ("tenant", "12345678-1234-5678-1234-567812345678", "is no UUID"),
    ],
)
def test_a_value_that_cannot_be_written_is_told_and_the_others_go(current, dropped, caplog, name, value, said):
    key = "tenant-id" if name == "tenant" else name
    with current(request_id="r"), current(**{name: value}):
        headers = {"baggage": f"a=1,{key}=stale"}
        assert wire.inject(headers, current, report=dropped) == {"baggage": "a=1,request_id=r"}
        ((what, why),) = dropped
        assert what == key and why.startswith(f"{name!r} of Everything cannot be written: ") and said in why
        assert not caplog.records
        assert wire.inject({"baggage": "a=1"}, current) == {"baggage": "a=1,request_id=r"}
    (record,) = caplog.records
    assert record.levelname == "ERROR" and record.getMessage().startswith(f"cannot carry {name!r} of Everything: ")


def test_values_with_what_utf8_has_not_are_told(current, dropped):
    with current(request_id="\ud800", anything=["\ud800"], retries=1):
        assert wire.inject({}, current, report=dropped) == {"baggage": "retries=1"}
    assert [what for what, why in dropped] == ["request_id", "anything"]


def test_codecs_that_go_wrong_are_told(dropped):
    class Exits(Exception):
        def __repr__(self):
            raise RuntimeError("repr")

    def broken(value):
        raise Exits

    store = xctx.xlocal()
    wire.declare(
        store,
        a=xctx.carried(encode=lambda value: value, decode=str),
        b=xctx.carried(encode=int, decode=str),
        c=xctx.carried(encode=broken, decode=str),
        d=Annotated[int, xctx.carried(encode=str, decode=int)],
    )
    with store(a=7, b="x", c=1, d="7"):
        assert wire.inject({}, store, report=dropped) == {}
    assert [what for what, why in dropped] == ["a", "b", "c", "d"]
    assert "a str was wanted" in dropped[0][1] and "'7' is no int" in dropped[3][1]
