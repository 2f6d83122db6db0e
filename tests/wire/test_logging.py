"""Log records with bindings, from any unit."""

import asyncio
import io
import logging
import logging.config
import logging.handlers
import queue

import pytest
from helpers.packages import installed
from wire_names import current

import xctx
import xctx.logging
from xctx import wire


@pytest.fixture
def logger():
    """A logger of its own, that hands nothing on."""
    made = logging.Logger("tests.logging")
    yield made
    for handler in made.handlers:
        handler.close()


@pytest.fixture
def lines(logger):
    """What a handler of that logger wrote, as a function that gives the lines; its handler is lines.handler."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("[%(request_id)s] %(message)s"))
    logger.addHandler(handler)

    def written():
        return stream.getvalue().splitlines()

    written.handler = handler
    return written


def test_records_get_what_is_bound_where_they_are_made(logger, lines, key, other_unit, sees_bindings, unit_kind):
    store = xctx.xlocal(key=key)
    lines.handler.addFilter(xctx.logging.Filter(request_id=store))
    logger.warning("nothing")
    with store(request_id="r"):
        logger.warning("here")
        if unit_kind.name != "fork":
            other_unit(lambda: logger.warning("there"))
    assert lines() == ["[-] nothing", "[r] here"] + [f"[{'r' if sees_bindings else '-'}] there"] * (
        unit_kind.name != "fork"
    )


def test_from_another_unit_that_took_it_along(logger, lines, other_unit, unit_kind):
    lines.handler.addFilter(xctx.logging.Filter(request_id=current))
    arrived = wire.extract({"baggage": "request-id=r"}, current)

    def there():
        arrived.run(logger.warning, "there")
        logger.warning("after")
        return lines()

    assert other_unit(there) == ["[r] there", "[-] after"]


def test_on_a_logger_it_adds_for_all_handlers_but_not_for_its_children(lines, logger):
    logger.addFilter(xctx.logging.Filter(request_id=current))
    with current(request_id="r"):
        logger.warning("x")
    assert lines() == ["[r] x"]


def test_sources(logger):
    session = xctx.local()
    session.user = "ada"

    def broken():
        raise LookupError

    filter = xctx.logging.Filter(
        missing=None, request_id=current, id=(current, "request_id"), user=session, who=(session, "user"), n=lambda: 7,
        proxied=(xctx.LocalProxy(session, "user"), "nothing"), absent=session, broken=broken,
    )  # fmt: skip
    record = logging.makeLogRecord({"user": "said"})
    with current(request_id="r"):
        assert filter.filter(record)
    added = {name: value for name, value in vars(record).items() if name not in vars(logging.makeLogRecord({}))}
    assert added == {
        "request_id": "r", "id": "r", "user": "said", "who": "ada", "n": 7, "proxied": None, "absent": None,
        "broken": None,
    }  # fmt: skip


def test_what_came_from_outside_forges_no_record(logger, lines):
    lines.handler.addFilter(xctx.logging.Filter(request_id=current))
    with wire.extract({"baggage": "request-id=r%5D%20ok%0A%5Broot%C3%BC%1B%5B2J%E2%80%A8"}, current):
        assert "\n" in current.request_id
        logger.warning("x")
    assert lines() == ["[r] ok\\n[rootü\\x1b[2J\\u2028] x"]


def test_what_cannot_be_asked_for():
    for make in (xctx.logging.Filter, xctx.logging.install, xctx.logging.processor):
        with pytest.raises(TypeError, match="nothing is to be added"):
            make()
        with pytest.raises(TypeError, match="a pair of a store and a name was wanted"):
            make(request_id=(current,))
    for make in (xctx.logging.Filter, xctx.logging.install):
        for name in ("name", "message", "args", "taskName"):
            with pytest.raises(ValueError, match=f"'{name}' is what each record has of its own"):
                make(**{name: current})


def test_through_a_queue_what_counts_is_where_the_record_was_made(logger, lines, in_thread):
    logger.removeHandler(lines.handler)
    records = queue.Queue()
    handler = logging.handlers.QueueHandler(records)
    handler.addFilter(xctx.logging.Filter(request_id=current))
    logger.addHandler(handler)
    lines.handler.addFilter(xctx.logging.Filter(request_id=current))  # here it must change nothing
    listener = logging.handlers.QueueListener(records, lines.handler)
    listener.start()
    with current(request_id="main"):
        logger.warning("one")
        in_thread(lambda: logger.warning("two"))

        def three():
            with current(request_id="thread"):
                logger.warning("three")

        in_thread(three)
    listener.stop()
    assert lines() == ["[main] one", "[-] two", "[thread] three"]


@pytest.fixture
def factory():
    """Restores the factory of records."""
    before = logging.getLogRecordFactory()
    yield before
    logging.setLogRecordFactory(before)


def test_a_factory_adds_to_every_record_of_the_program(factory, caplog, in_thread):
    undo = xctx.logging.install(request_id=current)
    with current(request_id="r"):
        logging.getLogger("somebody.else").warning("x")
        in_thread(lambda: logging.getLogger("somebody.else").warning("y"))
        with pytest.raises(KeyError, match="request_id"):
            logging.getLogger("somebody.else").warning("x", extra={"request_id": "s"})
    assert [record.request_id for record in caplog.records] == ["r", "-"]
    undo()
    undo()
    assert logging.getLogRecordFactory() is factory
    logging.getLogger("somebody.else").warning("z")
    assert not hasattr(caplog.records[-1], "request_id")


def test_a_factory_undone_beneath_another_adds_no_more(factory):
    undo = xctx.logging.install(one=current)
    undo_second = xctx.logging.install(two=current)
    undo()
    record = logging.getLogRecordFactory()("name", logging.INFO, "path", 1, "message", (), None)
    assert not hasattr(record, "one") and record.two == "-"
    undo_second()


def test_configured_by_a_dict(capsys):
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"bindings": {"()": "xctx.logging.Filter", "request_id": "ext://wire_names.current"}},
            "formatters": {"plain": {"format": "[%(request_id)s] %(message)s"}},
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "filters": ["bindings"],
                    "formatter": "plain",
                    "stream": "ext://sys.stdout",
                }
            },
            "loggers": {"configured": {"handlers": ["out"], "propagate": False}},
        }
    )
    with current(request_id="r"):
        logging.getLogger("configured").warning("x")
    assert capsys.readouterr().out == "[r] x\n"


@pytest.mark.skipif(not installed("structlog"), reason="structlog is not installed here")
def test_structlog():
    import structlog

    events = []

    def keep(logger, method, event):
        events.append(event)
        raise structlog.DropEvent

    log = structlog.wrap_logger(None, processors=[xctx.logging.processor(request_id=current, name=lambda: "n\n"), keep])
    with current(request_id="r"):
        log.info("x", other=1)
        log.bind(request_id="said").info("y")
    log.warning("z")
    assert events == [
        {"event": "x", "other": 1, "request_id": "r", "name": "n\\n"},
        {"event": "y", "request_id": "said", "name": "n\\n"},
        {"event": "z", "request_id": "-", "name": "n\\n"},
    ]


# --- all that belongs to a unit of work ------------------------------------------------------------------------------

kept = xctx.local(key=xctx.keys.work)


def record_of(caplog_filter, **extra):
    record = logging.makeLogRecord({"msg": "said", **extra})
    assert caplog_filter.filter(record)
    return {name: value for name, value in vars(record).items() if name not in xctx.logging.TAKEN}


def test_all_names_of_a_unit_of_work_are_added():
    x, y = xctx.xlocal(), xctx.xlocal(key=xctx.keys.work)
    everything = xctx.logging.Filter(xctx.work)
    assert record_of(everything) == {}
    with xctx.work(), x(request_id="r-1", args="not in place of the record's"):
        kept.user = "ada\nforged"
        with y(tenant=7):
            assert record_of(everything) == {"request_id": "r-1", "user": "ada\\nforged", "tenant": 7}
            assert record_of(everything, user="given") == {"request_id": "r-1", "user": "given", "tenant": 7}
    assert record_of(everything) == {}


def test_all_names_of_a_store():
    x = xctx.xlocal()
    some = xctx.logging.Filter(x, kept, user=(kept, "name"))
    with xctx.work(), x(a=1):
        assert record_of(some) == {"a": 1, "user": "-"}
        kept.name, kept.b = "ada", 2
        assert record_of(some) == {"a": 1, "b": 2, "user": "ada"}
        added = xctx.logging.processor(x, kept)(None, "info", {"event": "said"})
        assert added == {"event": "said", "a": 1, "b": 2, "name": "ada"}


def test_installed_it_is_in_each_record():
    seen = []
    handler = logging.Handler()
    handler.emit = seen.append
    logger = logging.getLogger("test.works")
    logger.addHandler(handler)
    undo = xctx.logging.install(xctx.work)
    try:
        with xctx.work():
            kept.user = "ada"
            logger.error("inside")
        logger.error("outside")
    finally:
        undo()
        logger.removeHandler(handler)
    assert [getattr(record, "user", None) for record in seen] == ["ada", None]


@pytest.mark.skipif(not installed("structlog"), reason="structlog is not installed here")
def test_structlog_has_all_of_it_from_one_line_of_configuration():
    import structlog

    def keep(logger, method, event):
        events.append(event)
        raise structlog.DropEvent

    async def request(user):
        with xctx.work(), current(request_id=f"r-{user}"):
            kept.user = user
            await asyncio.gather(log.ainfo("in a thread"), asyncio.create_task(log.ainfo("of a task")))
            log.bind(user="given").info("given")
            with xctx.work():
                log.info("in one inside")

    async def main():
        await asyncio.gather(request("ada"), request("bob"))

    events = []
    structlog.configure([xctx.logging.processor(xctx.work), keep])
    try:
        log = structlog.get_logger()
        asyncio.run(main())
        log.info("outside")
    finally:
        structlog.reset_defaults()
    assert events.pop() == {"event": "outside"}
    for user in ("ada", "bob"):
        said = {event["event"]: event for event in events if event["request_id"] == f"r-{user}"}
        expected = {"request_id": f"r-{user}", "user": user}
        assert said["in a thread"] == {"event": "in a thread", **expected}
        assert said["of a task"] == {"event": "of a task", **expected}
        assert said["given"] == {"event": "given", **expected, "user": "given"}
        assert said["in one inside"] == {"event": "in one inside", "request_id": f"r-{user}"}


def test_what_is_no_store():
    with pytest.raises(TypeError, match=r"an xlocal, a local or xctx\.work was wanted, or a keyword argument, not 3"):
        xctx.logging.Filter(3)
