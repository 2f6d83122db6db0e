"""Flask and werkzeug with xctx.LocalProxy in the place of their own. In interpreters of their own, because Flask makes
its proxies when it is imported."""

import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("flask")
ROOT = pathlib.Path(__file__).parents[2]

SCRIPT = """
import copy, importlib.util, pickle, sys, threading
import xctx
spec = importlib.util.spec_from_file_location("flask_proxy", {example!r})
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
import flask, werkzeug.local
for proxy in (flask.request, flask.session, flask.g, flask.current_app, example.tenant):
    assert type(proxy) is xctx.LocalProxy, type(proxy)
    assert repr(proxy) == "<LocalProxy unbound>" and not proxy and dir(proxy) == []
try:
    flask.request.path
except RuntimeError as error:
    assert "Working outside of request context" in str(error)
else:
    raise AssertionError

client = example.app.test_client()
answer = client.get("/hello/Ann?q=1", headers={{"X-Tenant": "acme"}})
assert answer.text == "hello Ann of acme: GET 1, visit 1", answer.text
assert answer.headers["X-Seen"] == "Ann"
assert client.post("/hello/Ben").text == "hello Ben of nobody: POST -, visit 2"
assert client.post("/json", json=[1, 2]).json == {{"got": [1, 2], "form": 0, "path": "/json"}}
assert client.get("/stream").text == "/stream 0\\n/stream 1\\n/stream 2\\n"
assert client.get("/nothing").status_code == 404
assert not example.tenant

with example.app.test_request_context("/path?a=1", method="PUT"):
    assert isinstance(flask.request, flask.Request) and flask.request.__class__ is flask.Request
    assert flask.request._get_current_object() is xctx.unwrap(flask.request)
    assert flask.request.args["a"] == "1" and flask.request.method == "PUT"
    assert flask.current_app == example.app and flask.current_app.name == example.app.name
    flask.g.x = 1
    assert "x" in flask.g and list(flask.g) == ["x"] and flask.g.pop("x") == 1
    flask.session["a"] = 1
    assert flask.session and dict(flask.session) == {{"a": 1}} and len(flask.session) == 1
    flask.session |= {{"b": 2}}
    assert type(flask.session) is xctx.LocalProxy and flask.session["b"] == 2
    assert flask.url_for("hello", name="x") == "/hello/x"

    seen = []
    @flask.copy_current_request_context
    def elsewhere():
        seen.append(flask.request.path)
    t = threading.Thread(target=elsewhere); t.start(); t.join()
    assert seen == ["/path"]

with example.app.app_context():
    assert flask.current_app.config["TESTING"] is False
    assert not flask.request

# Many requests at once, each with its own.
results = []
def visit(i):
    for k in range(20):
        got = example.app.test_client().get(f"/hello/n{{i}}?q={{k}}", headers={{"X-Tenant": f"t{{i}}"}}).text
        results.append(got == f"hello n{{i}} of t{{i}}: GET {{k}}, visit 1")
threads = [threading.Thread(target=visit, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(results) == 80 and all(results)

# werkzeug's stack, and names in it
stack = werkzeug.local.LocalStack()
top, name = stack(), stack("name", unbound_message="empty")
assert type(top) is xctx.LocalProxy and not top
stack.push(type("User", (), {{"name": "Ann"}})())
assert top.name == "Ann" and name == "Ann" and name.upper() == "ANN"
stack.pop()
try:
    name.upper()
except RuntimeError as error:
    assert str(error) == "empty"
example.main()
print("done")
"""


def test_flask():
    script = SCRIPT.format(example=str(ROOT / "examples" / "flask_proxy.py"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout + done.stderr
