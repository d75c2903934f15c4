"""Fetches jobs for one pool: those it may run, and those it holds without knowing given back.

While a transaction is held open somewhere, the rows of jobs that are done cannot be cleaned away,
and each fetch would have to walk over all of them. Once that takes long, fetches begin where the
last one found something, and only now and then at the front.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import datetime

from kongtask.core.job import Job
from kongtask.postgres.jobs import JobStore
from kongtask.worker.options import WorkerPoolOptions

SLOW = 0.03
"""Seconds of a fetch from the front after which the next ones begin further on."""

REST = 20
"""How many times as long as a slow fetch took the next one of its kind is put off."""

LONGEST_REST = 5.0
"""Seconds at most until jobs are looked for at the front again."""


class Fetcher:
    """`held` returns the ids of all jobs that the pool knows to hold."""

    def __init__(
        self, *, store: JobStore, options: WorkerPoolOptions, held: Callable[[], Sequence[int]]
    ) -> None:
        self._store = store
        self._options = options
        self._held = held
        self._start: tuple[int, datetime] | None = None
        self._front_due = 0.0
        self.is_unsure = False
        """Whether the pool may have locked something without knowing."""
        self.may_have_more = False
        """Whether the last fetch may have left due jobs behind."""

    async def fetch(self, wanted: int, *, of_a_queue: int) -> list[Job]:
        """Lock up to so many due jobs, of each named queue at most `of_a_queue`."""
        if self.is_unsure:
            self.is_unsure = False
            try:
                await self._store.give_back_unheld(self._held())
            except BaseException:
                self.is_unsure = True
                raise
        flags = await self._forbidden_flags()
        begun = self._options.clock.monotonic()
        is_from_front = self._start is None or begun >= self._front_due
        try:
            jobs = await self._store.fetch(
                wanted, flags, of_a_queue=of_a_queue, start=None if is_from_front else self._start
            )
        except BaseException:
            self.is_unsure = True  # the jobs may be locked although nobody told us so
            raise
        if is_from_front:
            self._judge(self._options.clock.monotonic() - begun)
        if jobs:
            self._start = (jobs[0].priority, jobs[0].run_at)
        self.may_have_more = len(jobs) == wanted or any(job.queue_name is not None for job in jobs)
        return jobs

    def _judge(self, seconds: float) -> None:
        """Put the next fetch from the front off, if this one took long."""
        rest = 0.0 if seconds < SLOW else min(LONGEST_REST, seconds * REST)
        self._front_due = self._options.clock.monotonic() + rest

    async def _forbidden_flags(self) -> list[str]:
        ask = self._options.forbidden_flags_fn
        if ask is None and not self._options.forbidden_flags:
            return []
        found = ask() if ask is not None else None
        more = await found if inspect.isawaitable(found) else found
        return sorted({*self._options.forbidden_flags, *(more or ())})
