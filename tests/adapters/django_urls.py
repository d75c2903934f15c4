"""An asynchronous view that adds a job."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.urls import path

from kongtask.adapters.django import aadd_job


async def order(request: Any) -> HttpResponse:
    job = await aadd_job("charge", {"order": 1})
    return HttpResponse(job.id)


urlpatterns = [path("order", order)]
