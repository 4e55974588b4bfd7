"""The schema. Whatever can be said as a constraint is one: not even direct SQL points an alias at nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """An aware moment in UTC, to the microsecond; SQLite has no time zones and keeps it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Bring a moment to UTC."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that a stored moment is in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_NAME: Final = String(128)
_ALIAS: Final = String(63)
_DIGEST: Final = String(64)
_SEQUENCE: Final = BigInteger().with_variant(Integer, "sqlite")
"""On SQLite only INTEGER is the row's own key; anything else costs a second index."""

models = Table(
    "models",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("folded_name", _NAME, nullable=False, unique=True),
    Column("next_version", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    CheckConstraint("next_version > 0", name="next_version"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("digest", _DIGEST, primary_key=True),
    Column("manifest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
)

# What the manifests say, turned round: which artifacts a blob belongs to. A deleted version's artifact stays here.
artifact_blobs = Table(
    "artifact_blobs",
    metadata,
    Column("artifact", _DIGEST, primary_key=True),
    Column("digest", _DIGEST, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    ForeignKeyConstraint(["artifact"], ["artifacts.digest"]),
    CheckConstraint("size_bytes >= 0", name="size_bytes"),
    Index(None, "digest"),
)

# Blobs that a running registration counts on before its version says so; garbage collection leaves them alone.
held_blobs = Table(
    "held_blobs",
    metadata,
    Column("holder", String(64), primary_key=True),
    Column("digest", _DIGEST, primary_key=True),
    Column("created_at", Moment, nullable=False),
    Index(None, "digest"),
)

damaged_blobs = Table(
    "damaged_blobs",
    metadata,
    Column("digest", _DIGEST, primary_key=True),
    Column("why", Text, nullable=False),
    Column("found_at", Moment, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("digest", _DIGEST, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("signature", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("tolerances", Text, nullable=False),
    Column("proven", Boolean, nullable=False),
    Column("joinable", Boolean, nullable=False),
    Column("note", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Text, nullable=False),
    # When it was retired or deleted, whichever came last; NULL while it is VALIDATED.
    Column("state_changed_at", Moment, nullable=True),
    ForeignKeyConstraint(["model"], ["models.name"]),
    ForeignKeyConstraint(["digest"], ["artifacts.digest"]),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("state IN ('VALIDATED', 'RETIRED', 'DELETED')", name="state"),
    Index(None, "digest"),
)

golden_samples = Table(
    "golden_samples",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", _DIGEST, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("samples", BigInteger, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    CheckConstraint("samples > 0", name="samples"),
    Index(None, "digest"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("alias", _ALIAS, primary_key=True),
    # NULL once removed: the row stays for its generation, so that none is given out twice.
    Column("version", BigInteger, nullable=True),
    Column("generation", BigInteger, nullable=False),
    Column("updated_at", Moment, nullable=False),
    ForeignKeyConstraint(["model"], ["models.name"]),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    CheckConstraint("generation > 0", name="generation"),
)

alias_stack = Table(
    "alias_stack",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("alias", _ALIAS, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    ForeignKeyConstraint(["model", "alias"], ["aliases.model", "aliases.alias"]),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    CheckConstraint("position >= 0", name="position"),
    Index(None, "model", "version"),
)

pins = Table(
    "pins",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("created_at", Moment, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
)

routes = Table(
    "routes",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("alias", _ALIAS, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    ForeignKeyConstraint(["model", "alias"], ["aliases.model", "aliases.alias"]),
    CheckConstraint("generation > 0", name="generation"),
)

route_targets = Table(
    "route_targets",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("alias", _ALIAS, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("weight", Integer, nullable=False),
    Column("shadow", Boolean, nullable=False),
    ForeignKeyConstraint(["model", "alias"], ["routes.model", "routes.alias"]),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    CheckConstraint("weight >= 0", name="weight"),
    Index(None, "model", "version"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("time", Moment, nullable=False),
    # As asked for, even where no such model exists: refusals are events too.
    Column("model", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("hash", _DIGEST, nullable=False),
    # What the body says, for those who look for it; verifying the chain compares the two.
    Column("actor", Text, nullable=False, server_default=text("''")),
    Column("action", Text, nullable=False, server_default=text("''")),
    Column("alias", Text, nullable=False, server_default=text("''")),
    Column("from_version", BigInteger, nullable=False, server_default="0"),
    Column("to_version", BigInteger, nullable=False, server_default="0"),
    Column("outcome", Text, nullable=False, server_default=text("''")),
    CheckConstraint("seq > 0", name="seq"),
    Index(None, "model", "seq"),
    Index(None, "time"),
    Index(None, "action", "seq"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("actor", String(256), primary_key=True),
    Column("action", String(32), primary_key=True),
    Column("key", String(256), primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("answer", Text, nullable=False),
    # The answer is a refusal, to be raised again.
    Column("refused", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index(None, "created_at"),
)

# What the replicas of a fleet tell each other. None of it outlives them.

replicas = Table(
    "replicas",
    metadata,
    Column("replica", String(128), primary_key=True),
    # Tells its processes apart: what one has voted or loaded is gone with it.
    Column("boot", String(36), nullable=False),
    Column("address", Text, nullable=False),
    Column("inference_address", Text, nullable=False),
    # What its workers serve.
    Column("epoch", BigInteger, nullable=False),
    Column("ready", Boolean, nullable=False),
    Column("seen_at", Moment, nullable=False),
)

residents = Table(
    "residents",
    metadata,
    Column("replica", String(128), primary_key=True),
    Column("model", _NAME, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Index(None, "model", "version"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("rollout", String(36), primary_key=True),
    Column("action", String(32), nullable=False),
    Column("model", _NAME, nullable=False),
    Column("alias", _ALIAS, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("coordinator", String(128), nullable=False),
    # Of the attempt, for its event, should the coordinator never write it.
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("lease_until", Moment, nullable=False),
    # "" while nothing has overtaken it.
    Column("overtaken_by", Text, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    Index(None, "model", "alias"),
)

rollout_votes = Table(
    "rollout_votes",
    metadata,
    Column("rollout", String(36), primary_key=True),
    Column("replica", String(128), primary_key=True),
    Column("boot", String(36), nullable=False),
    Column("prepared", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("proof", String(16), nullable=False),
    Column("name", _NAME, nullable=False),
    # Of a token the sha256, never the token.
    Column("key", String(255), nullable=False),
    Column("grants", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    CheckConstraint("proof IN ('token', 'certificate')", name="proof"),
    Index(None, "proof", "key"),
)

approvals = Table(
    "approvals",
    metadata,
    # The event by which it was given.
    Column("seq", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("model", _NAME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("alias", _ALIAS, nullable=False),
    Column("digest", _DIGEST, nullable=False),
    Column("approver", String(256), nullable=False),
    Column("reason", Text, nullable=False),
    Column("given_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("withdrawn_at", Moment),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    Index(None, "model", "version", "alias"),
)

signed_statements = Table(
    "signed_statements",
    metadata,
    Column("model", _NAME, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    # A version may be signed by several keys: what one of them signs again takes the place of what it signed before.
    Column("key", String(32), primary_key=True),
    Column("statement", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("signed_at", Moment, nullable=False),
    Column("actor", Text, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
)

# One row. Every write begins by locking it, which puts all writers in one order on every database.
epoch = Table(
    "epoch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", String(36), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    # The head of the event chain: shows when events are cut off at the end, which the chain itself cannot.
    Column("event_seq", BigInteger, nullable=False),
    Column("event_hash", _DIGEST, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
