"""What the doctor makes of the facts: findings, each with why it matters and what to do next.

Pure: `kongtask.postgres.diagnosis` reads the facts.
"""
