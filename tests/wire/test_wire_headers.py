"""Headers in the carriers that programs have."""

from email.message import Message
from http.client import HTTPMessage

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


def test_values_that_cannot_be_written_are_named_and_the_carrier_is_unchanged(current):
    headers = {"baggage": "a=1"}
    for name, value, kind in [
        ("anything", object(), TypeError),
        ("anything", float("nan"), ValueError),
        ("request_id", "\ud800", ValueError),
    ]:
        with current(request_id="r"), current(**{name: value}):
            with pytest.raises(kind, match=f"cannot carry '{name}' of <Everything"):
                wire.inject(headers, current)
    store = xctx.xlocal()
    wire.declare(store, a=xctx.carried(encode=lambda value: value, decode=str), b=xctx.carried(encode=int, decode=str))
    with store(a=7), pytest.raises(TypeError, match=r"cannot carry 'a' of .* a str was wanted"):
        wire.inject(headers, store)
    with store(b="x"), pytest.raises(ValueError, match="cannot carry 'b' of"):
        wire.inject(headers, store)
    assert headers == {"baggage": "a=1"}
