"""What Alembic runs: the migrations, inside the transaction that it is given."""

from alembic import context

from interlock_registry.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
    render_as_batch=True,
)
context.run_migrations()
