"""Celery's worker, started with and without xctx, and what it is given to do."""

import contextlib
import dataclasses
import importlib.util
import json
import subprocess
import sys

from benchmarks.programs import running

AT_ONCE = 200


@dataclasses.dataclass(frozen=True)
class Workers:
    """A worker with a pool of some kind: it has what `running.Program` has."""

    pool: str
    needs: tuple

    module = "celery_tasks"
    pages = {"task": ()}  # noqa: RUF012
    together = None
    told = "tasks"
    fewer = {}  # noqa: RUF012

    @property
    def name(self):
        return f"Celery, {self.pool}"

    def missing(self):
        return next((name for name in self.needs if importlib.util.find_spec(name) is None), None)

    @contextlib.contextmanager
    def serving(self, contender, place, variables, *, valgrind=False, threads=4):
        worker = Worker(self.pool, contender, place, variables, valgrind)
        try:
            yield worker
        finally:
            worker.end()


# Gives tasks from an interpreter of its own, which waits for their results. Says how much time lies between the first
# of these and the last, by the worker's clock: how long the giver has waited is no part of it.
GIVE = """
import json, sys
import celery_tasks, kombu.exceptions

def given(task, *arguments):
    pending = [task.delay(*each) for each in arguments]
    celery_tasks.hand_over()
    return [result(each) for each in pending]

def result(pending):
    while True:
        try:
            return pending.get(timeout=600, interval=0.05)
        except (ValueError, kombu.exceptions.DecodeError):
            pass  # the worker is writing it

for line in sys.stdin:
    name, count = line.split()
    if name == "process":
        [told] = given(celery_tasks.process, ())
    else:
        found = given(celery_tasks.work, *[(number,) for number in range(int(count))])
        assert [each["number"] for each in found] == list(range(int(count))), found
        assert all(each["seen"] == 50 for each in found), found
        moments = [each["at"] for each in found]
        told = max(moments) - min(moments)
    print(json.dumps(told), flush=True)
"""


class Worker:
    def __init__(self, pool, contender, place, variables, valgrind):
        options = ["--pool", pool, "--concurrency", "4", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        command = ["-m", "celery", "-A", "celery_tasks", "worker", *options, "--loglevel", "WARNING"]
        self.started, self.log = running.started(command, contender, place, variables, valgrind)
        self.giver = subprocess.Popen(  # ended in end()
            [sys.executable, "-c", GIVE],
            env=variables,
            cwd=place,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            told = self.ask("process", 0)
            running.check(contender, told)
        except BaseException:
            self.end()
            raise
        self.process = told["process"]

    def end(self):
        self.giver.stdin.close()
        self.giver.stdout.close()
        self.giver.kill()
        self.giver.wait()
        running.end(self.started, self.log)

    def ask(self, name, count):
        self.giver.stdin.write(f"{name} {count}\n")
        self.giver.stdin.flush()
        line = self.giver.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"tasks were not done: {self.log.read()[-2000:]}")
        return json.loads(line)

    def serve(self, page, count):
        self.ask("work", count)

    def load(self, page, seconds):
        """The seconds that a task takes, from the end of the first of many to the end of the last."""
        taken = []
        while sum(taken) < seconds:
            taken.append(self.ask("work", AT_ONCE))
        return sum(taken) / (len(taken) * (AT_ONCE - 1))


PROGRAMS = [Workers("threads", ("celery",)), Workers("gevent", ("celery", "gevent"))]
