"""The one door to Postgres: connections, statements, and the stores built of them."""
