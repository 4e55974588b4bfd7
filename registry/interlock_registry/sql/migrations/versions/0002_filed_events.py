"""Events are found by more than their model and time: what their bytes say stands beside them."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BATCH = 1000

_NAMES = {
    "actor": "actor",
    "action": "action",
    "alias": "alias",
    "from_version": "from",
    "to_version": "to",
    "outcome": "outcome",
}
"""Column ← key of the body."""

_events = sa.table(
    "events",
    sa.column("seq", sa.BigInteger()),
    sa.column("body", sa.LargeBinary()),
    sa.column("actor", sa.Text()),
    sa.column("action", sa.Text()),
    sa.column("alias", sa.Text()),
    sa.column("from_version", sa.BigInteger()),
    sa.column("to_version", sa.BigInteger()),
    sa.column("outcome", sa.Text()),
)


def upgrade() -> None:
    for name in ("actor", "action", "alias", "outcome"):
        op.add_column("events", sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''")))
    for name in ("from_version", "to_version"):
        op.add_column("events", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    _file()
    op.create_index(op.f("ix_events_action_seq"), "events", ["action", "seq"], unique=False)


def _file() -> None:
    connection = op.get_bind()
    fill = (
        sa.update(_events)
        .where(_events.c.seq == sa.bindparam("the_seq"))
        .values({name: sa.bindparam(f"its_{name}") for name in _NAMES})
    )
    last = 0
    while True:
        query = sa.select(_events.c.seq, _events.c.body).where(_events.c.seq > last).order_by(_events.c.seq)
        found = connection.execute(query.limit(_BATCH)).all()
        filed = [each for each in (_filing(seq, bytes(body)) for seq, body in found) if each]
        if filed:
            connection.execute(fill, filed)
        if len(found) < _BATCH:
            return
        last = found[-1].seq


def _filing(seq: int, body: bytes) -> dict[str, object] | None:
    # A damaged event stays as it is: verifying the chain tells of it, and no start may fail over it.
    try:
        document = json.loads(body)
        filed = {column: document[name] for column, name in _NAMES.items()}
        return {"the_seq": seq} | {
            f"its_{column}": int(value) if column.endswith("_version") else str(value)
            for column, value in filed.items()
        }
    except (KeyError, TypeError, ValueError):
        return None
