"""Decides how many workers a pool should have.

The signal is jobs waiting plus jobs running. What is unknown is never taken for zero: then the
workers there are stay. Nothing here looks at a clock; `now` is part of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from kongtask.operator.model import PoolSpec, Scaling, ScalingDecision, ScalingMemory

LOWERING_WINDOW = 60
"""Seconds for which fewer workers must be enough before their number falls, so as not to flap."""

WARM_UP = timedelta(seconds=10)
"""A job due so soon counts as work: stopping the last worker for it would only cost a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingInput:
    """What a decision rests on. `ready` and `running` are None when they are unknown.

    current: replicas asked for so far. busy: how many workers hold jobs. capped: there are more
    jobs than `ready` says. active_since: the moment from which idleness counts when none is known.
    """

    scaling: Scaling
    target: int
    suspend: bool = False
    manual: int | None = None
    current: int = 0
    busy: int = 0
    ready: int | None = None
    capped: bool = False
    running: int | None = None
    next_run_at: datetime | None = None
    now: datetime
    memory: ScalingMemory = field(default_factory=ScalingMemory)

    @property
    def jobs(self) -> int | None:
        """Jobs waiting and running, or None when unknown."""
        if self.ready is None or self.running is None:
            return None
        return self.ready + self.running

    @property
    def raw(self) -> int:
        """How many workers the jobs ask for, bounds aside."""
        return -(-(self.jobs or 0) // self.target)

    @property
    def wanted(self) -> int:
        """How many workers there should be, were it not for windows of time."""
        bounded = clamp(self.scaling, max(self.raw, 1 if self._job_is_near else 0))
        return max(bounded, min(self.busy, self.current, self.scaling.max_replicas))

    @property
    def _job_is_near(self) -> bool:
        near = self.next_run_at is not None and self.next_run_at <= self.now + WARM_UP
        return near and self.current > 0

    @property
    def lower_at(self) -> datetime:
        """When fewer workers have been enough for long enough."""
        window = min(LOWERING_WINDOW, self.scaling.cooldown_seconds)
        return (self.memory.last_needed or self.now) + timedelta(seconds=window)

    @property
    def may_lower(self) -> bool:
        """Whether the number may fall now; what is above the bound falls at once."""
        return self.current > self.scaling.max_replicas or self.now >= self.lower_at

    @property
    def formula(self) -> str:
        """The decision's arithmetic in words."""
        more = "+" if self.capped else ""
        sum_of_jobs = f"({self.ready}{more} ready + {self.running} running)"
        return f"{self.raw} = ceil({sum_of_jobs} / {self.target})"


def scaling_input(spec: PoolSpec, now: datetime, memory: ScalingMemory) -> ScalingInput:
    """Return the part of the input that the pool's spec gives."""
    return ScalingInput(
        scaling=spec.scaling,
        target=spec.target_jobs,
        suspend=spec.suspend,
        manual=spec.replicas if spec.scaling.mode == "Manual" else None,
        now=now,
        memory=memory,
    )


def clamp(scaling: Scaling, replicas: int) -> int:
    """Return the number within the pool's bounds."""
    return max(scaling.min_replicas, min(replicas, scaling.max_replicas))


def decide(given: ScalingInput) -> ScalingDecision:
    """Return how many workers there should be and why; the first rule that speaks decides."""
    memory = _remember(given)
    for rule in RULES:
        decision = rule(replace(given, memory=memory))
        if decision is not None:
            return replace(decision, memory=_recorded(decision, memory, given))
    raise AssertionError("the last rule always decides")


def _remember(given: ScalingInput) -> ScalingMemory:
    memory = given.memory
    if given.jobs is None:
        return memory
    active = given.jobs > 0 or memory.last_active is None
    needed = given.wanted >= given.current or memory.last_needed is None
    return replace(
        memory,
        last_active=given.now if active else memory.last_active,
        last_needed=given.now if needed else memory.last_needed,
    )


def _recorded(
    decision: ScalingDecision, memory: ScalingMemory, given: ScalingInput
) -> ScalingMemory:
    scaled = decision.replicas != given.current
    return replace(
        memory,
        reason=decision.message,
        last_scaled=given.now if scaled else memory.last_scaled,
    )


def _suspended(given: ScalingInput) -> ScalingDecision | None:
    if not given.suspend:
        return None
    return ScalingDecision(
        replicas=0, reason="Suspended", message="0 because suspend is true", active=False
    )


def _manual(given: ScalingInput) -> ScalingDecision | None:
    if given.manual is None:
        return None
    return ScalingDecision(
        replicas=given.manual,
        reason="Manual",
        message=f"{given.manual} because scaling.mode is Manual and replicas says so",
        active=False,
    )


def _unknown(given: ScalingInput) -> ScalingDecision | None:
    if given.jobs is not None:
        return None
    return ScalingDecision(
        replicas=given.current,
        reason="SignalUnknown",
        message=f"{given.current} held: the queue cannot be counted",
        active=False,
    )


def _enough(given: ScalingInput) -> ScalingDecision | None:
    if given.wanted < given.current:
        return None
    return ScalingDecision(
        replicas=given.wanted,
        reason="Steady" if given.wanted == given.current else "Raised",
        message=_explained(given, given.wanted),
    )


def _lowering_too_soon(given: ScalingInput) -> ScalingDecision | None:
    if given.wanted == 0 or given.may_lower:
        return None
    return ScalingDecision(
        replicas=given.current,
        reason="LoweringSoon",
        message=f"{given.current}, to {given.wanted} at {_time(given.lower_at)} "
        f"unless jobs arrive: {given.formula}",
    )


def _cooling_down(given: ScalingInput) -> ScalingDecision | None:
    since = given.memory.last_active or given.now
    zero_at = since + timedelta(seconds=given.scaling.cooldown_seconds)
    if given.wanted > 0 or given.now >= zero_at:
        return None
    replicas = 1 if given.may_lower else given.current
    return ScalingDecision(
        replicas=replicas,
        reason="CoolingDown",
        message=f"{replicas}, to zero at {_time(zero_at)} unless a job arrives",
    )


def _lowered(given: ScalingInput) -> ScalingDecision:
    return ScalingDecision(
        replicas=given.wanted, reason="Lowered", message=_explained(given, given.wanted)
    )


def _explained(given: ScalingInput, replicas: int) -> str:
    if replicas == given.raw:
        return given.formula
    if replicas == given.scaling.min_replicas and given.raw < replicas:
        return f"{replicas} = scaling.minReplicas, jobs ask for {given.formula}"
    if replicas == given.scaling.max_replicas and given.raw > replicas:
        return f"{replicas} = scaling.maxReplicas, jobs ask for {given.formula}"
    if given.busy >= replicas:
        return f"{replicas} because so many workers are busy, jobs ask for {given.formula}"
    return f"{replicas} because a job is due within {WARM_UP.seconds} s, now {given.formula}"


def _time(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S UTC")


RULES: tuple[Callable[[ScalingInput], ScalingDecision | None], ...] = (
    _suspended, _manual, _unknown, _enough, _lowering_too_soon, _cooling_down, _lowered,
)  # fmt: skip
