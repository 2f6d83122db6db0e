"""A Flask application whose request, session, g and current_app are xctx.LocalProxy objects.

Flask makes its proxies with the LocalProxy that werkzeug.local has when Flask is imported, so it is enough to put
another one there before. Nothing else changes: views, templates, extensions and the test client use them as ever, and
an attribute of the request is reached without a Python function in between.

    python -m pip install flask
    python examples/flask_proxy.py              # makes some requests, prints what came back, and measures
    flask --app examples/flask_proxy run        # serves
"""

import timeit

import werkzeug.local

import xctx

_theirs, werkzeug.local.LocalProxy = werkzeug.local.LocalProxy, xctx.LocalProxy

import flask  # noqa: E402  (after the exchange)

# An application's own context: what a view needs of its tenant, and a proxy for it.
_tenants = werkzeug.local.Local()
tenant = _tenants("tenant", unbound_message="no tenant outside of a request")

app = flask.Flask(__name__)
app.secret_key = "not a secret"


@app.before_request
def find_tenant():
    _tenants.tenant = {"name": flask.request.headers.get("X-Tenant", "nobody")}
    flask.g.seen = []


@app.after_request
def leave(response):
    response.headers["X-Seen"] = ",".join(flask.g.seen)
    return response


@app.teardown_request
def forget_tenant(error):
    werkzeug.local.release_local(_tenants)


@app.route("/hello/<name>", methods=["GET", "POST"])
def hello(name):
    flask.session["visits"] = flask.session.get("visits", 0) + 1
    flask.g.seen += [name]
    return flask.render_template_string(
        "{{ greeting }} {{ name }} of {{ tenant.name }}: {{ request.method }} {{ request.args.get('q', '-') }}, "
        "visit {{ session.visits }}{% if 'x' in g %}, {{ g.x }}{% endif %}",
        greeting=flask.current_app.config.get("GREETING", "hello"),
        name=name,
        tenant=tenant,
    )


@app.route("/json", methods=["POST"])
def echo():
    return {"got": flask.request.get_json(), "form": len(flask.request.form), "path": flask.request.path}


@app.route("/stream")
def stream():
    @flask.stream_with_context
    def lines():
        for i in range(3):
            yield f"{flask.request.path} {i}\n"

    return flask.Response(lines(), mimetype="text/plain")


def main():
    client = app.test_client()
    for answer in (
        client.get("/hello/Ann?q=1", headers={"X-Tenant": "acme"}),
        client.post("/hello/Ben"),
        client.post("/json", json=[1, 2]),
        client.get("/stream"),
        client.get("/nothing"),
    ):
        print(answer.status, answer.get_data(as_text=True).split("\n")[0], dict(answer.headers).get("X-Seen", ""))
    print("outside of a request:", repr(flask.request), bool(flask.session), repr(tenant))

    with app.test_request_context("/path"):
        ours, theirs = flask.request, _theirs(lambda: flask.request._get_current_object())
        print(type(ours), isinstance(ours, flask.Request))
        for name, proxy in (("xctx", ours), ("werkzeug", theirs)):
            best = min(timeit.repeat(lambda proxy=proxy: proxy.path, number=20_000))
            print(f"request.path through {name}: {best / 20e-6:.0f} ns")


if __name__ == "__main__":
    main()
