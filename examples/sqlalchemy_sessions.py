"""SQLAlchemy's scoped_session, with a session for each thread, greenlet or asyncio task, which ends with it.

``scoped_session(factory, scopefunc=xctx.keys.task)`` gives each unit its own session: a key can be called, and gives
the unit that runs. That alone is right where every unit ends with ``Session.remove()``, as SQLAlchemy asks. The
registry below adds what it cannot do by itself: sessions are kept by an :class:`xctx.local`, so one that nobody
removed is closed, and its connection given back, when its unit ends.

    python examples/sqlalchemy_sessions.py            # threads, asyncio tasks, and greenlets where gevent is installed

Exits with 1 if a unit saw another's session, or a session or a connection was left.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.util import ScopedRegistry

import xctx


class Kept:
    """Closes a session when whatever keeps it lets go."""

    def __init__(self, session):
        self.session = session

    def __del__(self):
        self.session.close()


class UnitRegistry(ScopedRegistry):
    """What scoped_session keeps its sessions in: here, in the units that they belong to."""

    def __init__(self, createfunc, scopefunc):
        super().__init__(createfunc, scopefunc)
        self.kept = xctx.local(key=scopefunc)

    def __call__(self):
        if not self.has():
            self.set(self.createfunc())
        return self.kept.it.session

    def has(self):
        return hasattr(self.kept, "it")

    def set(self, session):
        self.kept.it = Kept(session)

    def clear(self):
        if self.has():
            del self.kept.it


class Base(orm.DeclarativeBase):
    pass


class Visit(Base):
    __tablename__ = "visits"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    user: orm.Mapped[str]


made = weakref.WeakSet()  # every session that is alive


def sessions(engine, registry=UnitRegistry):
    """A scoped_session for `engine` whose scope is the unit that runs."""
    factory = orm.sessionmaker(engine)

    def make():
        session = factory()
        made.add(session)
        return session

    scoped = orm.scoped_session(factory, scopefunc=xctx.keys.task)
    scoped.registry = registry(make, xctx.keys.task)
    return scoped


# --- library code: it uses the one `Session` of the module, whoever runs ---------------------------------------------

Session = None


def note(user):
    Session.add(Visit(user=user))


def begin(user):
    """The first half of a request: pending in this unit's session, and in no other."""
    note(user)
    return Session()


def finish(session, user):
    """The second half, after others ran: the session is the same, and holds this unit's object alone."""
    right = Session() is session and [visit.user for visit in Session.new] == [user]
    Session.execute(sqlalchemy.select(sqlalchemy.func.count(Visit.id)))  # takes a connection, and a transaction
    Session.rollback() if user.endswith("0") else Session.commit()
    Session.execute(sqlalchemy.text("select 1"))  # and another, that nobody ends: there is no remove()
    return right


# --- the units -------------------------------------------------------------------------------------------------------


def by_threads(count):
    together = threading.Barrier(count)
    right = []

    def work(user):
        session = begin(user)
        together.wait()
        right.append(finish(session, user))

    threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return right


def by_tasks(count):
    async def work(user):
        session = begin(user)
        await asyncio.sleep(0.001)
        return finish(session, user)

    async def main():
        return await asyncio.gather(*[work(f"task {number}") for number in range(count)])

    return asyncio.run(main())


def by_greenlets(count):
    import gevent

    def work(user):
        session = begin(user)
        gevent.sleep(0.001)
        return finish(session, user)

    workers = [gevent.spawn(work, f"greenlet {number}") for number in range(count)]
    gevent.joinall(workers)
    gevent.sleep(0)  # their ends are told in the hub
    return [worker.value for worker in workers]  # which are referred to here, and hold nothing any more


def settle(engine, seconds=10):
    """Threads go a moment after join() has returned."""
    end = time.monotonic() + seconds
    while (made or engine.pool.checkedout()) and time.monotonic() < end:
        time.sleep(0.001)
    return len(made), engine.pool.checkedout()


def main(argv=None):
    global Session
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, default=40, metavar="N", help="how many of each kind (default: 40)")
    parser.add_argument("--plain", action="store_true", help="with SQLAlchemy's own registry, which waits for remove()")
    options = parser.parse_args(argv)

    kinds = {"threads": by_threads, "asyncio tasks": by_tasks, "gevent greenlets": by_greenlets}
    try:
        import gevent  # noqa: F401
    except ImportError:
        del kinds["gevent greenlets"]

    failed = False
    print(f"{'':20}{'right':>8}{'of':>6}{'sessions left':>16}{'connections left':>18}")
    with tempfile.TemporaryDirectory() as folder:
        for name, run in kinds.items():
            engine = sqlalchemy.create_engine(
                f"sqlite:///{Path(folder) / name.replace(' ', '_')}.db",
                poolclass=sqlalchemy.QueuePool,
                pool_size=options.units,
                connect_args={"timeout": 60, "check_same_thread": False},
            )
            Base.metadata.create_all(engine)
            Session = sessions(engine, ScopedRegistry if options.plain else UnitRegistry)
            right = run(options.units)
            left, connections = settle(engine, 0.2 if options.plain else 10)
            print(f"{name:20}{sum(right):8}{len(right):6}{left:16}{connections:18}")
            failed |= not all(right) or left > 0 or connections > 0
            if options.plain:
                for session in list(made):
                    session.close()
            Session = None
            engine.dispose()
    print("sessions were left" if failed else "each unit had its own session, and none was left")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
