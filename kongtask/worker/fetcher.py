"""Fetches jobs for one pool: those it may run, and those it holds without knowing given back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from kongtask.core.fetch_start import FetchStart
from kongtask.postgres.jobs import JobStore
from kongtask.postgres.records import FetchedJobs
from kongtask.worker.options import WorkerPoolOptions


class Fetcher:
    """`held` returns the ids of all jobs that the pool knows to hold."""

    def __init__(
        self, *, store: JobStore, options: WorkerPoolOptions, held: Callable[[], Sequence[int]]
    ) -> None:
        self._store = store
        self._options = options
        self._held = held
        self._start = FetchStart()
        self.is_unsure = False
        """Whether the pool may have locked something without knowing."""
        self.may_have_more = False
        """Whether the last fetch may have left due jobs behind."""

    async def fetch(self, wanted: int, *, of_a_queue: int) -> FetchedJobs:
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
        ranges = self._start.ranges(begun)
        try:
            jobs = await self._store.fetch(wanted, flags, of_a_queue=of_a_queue, ranges=ranges)
        except BaseException:
            self.is_unsure = True  # the jobs may be locked although nobody told us so
            raise
        is_full = len(jobs) == wanted
        self._start.saw(jobs, begun=begun, ended=self._options.clock.monotonic(), is_full=is_full)
        self.may_have_more = is_full or jobs.have_queues
        return jobs

    @property
    def next_look(self) -> float | None:
        """The monotonic moment at which to fetch again, if the last one may have passed jobs."""
        return self._start.next_look

    def hurry(self) -> None:
        """Pass no jobs next time."""
        self._start.hurry()

    async def _forbidden_flags(self) -> list[str]:
        ask = self._options.forbidden_flags_fn
        if ask is None and not self._options.forbidden_flags:
            return []
        found = ask() if ask is not None else None
        more = await found if inspect.isawaitable(found) else found
        return sorted({*self._options.forbidden_flags, *(more or ())})
