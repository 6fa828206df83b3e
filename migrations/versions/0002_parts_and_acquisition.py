"""Acquisition parameters, and the link from a slice, frame or tile to its whole."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COLUMNS = (
    ("acquisition_date", TEXT),
    ("slice_thickness_mm", sa.Double()),
    ("kvp", sa.Double()),
    ("field_strength_t", sa.Double()),
    ("sequence", TEXT),
    ("contrast", TEXT),
    ("whole", TEXT),
    ("part_number", INTEGER),
    ("position_mm", sa.Double()),
    ("time_s", sa.Double()),
    ("tile_x", INTEGER),
    ("tile_y", INTEGER),
    ("mpp", sa.Double()),
    ("magnification", sa.Double()),
)


def upgrade():
    for name, kind in COLUMNS:
        op.add_column("item", sa.Column(name, kind, nullable=True))
    op.create_index(op.f("ix_item_whole"), "item", ["whole"])
