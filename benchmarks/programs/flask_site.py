"""A Flask application: a page for a user who is logged in, of rows from a database. It knows nothing of xctx.

``PROGRAM_FOLDER`` is where its database lies. Without SQLAlchemy the rows come from a list.
"""

import importlib.util
import os
import threading

import flask
import flask_login
from flask import g, request, session

ROWS = 25
PAGE = """<!doctype html><title>{{ g.tenant }}</title>
<p>{{ current_user.name }} ({{ current_user.role }}) at {{ request.path }}, {{ session.get("theme", "plain") }},
{{ config["ENV_NAME"] }}
<table>{% for row in rows %}
<tr class="{{ 'mine' if is_mine(row) else 'other' }}"><td>{{ row.name }}<td>{{ price(row) }}
{%- endfor %}
</table>
"""

app = flask.Flask(__name__)
app.secret_key = "not a secret"
app.config["ENV_NAME"] = "benchmark"
template = app.jinja_env.from_string(PAGE)
manager = flask_login.LoginManager(app)


class User(flask_login.UserMixin):
    def __init__(self, name):
        self.id = self.name = name
        self.role = "reader"


@manager.user_loader
def load_user(name):
    return User(name)


if importlib.util.find_spec("sqlalchemy"):
    import sqlalchemy
    from sqlalchemy import orm

    class Base(orm.DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "rows"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        name: orm.Mapped[str]
        owner: orm.Mapped[str]
        cost: orm.Mapped[int]

    engine = sqlalchemy.create_engine(f"sqlite:///{os.environ['PROGRAM_FOLDER']}/rows.sqlite")
    sessions = orm.scoped_session(orm.sessionmaker(engine))

    def set_up():
        Base.metadata.create_all(engine)
        with orm.Session(engine) as made:
            made.add_all(Row(name=f"row {at}", owner=f"user {at % 5}", cost=at) for at in range(ROWS))
            made.commit()
        engine.dispose()

    def rows():
        return sessions.execute(sqlalchemy.select(Row).order_by(Row.id)).scalars().all()

    @app.teardown_appcontext
    def end(error):
        sessions.remove()

else:
    every = [{"name": f"row {at}", "owner": f"user {at % 5}", "cost": at} for at in range(ROWS)]

    def set_up():
        pass

    def rows():
        return every


# The template gets the objects behind Flask's proxies. What it calls for each row reads two names through the proxies
# themselves, as code does that is not handed the request.


@app.template_global()
def is_mine(row):
    return column(row, "owner") == flask_login.current_user.name


@app.template_global()
def price(row):
    return g.rate * column(row, "cost")


def column(row, name):
    return row[name] if isinstance(row, dict) else getattr(row, name)


@app.before_request
def begin():
    g.tenant = request.headers.get("X-Tenant", "nobody")
    g.rate = len(g.tenant)


@app.get("/login/<name>")
def log_in(name):
    flask_login.login_user(load_user(name))
    session["theme"] = "dark"
    return "in"


@app.get("/page/<int:number>")
@flask_login.login_required
def page(number):
    return flask.render_template(template, rows=rows())


gathered = {"count": 0, "event": threading.Event()}
gathering = threading.Lock()


@app.get("/together/<int:number>")
@flask_login.login_required
def together(number):
    """Waits until so many requests are in progress; answers when the program's memory was measured."""
    with gathering:
        event = gathered["event"]
        gathered["count"] += 1
        if gathered["count"] == int(request.args["count"]):
            gathered["memory"] = memory()
            gathered.update(count=0, event=threading.Event())
            event.set()
    event.wait()
    return {"tenant": g.tenant, "user": flask_login.current_user.name, "memory": gathered["memory"]}


def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@app.get("/process")
def process():
    return {"process": os.getpid(), "classes": [each.__module__ for each in type(request).__mro__]}
