"""Runs jobs: pools of workers, what handlers get to see, and what is told about it."""
