"""What the jobs of RQ and the actors of Dramatiq do, in worker processes of their own."""

import json
import os

import dramatiq
from dramatiq.brokers.stub import StubBroker
from wire_names import current

import xctx
import xctx.dramatiq

kept = xctx.local(key=xctx.keys.work)


def seen(name=""):
    """Notes what the job sees, and leaves something behind."""
    found = {
        "name": name, "bound": dict(vars(current)), "kept": dict(vars(kept)), "work": xctx.work.current() is not None,
        "process": os.getpid(),
    }  # fmt: skip
    kept.name = name
    current(attempt=99).__enter__()
    return found


async def seen_by_coroutine(name=""):
    return seen(name)


def fails_at_first(path):
    with open(path, "a+") as file:
        file.write(json.dumps(vars(current)) + "\n")
        file.seek(0)
        if len(file.readlines()) == 1:
            raise LookupError("as it should")


# --- Dramatiq ---------------------------------------------------------------------------------------------------------

if "XCTX_REDIS" in os.environ:
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=os.environ["XCTX_REDIS"])
else:
    broker = StubBroker()
broker.add_middleware(dramatiq.middleware.AsyncIO())
xctx.dramatiq.install(broker)
dramatiq.set_broker(broker)
told = []  # what actors saw, in this process


def tell(found, path):
    told.append(found)
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(found) + "\n")


@dramatiq.actor(max_retries=2, min_backoff=1, max_backoff=2)
def look(name, path=None, fails=0):
    found = seen(name)
    tell(found, path)
    if fails > sum(each["name"] == name for each in told) - 1:
        raise LookupError("as it should")


@dramatiq.actor
async def look_as_coroutine(name, path=None):
    tell(seen(name), path)


@dramatiq.actor
def first(name):
    tell(seen(name), None)
    return name + " then"


@dramatiq.actor
def skipped(name):
    raise AssertionError(name)


class Skips(dramatiq.Middleware):
    """Skips messages of an actor when they are about to be processed."""

    def before_process_message(self, broker, message):
        if message.actor_name == "skipped":
            raise dramatiq.middleware.SkipMessage


broker.add_middleware(Skips())
