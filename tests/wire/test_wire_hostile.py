"""What comes from outside does no harm, and is not shown where it should not be."""

import functools
import logging
import pickle
import uuid

import wire_names
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_names import Everything, came

from xctx import wire
from xctx._wire import baggage

everything = Everything()
TENANT = uuid.UUID("12345678-1234-5678-1234-567812345678")


# --- nothing from outside does harm -----------------------------------------------------------------------------------

NAMES = ["request_id", "tenant-id", "retries", "ratio", "tags", "anything"]
MARKS = [*'=,; \t%[]{}:1-"\\\0\ud800ü', "%22", "%00", "%ff", "e9", "null", "\r\n", "x" * 3000, "," * 200]
chunks = st.sampled_from(NAMES + MARKS)
headers = st.lists(chunks, max_size=30).map("".join) | st.text() | st.binary()
carriers = st.dictionaries(st.sampled_from(["baggage", "Baggage", b"BAGGAGE", "x", 1]), headers) | st.lists(
    st.tuples(st.sampled_from(["baggage", b"baggage", None]), headers | st.none() | st.lists(headers, max_size=3))
)


@settings(deadline=None)
@given(carriers)
def test_whatever_arrives_extract_raises_nothing_and_what_it_gives_can_be_bound_and_written(carrier):
    arrived = wire.extract(carrier, everything)
    with arrived:
        written = wire.inject({}, everything)
    assert len(written.get("baggage", "")) <= 8192
    for values in came(carrier, everything).values():
        assert values.keys() <= {*NAMES, "tenant"}
        assert isinstance(values.get("request_id", ""), str) and isinstance(values.get("retries", 0), int)
    assert not vars(everything)


@settings(deadline=None)
@given(headers.filter(lambda header: isinstance(header, str)), st.text())
def test_what_is_put_out_beside_what_was_there_is_well_formed(there, value):
    with everything(request_id=value.encode("utf-8", "replace").decode()):
        written = wire.inject({"baggage": there}, everything)["baggage"]
    wrong = []
    assert len(list(baggage.members(written, lambda *what: wrong.append(what)))) <= max(64, there.count(",") + 1)
    assert wrong == []


def test_nothing_is_unpickled(current, monkeypatch):
    payload = pickle.dumps(TENANT)
    for function in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, function, None)
    for text in (payload.decode("latin-1"), payload.hex(), baggage.encoded(payload.decode("latin-1"))):
        arrived = came({"baggage": f"anything={text}"}, current)
        assert all(isinstance(value, str) for values in arrived.values() for value in values.values())


def test_reports_go_to_the_log_at_debug_and_one_that_raises_does_no_harm(current, caplog):
    with caplog.at_level(logging.DEBUG, "xctx.wire"):
        assert came({"baggage": "rubbish,retries=x,request_id=r"}, current)
        assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
        assert "'rubbish'" in caplog.text and "'retries=x'" in caplog.text
        caplog.clear()

        def broken(what, why):
            raise ZeroDivisionError

        assert came({"baggage": "rubbish,request_id=r"}, current, report=broken)
        assert "ZeroDivisionError" in caplog.text


def test_names_of_others_are_ignored_in_silence(current, dropped):
    assert not came({"baggage": "user=ada,trace=1;x"}, current, report=dropped)
    assert dropped == []


def test_reprs_show_no_values(current):
    arrived = wire.extract({"baggage": "request_id=secret"}, current)
    assert repr(arrived) == "<snapshot of Everything: request_id>"
    assert repr(wire.extract({}, current)) == "<snapshot of nothing>"


def test_what_arrived_comes_on_top_of_what_is_bound(current):
    with current(user="ada", retries=1), wire.extract({"baggage": "retries=2"}, current):
        assert vars(current) == {"user": "ada", "retries": 2}


def test_what_arrived_goes_on_to_another_process(in_spawned):
    arrived = wire.extract({"baggage": "request-id=r"}, wire_names.current)
    with arrived:
        assert in_spawned(functools.partial(pickle.loads(pickle.dumps(arrived)).run, wire_names.request_id)) == "r"
        assert in_spawned(wire_names.request_id) is None
