"""Each test meets every application; a second fixture lets each statement be kept by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from callers import APPLICATIONS, Application, Caller


@pytest.fixture(params=APPLICATIONS.values(), ids=APPLICATIONS.keys())
def application(request: pytest.FixtureRequest) -> Application:
    chosen: Application = request.param
    return chosen


@pytest.fixture
async def caller(application: Application, database_url: str) -> AsyncIterator[Caller]:
    async with application(database_url) as caller:
        yield caller


@pytest.fixture
async def autocommitting(application: Application, database_url: str) -> AsyncIterator[Caller]:
    async with application(database_url, autocommit=True) as caller:
        yield caller
