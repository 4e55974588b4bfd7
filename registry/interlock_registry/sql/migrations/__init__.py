"""Schema migrations, run by Alembic from the installed package."""
