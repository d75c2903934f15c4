"""Recurring jobs: reading crontabs and telling when their items fire. It adds no jobs."""

from kongtask.core.cron.calendar import upcoming
from kongtask.core.cron.crontab import CrontabError, parse_cron_items, parse_crontab
from kongtask.core.cron.item import CronItem, CronItemOptions, ParsedCronItem
from kongtask.core.cron.schedule import (
    CATCH_UP_LIMIT,
    RESTART_GRACE,
    KnownCrontab,
    Tick,
    backfill_ticks,
    matches,
    next_due,
    next_tick,
    resume_point,
    ticks_due,
    ticks_owed,
)

__all__ = [
    "CATCH_UP_LIMIT",
    "RESTART_GRACE",
    "CronItem",
    "CronItemOptions",
    "CrontabError",
    "KnownCrontab",
    "ParsedCronItem",
    "Tick",
    "backfill_ticks",
    "matches",
    "next_due",
    "next_tick",
    "parse_cron_items",
    "parse_crontab",
    "resume_point",
    "ticks_due",
    "ticks_owed",
    "upcoming",
]
