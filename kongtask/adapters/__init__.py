"""Adding jobs inside the caller's own transaction, over a driver other than asyncpg.

A module for each library, which only that module imports: `kongtask.adapters.psycopg`,
`kongtask.adapters.sqlalchemy` and `kongtask.adapters.django`. They refuse to open, commit or roll
back a transaction of the caller: the job exists if and only if that transaction commits.
"""
