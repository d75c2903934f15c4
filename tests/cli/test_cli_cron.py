"""`kongtask cron` explains crontabs, and pauses, resumes and runs what the database knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cli_process import kongtask
from postgres_server import run

CRONTAB = """\
# business hours in Berlin
*/15 9-17 * * mon-fri  sync    ?tz=Europe/Berlin
30 2 * * *             report  ?id=nightly&tz=Europe/Berlin&fill=1d {to: "all"}
@hourly                tidy
0 0 31 2 *             leap
"""


@pytest.fixture
def folder(folder: Path) -> Path:
    (folder / "crontab").write_text(CRONTAB)
    return folder


def known(url: str, *statements: str) -> list[Any]:
    """Run statements on the table of known crontabs, and return what the last one found."""

    async def work() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return [tuple(row) for row in await connection.fetch(statements[-1])]
        finally:
            await connection.close()

    return run(work())


def register(url: str, *identifiers: str) -> None:
    names = ", ".join(f"('{name}', '2026-01-02 03:04Z'::timestamptz)" for name in identifiers)
    known(url, f"insert into graphile_worker._private_known_crontabs values {names}", "select 1")


def test_each_line_is_put_in_words(folder: Path) -> None:
    ran = kongtask(folder, "cron", "check", "crontab")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "sync: every 15 minutes of the hours 9 to 17, on Monday to Friday (Europe/Berlin)",
        "nightly: task report, at 02:30, every day (Europe/Berlin), missed firings made up for "
        "within 1 day",
        "tidy: at minute 0 of every hour (UTC)",
        "leap: at 00:00, on day 31 of the month, in February (UTC): never, no month has such a day",
    ]


def test_each_line_is_written_out_for_programs(folder: Path) -> None:
    _, nightly, _, leap = json.loads(kongtask(folder, "cron", "check", "crontab", "-o", "json").out)
    assert (nightly["identifier"], nightly["task"]) == ("nightly", "report")
    assert (nightly["minutes"], nightly["hours"]) == ([30], [2])
    assert (nightly["timezone"], nightly["backfill_period_seconds"]) == ("Europe/Berlin", 86400)
    assert (nightly["payload"], nightly["never"], leap["never"]) == ({"to": "all"}, False, True)


def test_a_mistake_is_shown_with_its_place(folder: Path) -> None:
    (folder / "crontab").write_text("@daily fine\n0 4 * * mun  report\n")
    for command in (["check", "crontab"], ["next", "crontab"], ["run", "crontab", "fine"]):
        ran = kongtask(folder, "cron", *command, DATABASE_URL="postgres://nowhere.invalid/x")
        assert (ran.code, ran.out) == (2, "")
        first, *excerpt = ran.err.splitlines()
        assert first.startswith(
            "kongtask: crontab: crontab line 2, column 9: day of week 'mun' is not understood"
        )
        assert excerpt == ["0 4 * * mun  report", "        ^"]


@pytest.mark.parametrize(
    "content, expected",
    [(None, "cannot be read (No such file"), (b"\xff", "is not UTF-8"), (b"# no\n", "has no rec")],
)
def test_a_file_that_says_nothing_is_named(
    folder: Path, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (folder / "other").write_bytes(content)
    ran = kongtask(folder, "cron", "check", "other")
    assert ran.code == (0 if content == b"# no\n" else 2)
    assert expected in ran.out + ran.err
    assert "other" in ran.out + ran.err


def test_what_comes_next_is_listed_in_both_times(folder: Path) -> None:
    ran = kongtask(folder, "cron", "next", "crontab", "-n", "4", "--from", "2026-03-28T23:30")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "LOCAL                                     UTC                   IDENTIFIER",
        "Sun 2026-03-29 00:00 +0000 UTC            2026-03-29 00:00 UTC  tidy",
        "Sun 2026-03-29 03:00 +0200 Europe/Berlin  2026-03-29 01:00 UTC  nightly",
        "Sun 2026-03-29 01:00 +0000 UTC            2026-03-29 01:00 UTC  tidy",
        "Sun 2026-03-29 02:00 +0000 UTC            2026-03-29 02:00 UTC  tidy",
    ]


def test_what_comes_next_can_be_read_by_programs(folder: Path) -> None:
    ran = kongtask(
        folder, "cron", "next", "crontab", "-n", "1", "-o", "json",
        "--from", "2026-07-01T02:29:59.999+02:00",
    )  # fmt: skip
    assert json.loads(ran.out) == [
        {
            "identifier": "nightly", "task": "report", "timezone": "Europe/Berlin",
            "local": "2026-07-01T02:30:00+02:00", "utc": "2026-07-01T00:30:00+00:00",
        }
    ]  # fmt: skip
    assert json.loads(kongtask(folder, "cron", "next", "crontab", "-n", "1", "-o", "json").out)


def test_a_crontab_that_never_fires_says_so(folder: Path) -> None:
    (folder / "crontab").write_text("0 0 30 2 * leap")
    ran = kongtask(folder, "cron", "next", "crontab", "--from", "2026-01-01")
    assert ran.out == "nothing in crontab fires after 2026-01-01 00:00 UTC\n"


def test_a_moment_that_is_none_is_refused(folder: Path) -> None:
    ran = kongtask(folder, "cron", "next", "crontab", "--from", "tomorrow")
    assert ran.code == 2
    assert "'tomorrow' is no moment: write 2026-03-29T00:00 or" in ran.err


def test_what_the_database_knows_is_listed(folder: Path, database_url: str) -> None:
    ran = kongtask(folder, "cron", "list", DATABASE_URL=database_url)
    assert ran.out == "no scheduler has had a recurring job here\n"
    register(database_url, "sync", "tidy", "gone")
    known(
        database_url,
        "update graphile_worker._private_known_crontabs set last_execution = '2026-01-02 04:00Z' "
        "where identifier = 'gone'",
        "select 1",
    )
    ran = kongtask(folder, "cron", "list", DATABASE_URL=database_url)
    assert ran.out.splitlines() == [
        "IDENTIFIER  LAST",
        "gone        2026-01-02 04:00 UTC",
        "sync        never fired",
        "tidy        never fired",
    ]
    kongtask(folder, "cron", "pause", "sync", DATABASE_URL=database_url)
    lines = kongtask(folder, "cron", "list", "crontab", DATABASE_URL=database_url).out.splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines[1:]] == [
        "gone", "sync", "tidy", "nightly", "leap",
    ]  # fmt: skip
    assert lines[1].endswith("2026-01-02 04:00 UTC  not in the crontab")
    assert lines[2].split() == ["sync", "-", "paused"]
    assert lines[4].startswith("nightly     not known yet         20")
    assert lines[5].endswith("not known yet         never again")


def test_what_the_database_knows_can_be_read_by_programs(folder: Path, database_url: str) -> None:
    register(database_url, "tidy")
    ran = kongtask(folder, "cron", "list", "crontab", "-o", "json", DATABASE_URL=database_url)
    tidy, sync, *_ = json.loads(ran.out)
    wait = datetime.fromisoformat(tidy.pop("next")) - datetime.now(UTC)
    assert timedelta(0) < wait + timedelta(minutes=1) < timedelta(hours=1, minutes=1)
    assert tidy == {
        "identifier": "tidy", "known_since": "2026-01-02T03:04:00+00:00", "last_execution": None,
        "paused": False, "in_crontab": True,
    }  # fmt: skip
    assert (sync["identifier"], sync["known_since"]) == ("sync", None)


def test_a_line_is_paused_and_resumed(folder: Path, database_url: str) -> None:
    register(database_url, "tidy")
    query = "select last_execution = 'infinity' from graphile_worker._private_known_crontabs"
    said = []
    for command in ("pause", "pause", "resume", "resume"):
        ran = kongtask(folder, "cron", command, "tidy", DATABASE_URL=database_url)
        said.append((ran.code, ran.out, known(database_url, query)))
    assert said == [
        (0, "tidy is paused; `kongtask cron resume tidy` lets it go on\n", [(True,)]),
        (0, "tidy was paused already\n", [(True,)]),
        (0, "tidy goes on; what it missed is not made up for\n", [(False,)]),
        (0, "tidy was not paused\n", [(False,)]),
    ]
    ran = kongtask(folder, "cron", "pause", "tidy", "-o", "json", DATABASE_URL=database_url)
    assert json.loads(ran.out) == {"identifier": "tidy", "changed": True}


def test_an_identifier_that_is_not_there_is_refused_with_close_ones(
    folder: Path, database_url: str
) -> None:
    register(database_url, "nightly")
    place = "schema graphile_worker"
    for command in (["pause", "nightli"], ["resume", "nightli"], ["run", "crontab", "nightli"]):
        ran = kongtask(folder, "cron", *command, DATABASE_URL=database_url)
        place = "crontab" if command[0] == "run" else "schema graphile_worker"
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            f"kongtask: no recurring job 'nightli' in {place}: did you mean nightly?\n"
        )


def test_a_line_is_run_now(folder: Path, database_url: str) -> None:
    ran = kongtask(folder, "cron", "run", "crontab", "nightly", DATABASE_URL=database_url)
    assert (ran.code, ran.out, ran.err) == (0, "added job 1 (report), to run now\n", "")
    ran = kongtask(
        folder, "cron", "run", "crontab", "nightly", "-o", "json", DATABASE_URL=database_url
    )
    job = json.loads(ran.out)
    assert (job["id"], job["task_identifier"], job["payload"]["to"]) == (2, "report", "all")
    assert known(database_url, "select * from graphile_worker._private_known_crontabs") == []


def test_without_a_database_or_its_tables_a_sentence_says_so(
    folder: Path, empty_database_url: str
) -> None:
    ran = kongtask(folder, "cron", "list")
    assert (ran.code, "no database: give -c" in ran.err) == (2, True)
    ran = kongtask(folder, "cron", "pause", "x", DATABASE_URL=empty_database_url)
    assert (ran.code, "run `kongtask migrate" in ran.err) == (2, True)
