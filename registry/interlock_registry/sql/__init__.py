"""The registry in SQL: the only place that knows sqlalchemy. Rows never leave it."""
