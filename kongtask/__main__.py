"""Lets `python -m kongtask` do what `kongtask` does."""

from kongtask.cli import main

if __name__ == "__main__":
    main()
