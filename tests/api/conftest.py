"""The typed project is read by mypy only: half of it is wrong on purpose."""

collect_ignore = ["typed_project"]
