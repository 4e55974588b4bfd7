"""Which artifacts a blob belongs to, which blobs are held or damaged, since when a version is retired or deleted."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_BATCH = 500


def upgrade() -> None:
    op.create_table(
        "artifact_blobs",
        sa.Column("artifact", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_artifact_blobs_size_bytes")),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.digest"], name=op.f("fk_artifact_blobs_artifact_artifacts")),
        sa.PrimaryKeyConstraint("artifact", "digest", name=op.f("pk_artifact_blobs")),
    )
    op.create_index(op.f("ix_artifact_blobs_digest"), "artifact_blobs", ["digest"], unique=False)
    op.create_table(
        "held_blobs",
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("holder", "digest", name=op.f("pk_held_blobs")),
    )
    op.create_index(op.f("ix_held_blobs_digest"), "held_blobs", ["digest"], unique=False)
    op.create_table(
        "damaged_blobs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_damaged_blobs")),
    )
    op.add_column("versions", sa.Column("state_changed_at", sa.DateTime(timezone=True), nullable=True))
    _index_manifests()
    # When it happened was not kept: counted from now on, nothing is collected too early.
    op.execute("UPDATE versions SET state_changed_at = CURRENT_TIMESTAMP WHERE state <> 'VALIDATED'")


def _index_manifests() -> None:
    artifacts = sa.table("artifacts", sa.column("digest"), sa.column("manifest"))
    blobs = sa.table("artifact_blobs", sa.column("artifact"), sa.column("digest"), sa.column("size_bytes"))
    connection = op.get_bind()
    last = ""
    while True:
        query = sa.select(artifacts).where(artifacts.c.digest > last).order_by(artifacts.c.digest).limit(_BATCH)
        found = connection.execute(query).all()
        for row in found:
            manifest = json.loads(row.manifest)
            sizes = {each["digest"]: each["size_bytes"] for each in (manifest["graph"], *manifest["tensors"])}
            sizes[row.digest] = len(row.manifest.encode())
            connection.execute(
                sa.insert(blobs),
                [{"artifact": row.digest, "digest": digest, "size_bytes": size} for digest, size in sizes.items()],
            )
        if len(found) < _BATCH:
            return
        last = found[-1].digest
