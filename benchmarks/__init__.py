"""KongTask beside other job queues and beside bare asyncpg, on one machine, in one run.

`python -m benchmarks` runs it; README.md says how it is done and why that is fair.
"""
