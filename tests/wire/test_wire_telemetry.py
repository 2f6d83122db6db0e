"""inject and extract beside OpenTelemetry: its baggage goes along, and each reads what the other writes."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.packages import installed
from hypothesis import given, settings
from hypothesis import strategies as st

import xctx
import xctx.telemetry
from xctx import wire

if not installed("opentelemetry"):
    pytest.skip("OpenTelemetry is not installed here", allow_module_level=True)

from opentelemetry import baggage, context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from wire_names import came, current


@pytest.fixture
def telemetry():
    """telemetry(**names): makes this the baggage of the current context, until the test ends."""
    tokens = []

    def attach(names):
        made = context.get_current()
        for name, value in names.items():
            made = baggage.set_baggage(name, value, made)
        tokens.append(context.attach(made))

    yield attach
    while tokens:
        context.detach(tokens.pop())


def test_its_baggage_goes_along(telemetry):
    telemetry({"user": "ada", "request-id": "theirs", "größe": 'a "b"', "n": 7, "there": "context"})
    with current(request_id="ours"):
        headers = wire.inject({"baggage": "there=carrier;p"}, current)
    assert headers == {"baggage": "there=carrier;p,request-id=ours,user=ada,gr%C3%B6%C3%9Fe=a%20%22b%22,n=7"}
    read = W3CBaggagePropagator().extract(headers)
    assert baggage.get_all(read) == {
        "there": "carrier;p", "request-id": "ours", "user": "ada", "größe": 'a "b"', "n": "7",
    }  # fmt: skip


def test_its_baggage_goes_where_nothing_of_ours_is_bound(telemetry):
    telemetry({"user": "ada"})
    assert wire.inject({}, current) == {"baggage": "user=ada"}


def test_its_propagator_put_in_before_is_kept(telemetry):
    telemetry({"user": "ada lovelace", "request-id": "theirs"})
    headers = {}
    W3CBaggagePropagator().inject(headers)
    with current(request_id="ours"):
        wire.inject(headers, current)
    assert headers == {"baggage": "user=ada+lovelace,request-id=ours"}


def test_what_does_not_fit_is_theirs(telemetry):
    telemetry({f"k{number}": "v" for number in range(64)} | {"surrogate": "\ud800"})
    dropped = []
    with current(request_id="r", attempt=1):
        header = wire.inject({}, current, report=lambda what, why: dropped.append(what))["baggage"]
    assert header.startswith("request-id=r,attempt=1,k0=v") and header.count(",") == 63
    assert dropped == ["surrogate", "k62=v", "k63=v"]


@settings(deadline=None)
@given(st.text().filter(lambda text: text == text.strip() and not text.startswith('"')))
def test_it_reads_the_strings_we_write(value):
    with current(request_id=value):
        headers = wire.inject({}, current)
    if headers and value:
        read = baggage.get_all(W3CBaggagePropagator().extract(headers, context.Context()))
        assert read == ({"request-id": value} if len(headers["baggage"]) <= 4096 else {})


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters=" ", exclude_categories=["Cs"]), min_size=1))
def test_we_read_the_strings_it_writes(value):
    """But for spaces, which it writes as plus signs; to the specification these are plus signs."""
    headers = {}
    W3CBaggagePropagator().inject(headers, baggage.set_baggage("request-id", value, context.Context()))
    arrived = came(headers, current)
    if not value.startswith('"'):
        assert arrived == ({current: {"request_id": value}} if headers else {})


def test_a_broken_one_does_no_harm(monkeypatch):
    def broken(context):
        raise RuntimeError("no context")

    monkeypatch.setattr(baggage, "get_all", broken)
    dropped = []
    with current(request_id="r"):
        assert wire.inject({}, current, report=lambda *what: dropped.append(what)) == {"baggage": "request-id=r"}
    assert dropped == [("the baggage of OpenTelemetry", "RuntimeError('no context')")]


# --- the propagator ---------------------------------------------------------------------------------------------------


@pytest.fixture
def propagator():
    """What instrumented libraries write headers by: trace context, baggage and ours."""
    from opentelemetry.propagators.composite import CompositePropagator
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    ours = xctx.telemetry.Propagator(current)
    return CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator(), ours])


def test_the_propagator_writes_both(telemetry, propagator):
    telemetry({"user": "ada lovelace", "request-id": "theirs"})
    headers = {}
    with current(request_id="ours"):
        propagator.inject(headers)
    assert headers == {"baggage": "request-id=ours,user=ada%20lovelace"}
    assert propagator.fields == {"traceparent", "tracestate", "baggage"}
    assert baggage.get_all(propagator.extract(headers, context.Context())) == {
        "user": "ada lovelace",
        "request-id": "ours",
    }


def test_the_propagator_goes_by_the_context_and_the_setter_that_it_is_given(propagator):
    class Setter:
        def set(self, carrier, key, value):
            carrier.append((key, value))

    headers = []
    with current(request_id="ours"):
        propagator.inject(headers, baggage.set_baggage("user", "ada", context.Context()), Setter())
    assert headers == [("baggage", "user=ada"), ("baggage", "request-id=ours,user=ada")]
    propagator.inject(headers, context.Context(), Setter())
    assert len(headers) == 2


def test_the_propagator_raises_nothing(propagator, caplog):
    headers = {}
    with current(attempt="\ud800"):
        propagator.inject(headers)
    assert headers == {} and "cannot carry 'attempt'" in caplog.text
    with current(attempt="\ud800", request_id="r"):
        propagator.inject(headers)
    assert headers == {"baggage": "request-id=r"}
    here = xctx.telemetry.Propagator()
    assert here.extract({}) is context.get_current()
    with pytest.raises(TypeError, match="carries nothing"):
        xctx.telemetry.Propagator(xctx.xlocal())


def test_the_propagator_is_found_by_its_name():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"]["opentelemetry_propagator"]["xctx"].split(":")
    assert getattr(importlib.import_module(module), name) is xctx.telemetry.Propagator


def test_it_is_not_imported_for_this():
    code = (
        "import sys, xctx.wire as w; w.inject({}); w.extract({}); print(*[m for m in sys.modules if 'telemetry' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
