"""W3C Baggage: the examples of the specification and of its own tests, and round trips with other languages.

The programs of OpenTelemetry for JavaScript are tried where they are installed: `make test-node` does that.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import pytest
from wire_names import came

import xctx
from xctx import wire

NODE_MODULES = Path(__file__).parents[2] / "build" / "node" / "node_modules"


class Example(xctx.xlocal):
    user: Annotated[str, xctx.carried("userId")]
    node: Annotated[str, xctx.carried("serverNode")]
    production: Annotated[bool, xctx.carried("isProduction")]


class Keys(xctx.xlocal):
    one: Annotated[str, xctx.carried("key1")]
    two: Annotated[str, xctx.carried("key2")]
    three: Annotated[str, xctx.carried("key3")]
    some: Annotated[str, xctx.carried("SomeKey")]
    some2: Annotated[str, xctx.carried("SomeKey2")]


example, keys = Example(), Keys()
ODD = "\t \"';=asdf!@#$%^&*()"
ALICE = {"user": "alice", "node": "DF 28", "production": False}


@pytest.mark.parametrize(
    ("headers", "store", "names"),
    [
        # Examples of HTTP headers
        (["userId=alice,serverNode=DF%2028,isProduction=false"], example, ALICE),
        (["userId=Am%C3%A9lie,serverNode=DF%2028,isProduction=false"], example, {**ALICE, "user": "Amélie"}),
        (["userId=alice", "serverNode=DF%2028,isProduction=false"], example, ALICE),
        (["userId =   alice", "serverNode = DF%2028, isProduction = false"], example, ALICE),
        (["serverNode=DF%2028", "userId=alice", "isProduction=false"], example, ALICE),
        # Header content
        (
            ["key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue"],
            keys,
            {"one": "value1", "two": "value2", "three": "value3"},
        ),
        # The specification's own tests
        (["SomeKey=SomeValue"], keys, {"some": "SomeValue"}),
        (
            [
                "SomeKey \t = \t SomeValue \t ; \t SomeProp \t , "
                "\t SomeKey2 \t = \t SomeValue2 \t ; \t ValueProp \t = \t PropVal"
            ],
            keys,
            {"some": "SomeValue", "some2": "SomeValue2"},
        ),
        (["SomeKey=SomeValue=equals"], keys, {"some": "SomeValue=equals"}),
        ([f"SomeKey={quote(ODD)}"], keys, {"some": ODD}),
        (["SomeKey=SomeValue;SomeProp;SomeProp=PropValue;SomeProp=AnotherPropValue"], keys, {"some": "SomeValue"}),
        # Value: what is no UTF-8 becomes U+FFFD
        (["SomeKey=a%FFb"], keys, {"some": "a\ufffdb"}),
    ],
)
def test_examples_are_read_and_go_on(headers, store, names, dropped):
    pairs = [("baggage", header) for header in headers]
    assert came(pairs, store, report=dropped) == {store: names}
    with wire.extract(pairs, store):
        written = wire.inject({}, store)
    assert came(written, store, report=dropped) == {store: names}
    properties = [part.partition(";")[2] for header in headers for part in header.split(",") if ";" in part]
    assert [part for part in properties if part.strip() not in written["baggage"]] == []
    assert dropped == []


def test_examples_are_written():
    with example(user="Amélie", node="DF 28", production=False):
        assert wire.inject({}) == {"baggage": "userId=Am%C3%A9lie,serverNode=DF%2028,isProduction=false"}


def test_what_must_go_on_does(dropped):
    """At least 64 members and 8192 bytes."""
    members = [f"k{number:02}={'v' * 123}" for number in range(64)]
    header = ",".join(members)
    assert len(header) == 8192 - 65 + 64
    with wire.extract({"baggage": header}, report=dropped):
        assert wire.inject({}, report=dropped) == {"baggage": header}
    assert dropped == []


# --- JavaScript -----------------------------------------------------------------------------------------------------

PROGRAM = """
const api = require("@opentelemetry/api");
const { W3CBaggagePropagator } = require("@opentelemetry/core");
const propagator = new W3CBaggagePropagator();
const lines = require("fs").readFileSync(0, "utf8").trim().split("\\n").map((line) => JSON.parse(line));
for (const headers of lines) {
  const context = propagator.extract(api.ROOT_CONTEXT, headers, api.defaultTextMapGetter);
  const baggage = api.propagation.getBaggage(context);
  const read = baggage ? Object.fromEntries(baggage.getAllEntries().map(([k, e]) => [k, e.value])) : {};
  const written = {};
  propagator.inject(context, written, api.defaultTextMapSetter);
  console.log(JSON.stringify({ read, written }));
}
"""
VALUES = [
    "alice",
    "DF 28",
    "Amélie",
    ODD,
    "a+b",
    "100%",
    "a,b;c=d",
    "\\ \\n",
    "null",
    "12345",
    '["a"]',
    "\N{SNOWMAN}" * 9,
]
VALUES += ["'single'", "%41", "a=b=c", "~!*()", "\x7f", "\U0001f600"]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed here")
@pytest.mark.skipif(not NODE_MODULES.exists(), reason="OpenTelemetry for JavaScript is not installed: make test-node")
def test_javascript_reads_what_we_write_and_we_read_what_it_writes():
    sent = []
    for value in VALUES:
        with example(user=value, node="n", production=True):
            sent.append(wire.inject({}))
    done = subprocess.run(
        ["node", "-e", PROGRAM],
        input="\n".join(map(json.dumps, sent)),
        capture_output=True,
        text=True,
        check=True,
        env={"NODE_PATH": str(NODE_MODULES), "PATH": str(Path(shutil.which("node")).parent)},
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(VALUES)
    for value, answer in zip(VALUES, answers, strict=True):
        assert answer["read"] == {"userId": value, "serverNode": "n", "isProduction": "true"}
        assert came(answer["written"], example) == {example: {"user": value, "node": "n", "production": True}}
