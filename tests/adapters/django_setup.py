"""Django without a project: settings for this run, and a database that changes with the test."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.db import connections

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["testserver"], DATABASES={}, ROOT_URLCONF="django_urls", SECRET_KEY="-",
        USE_TZ=False, TIME_ZONE="Asia/Kolkata",
    )  # fmt: skip
    django.setup()


def connect(url: str, **more: Any) -> None:
    """Make the database the one that the calling thread's default connection is for."""
    disconnect()
    parts = urlsplit(url)
    default = {
        "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "HOST": parts.hostname,
        "PORT": parts.port, "USER": parts.username, "PASSWORD": parts.password, **more,
    }  # fmt: skip
    lite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    connections.settings = connections.configure_settings({"default": default, "lite": lite})


def disconnect() -> None:
    """Close the calling thread's connections and forget them."""
    for alias in connections.settings:
        connections[alias].close()
        del connections[alias]
