"""What the replicas of a fleet tell each other: how they stand, what they have loaded, what is being promoted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Its rows are of the last seconds only: every replica writes its own anew.
    op.drop_table("replicas")
    op.create_table(
        "replicas",
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("boot", sa.String(length=36), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("inference_address", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("replica", name=op.f("pk_replicas")),
    )
    op.create_table(
        "residents",
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("replica", "model", "version", name=op.f("pk_residents")),
    )
    op.create_index(op.f("ix_residents_model_version"), "residents", ["model", "version"], unique=False)
    op.create_table(
        "rollouts",
        sa.Column("rollout", sa.String(length=36), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("coordinator", sa.String(length=128), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("overtaken_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["versions.model", "versions.version"],
            name=op.f("fk_rollouts_model_version_versions"),
        ),
        sa.PrimaryKeyConstraint("rollout", name=op.f("pk_rollouts")),
    )
    op.create_index(op.f("ix_rollouts_model_alias"), "rollouts", ["model", "alias"], unique=False)
    op.create_table(
        "rollout_votes",
        sa.Column("rollout", sa.String(length=36), nullable=False),
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("boot", sa.String(length=36), nullable=False),
        sa.Column("prepared", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "replica", name=op.f("pk_rollout_votes")),
    )
