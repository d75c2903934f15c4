"""Recurring jobs: reading crontabs and telling when their items fire. It adds no jobs."""
