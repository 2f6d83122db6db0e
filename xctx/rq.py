"""RQ: each job is a unit of work, and runs with the carried names that were bound where it was enqueued.

RQ takes the class of its jobs as a setting, in the program that enqueues and in the workers::

    queue = rq.Queue(connection=redis, job_class=xctx.rq.Job)
    $ rq worker --job-class xctx.rq.Job

This module imports rq.
"""

from typing import Any, ClassVar

import rq.job

from xctx._carry.snapshot import AppliedBlock
from xctx._stores.works import work
from xctx._stores.xlocal import xlocal
from xctx._wire.report import Report
from xctx.wire import extract, inject

__all__ = ["Job"]


class Job(rq.job.Job):
    """A job of RQ whose metadata has a ``baggage`` header, with what was bound where the job was made.

    The function of the job sees those names, and is a unit of work (:class:`xctx.work`): the next job of a worker that
    does not fork for each, such as ``SimpleWorker``, does not see what it left bound. Retries, and what `repeat` and
    the scheduler start later, have what the first one had. Callbacks of the job (``on_success`` and the like) run after
    that unit of work. A value that cannot be written is logged as an error, and the job goes without it.

    A subclass can say more:

    Attributes:
        xlocals: those that take part. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Thread-safety: as ``rq.job.Job``.
    """

    xlocals: ClassVar[tuple[xlocal, ...]] = ()
    report: ClassVar[Report | None] = None

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> "Job":
        """As ``rq.job.Job.create``, with what is bound here now.

        Raises:
            TypeError: one of `xlocals` is no xlocal, or carries nothing.
        """
        job: Job = super().create(*args, **kwargs)
        # Not into the dict that the program passed, which may serve for several jobs.
        job.meta = inject({**job.meta}, *cls.xlocals, report=cls.report)
        return job

    def perform(self) -> Any:
        """As ``rq.job.Job.perform``, in a unit of work and with what the job brought along."""
        _ = self.func  # imports its module, which may be what declares the names: RQ's workers import it no earlier
        arrived = extract({"baggage": self.meta.get("baggage") or ""}, *self.xlocals, report=type(self).report)
        with work(), AppliedBlock(arrived):
            return super().perform()
