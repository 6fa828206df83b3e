"""Derived rows: the vectors of volumes, loops and slides, made of those of their parts."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade():
    op.create_table(
        "pooled",
        sa.Column("vector_id", ID, autoincrement=False, nullable=False),
        sa.Column("space_id", ID, nullable=False),
        sa.Column("whole", TEXT, nullable=False),
        sa.Column("n_parts", ID, nullable=False),
        sa.Column("parts_sha256", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_pooled_space_id")),
        sa.ForeignKeyConstraint(["vector_id"], ["vector.id"], name=op.f("fk_pooled_vector_id")),
        sa.PrimaryKeyConstraint("vector_id", name=op.f("pk_pooled")),
        sa.UniqueConstraint("space_id", "whole", name=op.f("uq_pooled_space_id_whole")),
    )
