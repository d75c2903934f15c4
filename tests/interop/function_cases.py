"""Calls whose effects must be the same in KongTask's schema and in Graphile Worker's.

A case is a list of statements; `{s}` stands for the schema. Each statement is a transaction.
"""

from __future__ import annotations

from itertools import product

Case = tuple[str, list[str]]

OLD = (
    "select * from {s}.add_job('a', '{{\"old\": 1}}', queue_name => 'q', "
    "run_at => '2040-01-01Z', max_attempts => 5, job_key => 'k', priority => 3, "
    "flags => array['f'])"
)
AGE = "update {s}._private_jobs set created_at = '2001-01-01Z', updated_at = '2001-01-01Z'"
SET = "update {s}._private_jobs set "
LOCK = "locked_by = 'pool-1', locked_at = now()"

STATES = {
    "none": [],
    "waiting": [OLD, AGE],
    "due": [OLD, AGE, SET + "run_at = '2002-01-01Z'"],
    "failed": [OLD, AGE, SET + "attempts = 2, last_error = 'no'"],
    "permafailed": [OLD, AGE, SET + "attempts = 5, last_error = 'no'"],
    "running": [OLD, AGE, SET + "attempts = 1, " + LOCK],
    "crashed": [OLD, AGE, SET + "attempts = 1, " + LOCK + " - interval '5 hours'"],
    "running its last attempt": [OLD, AGE, SET + "attempts = 5, " + LOCK],
    "crashed in its last": [OLD, AGE, SET + "attempts = 5, " + LOCK + " - interval '5 hours'"],
}
"""What may have the key before the call."""

MODES = ["'replace'", "null", "'preserve_run_at'", "'unsafe_dedupe'", "'bogus'", "''"]
MOMENTS = {"": "", " at a time": ", run_at => '2050-01-01Z'"}


def job_key_cases() -> list[Case]:
    """Every row and column of the decision table of job keys."""
    return [
        (
            f"add_job {mode}{words}, {state}",
            [
                *before,
                "select * from {s}.add_job('b', '{{\"new\": 2}}', job_key => 'k', "
                f"job_key_mode => {mode}{moment})",
            ],
        )
        for (state, before), mode, (words, moment) in product(
            STATES.items(), MODES, MOMENTS.items()
        )
    ]


def specs(*rows: str, preserve: str = "false") -> str:
    """A call of add_jobs with rows of job_spec."""
    casts = ", ".join(f"row({row})::{{s}}.job_spec" for row in rows)
    return f"select * from {{s}}.add_jobs(array[{casts}]::{{s}}.job_spec[], {preserve})"


def spec(
    identifier: str = "'b'",
    payload: str = "null",
    queue: str = "null",
    run_at: str = "null",
    max_attempts: str = "null",
    key: str = "null",
    priority: str = "null",
    flags: str = "null",
) -> str:
    """One row of job_spec."""
    return ", ".join((identifier, payload, queue, run_at, max_attempts, key, priority, flags))


def add_jobs_cases() -> list[Case]:
    """Adding in bulk, on top of every state."""
    new, other = spec(key="'k'", payload="'{{\"new\": 2}}'"), spec("'c'", queue="'q2'")
    return [
        (
            f"add_jobs preserving {preserve}, {state}",
            [*before, specs(new, other, preserve=preserve)],
        )
        for (state, before), preserve in product(STATES.items(), ["true", "false", "null"])
    ]


def remove_job_cases() -> list[Case]:
    """Removing what is in every state."""
    call = "select * from {s}.remove_job('k')"
    return [
        *((f"remove_job, {state}", [*before, call, call]) for state, before in STATES.items()),
        ("remove_job of null", [*STATES["waiting"], "select * from {s}.remove_job(null)"]),
    ]


HANDS = {
    "complete_jobs": "select * from {s}.complete_jobs(array[1, 99])",
    "complete_jobs of none": "select * from {s}.complete_jobs('{{}}')",
    "complete_jobs of null": "select * from {s}.complete_jobs(null)",
    "permanently_fail_jobs": "select * from {s}.permanently_fail_jobs(array[1])",
    "permanently_fail_jobs ''": "select * from {s}.permanently_fail_jobs(array[1], '')",
    "permanently_fail_jobs why": "select * from {s}.permanently_fail_jobs(array[1], 'why')",
    "reschedule_jobs": "select * from {s}.reschedule_jobs(array[1])",
    "reschedule_jobs run_at": "select * from {s}.reschedule_jobs(array[1], '2060-01-01Z')",
    "reschedule_jobs all": "select * from {s}.reschedule_jobs(array[1], '2060-01-01Z', -7, 99, 25)",
    "reschedule_jobs zeros": "select * from {s}.reschedule_jobs("
    "array[1], priority => 0, attempts => 0)",
    "reschedule_jobs never": "select * from {s}.reschedule_jobs(array[1], max_attempts => 0)",
    "reschedule_jobs far": "select * from {s}.reschedule_jobs(array[1], priority => 40000)",
    "force_unlock_workers": "select {s}.force_unlock_workers(array['pool-0', 'pool-1'])",
    "force_unlock_workers others": "select {s}.force_unlock_workers(array['pool-2'])",
}


def hand_cases() -> list[Case]:
    """What people do by hand, to jobs in every state and to a locked queue."""
    queue = "update {s}._private_job_queues set locked_by = 'pool-1', locked_at = now()"
    return [
        (f"{name}, {state}", [*before, queue, call])
        for (name, call), (state, before) in product(HANDS.items(), STATES.items())
        if state != "none"
    ]


WAITING = "select * from {s}.add_job('a', %s, job_key => 'k', run_at => '2040-01-01Z')"
AGAIN = "select * from {s}.add_job('a', %s, job_key => 'k', job_key_mode => %s)"
PAYLOADS = {
    "lists": ('\'[1, {{"b": 1, "a": 2, "a": 3}}]\'', "'[2]'"),
    "empty lists": ("'[]'", "'[]'"),
    "a list and an object": ("'[1]'", "'{{\"a\": 1}}'"),
    "an object and a list": ("'{{\"a\": 1}}'", "'[1]'"),
    "a list and nothing": ("'[1]'", "null"),
    "a list and JSON null": ("'[1]'", "'null'"),
    "odd spacing": ("'1'", '\'{{"b" :1,  "a":2, "a": 3}}\''),
}


def payload_cases() -> list[Case]:
    """Payloads that meet."""
    return [
        (f"{name} by {mode}", [WAITING % old, AGAIN % (new, mode)])
        for (name, (old, new)), mode in product(PAYLOADS.items(), MODES[:4])
    ]


LONG = "repeat('x', %s)"
SINGLE = {
    "nothing but a task": "select * from {s}.add_job('a')",
    "everything": OLD,
    "the oldest way to call it": "select * from {s}.add_job('a', '{{}}', 'q', now(), 3, 'k', 1, "
    "array['f'], 'replace')",
    "a null task": "select * from {s}.add_job(null)",
    "a null task, once": "select * from {s}.add_job(null, job_key => 'k', "
    "job_key_mode => 'unsafe_dedupe')",
    "an empty task": "select * from {s}.add_job('')",
    "a task of 128": f"select * from {{s}}.add_job({LONG % 128})",
    "a task of 129": f"select * from {{s}}.add_job({LONG % 129})",
    "an empty queue": "select * from {s}.add_job('a', queue_name => '')",
    "a queue of 129": f"select * from {{s}}.add_job('a', queue_name => {LONG % 129})",
    "an empty key": "select * from {s}.add_job('a', job_key => '')",
    "a key of 512": f"select * from {{s}}.add_job('a', job_key => {LONG % 512})",
    "a key of 513": f"select * from {{s}}.add_job('a', job_key => {LONG % 513})",
    "no attempts": "select * from {s}.add_job('a', max_attempts => 0)",
    "negative attempts": "select * from {s}.add_job('a', max_attempts => -1)",
    "most attempts": "select * from {s}.add_job('a', max_attempts => 32767)",
    "too many attempts": "select * from {s}.add_job('a', max_attempts => 32768)",
    "too many attempts, once": "select * from {s}.add_job('a', max_attempts => 32768, "
    "job_key => 'k', job_key_mode => 'unsafe_dedupe')",
    "a low priority": "select * from {s}.add_job('a', priority => -32768)",
    "a priority too high": "select * from {s}.add_job('a', priority => 32768)",
    "JSON null": "select * from {s}.add_job('a', 'null')",
    "no flags": "select * from {s}.add_job('a', flags => '{{}}')",
    "equal flags": "select * from {s}.add_job('a', flags => array['f', 'e', 'f'])",
    "a null flag": "select * from {s}.add_job('a', flags => array['f', null])",
    "once, with everything": "select * from {s}.add_job('a', '[1]', 'q', '2040-01-01Z', 3, 'k', "
    "-2, array['f', 'g'], 'unsafe_dedupe')",
    "a strange mode without a key": "select * from {s}.add_job('a', job_key_mode => 'bogus')",
    "once, without a key": "select * from {s}.add_job('a', job_key_mode => 'unsafe_dedupe')",
    "no specs": "select * from {s}.add_jobs('{{}}')",
    "null for specs": "select * from {s}.add_jobs(null)",
    "a null spec": "select * from {s}.add_jobs(array[null]::{s}.job_spec[])",
    "one spec with everything": specs(
        spec("'a'", "'[1]'", "'q'", "'2040-01-01Z'", "3", "'k'", "-2", "array['f']")
    ),
    "many specs": specs(*(spec(f"'{name}'", f"'{at}'") for at, name in enumerate("babac"))),
    "many keys": specs(*(spec(key=f"'{key}'") for key in "xyz")),
    "a key twice": specs(spec(key="'k'"), spec(key="'k'")),
    "specs with an empty queue": specs(spec(queue="''")),
    "specs with an empty key": specs(spec(key="''")),
    "specs with no attempts": specs(spec(max_attempts="0")),
    "specs with a null flag": specs(spec(flags="array[null]::text[]")),
    "specs with a null task": specs(spec("null")),
}


def single_cases() -> list[Case]:
    """One call each, in an empty schema, and once more."""
    return [(name, [call, call]) for name, call in SINGLE.items()]


def sequence_cases() -> list[Case]:
    """Adding often uses up no identities of tasks and queues."""
    plain = "select * from {s}.add_job('a', queue_name => 'q')"
    once = (
        "select * from {s}.add_job('a', queue_name => 'q', job_key => 'k', "
        "job_key_mode => 'unsafe_dedupe')"
    )
    return [("many adds", [*([plain] * 5), *([once] * 5), specs(*[spec("'a'")] * 5)])]


CASES = [
    *job_key_cases(),
    *add_jobs_cases(),
    *remove_job_cases(),
    *hand_cases(),
    *payload_cases(),
    *single_cases(),
    *sequence_cases(),
]
