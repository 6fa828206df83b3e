"""The first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The types as they were at this revision; later changes to embedstore.storage.types must not reach back.
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade():
    op.create_table(
        "bridge",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("image_space", TEXT, nullable=False),
        sa.Column("text_space", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("anchors_sha256", TEXT, nullable=False),
        sa.Column("arrays", TEXT, nullable=False),
        sa.Column("arrays_sha256", TEXT, nullable=False),
        sa.Column("quality", JSON, nullable=False),
        sa.Column("created", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bridge")),
        sa.UniqueConstraint("name", name=op.f("uq_bridge_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "head",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("space", TEXT, nullable=False),
        sa.Column("target", TEXT, nullable=False),
        sa.Column("classes", JSON, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("arrays", TEXT, nullable=False),
        sa.Column("arrays_sha256", TEXT, nullable=False),
        sa.Column("created", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
        sa.UniqueConstraint("name", name=op.f("uq_head_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "item",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("part", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("reader", TEXT, nullable=False),
        sa.Column("patient", TEXT, nullable=False),
        sa.Column("patient_known", sa.Boolean(), nullable=False),
        sa.Column("patient_code", INTEGER, nullable=False),
        sa.Column("study_code", INTEGER, nullable=False),
        sa.Column("text", TEXT, nullable=True),
        sa.Column("about_path", TEXT, nullable=True),
        sa.Column("patient_id", TEXT, nullable=True),
        sa.Column("patient_issuer", TEXT, nullable=True),
        sa.Column("patient_group", TEXT, nullable=True),
        sa.Column("study_uid", TEXT, nullable=True),
        sa.Column("series_uid", TEXT, nullable=True),
        sa.Column("sop_uid", TEXT, nullable=True),
        sa.Column("sop_class", TEXT, nullable=True),
        sa.Column("transfer_syntax", TEXT, nullable=True),
        sa.Column("instance_number", INTEGER, nullable=True),
        sa.Column("frame", INTEGER, nullable=True),
        sa.Column("modality", TEXT, nullable=True),
        sa.Column("body_part", TEXT, nullable=True),
        sa.Column("laterality", TEXT, nullable=True),
        sa.Column("view", TEXT, nullable=True),
        sa.Column("study_date", TEXT, nullable=True),
        sa.Column("study_description", TEXT, nullable=True),
        sa.Column("series_description", TEXT, nullable=True),
        sa.Column("age", sa.Double(), nullable=True),
        sa.Column("sex", TEXT, nullable=True),
        sa.Column("manufacturer", TEXT, nullable=True),
        sa.Column("model", TEXT, nullable=True),
        sa.Column("institution", TEXT, nullable=True),
        sa.Column("site", TEXT, nullable=True),
        sa.Column("label", TEXT, nullable=True),
        sa.Column("split", TEXT, nullable=True),
        sa.Column("rows", INTEGER, nullable=True),
        sa.Column("columns", INTEGER, nullable=True),
        sa.Column("spacing_row_mm", sa.Double(), nullable=True),
        sa.Column("spacing_col_mm", sa.Double(), nullable=True),
        sa.Column("licence", TEXT, nullable=True),
        sa.Column("extra", JSON, nullable=False),
        sa.CheckConstraint("kind IN ('image', 'report')", name=op.f("ck_item_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
        sa.UniqueConstraint("sha256", "part", name=op.f("uq_item_sha256_part")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_item_label", "item", ["label"], unique=False)
    op.create_index("ix_item_modality", "item", ["modality"], unique=False)
    op.create_index("ix_item_patient", "item", ["patient"], unique=False)
    op.create_index("ix_item_patient_id", "item", ["patient_id"], unique=False)
    op.create_index("ix_item_sop_uid", "item", ["sop_uid"], unique=False)
    op.create_index("ix_item_study_uid", "item", ["study_uid"], unique=False)

    op.create_table(
        "label_set",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("classes", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_set")),
        sa.UniqueConstraint("name", name=op.f("uq_label_set_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "run",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("verb", TEXT, nullable=False),
        sa.Column("arguments", JSON, nullable=False),
        sa.Column("started", TEXT, nullable=False),
        sa.Column("ended", TEXT, nullable=True),
        sa.Column("counts", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "source",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("size", INTEGER, nullable=False),
        sa.Column("mtime_ns", INTEGER, nullable=False),
        sa.Column("sha256", TEXT, nullable=True),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("reader", TEXT, nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("recorded", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("path", name=op.f("uq_source_path")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "space",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("encoder", TEXT, nullable=False),
        sa.Column("kinds", JSON, nullable=False),
        sa.Column("dim", INTEGER, nullable=False),
        sa.Column("metric", TEXT, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("created", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_space")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_space_fingerprint")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "store_meta",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_store_meta")),
    )
    op.create_table(
        "bridge_anchor",
        sa.Column("bridge_id", INTEGER, nullable=False),
        sa.Column("position", INTEGER, nullable=False),
        sa.Column("item_id", INTEGER, nullable=False),
        sa.Column("patient", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["bridge_id"], ["bridge.id"], name=op.f("fk_bridge_anchor_bridge_id")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_bridge_anchor_item_id")),
        sa.PrimaryKeyConstraint("bridge_id", "position", name=op.f("pk_bridge_anchor")),
    )
    op.create_table(
        "change",
        sa.Column("seq", INTEGER, autoincrement=True, nullable=False),
        sa.Column("op", TEXT, nullable=False),
        sa.Column("vector_id", INTEGER, nullable=False),
        sa.Column("space_id", INTEGER, nullable=False),
        sa.CheckConstraint("op IN ('add', 'remove')", name=op.f("ck_change_op")),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_change_space_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_change")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_change_space_id_seq", "change", ["space_id", "seq"], unique=False)

    op.create_table(
        "conflict",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("item_id", INTEGER, nullable=False),
        sa.Column("field", TEXT, nullable=False),
        sa.Column("kept", TEXT, nullable=False),
        sa.Column("other", TEXT, nullable=False),
        sa.Column("source_id", INTEGER, nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_conflict_item_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_conflict_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflict")),
        sa.UniqueConstraint(
            "item_id", "field", "source_id", name=op.f("uq_conflict_item_id_field_source_id")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_conflict_field", "conflict", ["field"], unique=False)
    op.create_index("ix_conflict_source_id", "conflict", ["source_id"], unique=False)

    op.create_table(
        "failure",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("part", TEXT, nullable=False),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("run_id", INTEGER, nullable=True),
        sa.Column("recorded", TEXT, nullable=False),
        sa.CheckConstraint("kind IN ('failure', 'skip')", name=op.f("ck_failure_kind")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_failure_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failure")),
        sa.UniqueConstraint("path", "part", name=op.f("uq_failure_path_part")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "item_source",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("item_id", INTEGER, nullable=False),
        sa.Column("source_id", INTEGER, nullable=False),
        sa.Column("header", JSON, nullable=False),
        sa.Column("overruled", JSON, nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_item_source_item_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_item_source_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item_source")),
        sa.UniqueConstraint("item_id", "source_id", name=op.f("uq_item_source_item_id_source_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_item_source_source_id", "item_source", ["source_id"], unique=False)

    op.create_table(
        "label_model",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("label_set_id", INTEGER, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("params", JSON, nullable=False),
        sa.Column("created", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["label_set_id"], ["label_set.id"], name=op.f("fk_label_model_label_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_model")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_label_model_label_set_id", "label_model", ["label_set_id"], unique=False)

    op.create_table(
        "link",
        sa.Column("image_id", INTEGER, nullable=False),
        sa.Column("report_id", INTEGER, nullable=False),
        sa.Column("via", TEXT, nullable=False),
        sa.Column("rank", INTEGER, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["item.id"], name=op.f("fk_link_image_id")),
        sa.ForeignKeyConstraint(["report_id"], ["item.id"], name=op.f("fk_link_report_id")),
        sa.PrimaryKeyConstraint("image_id", "report_id", name=op.f("pk_link")),
    )
    op.create_index("ix_link_report_id", "link", ["report_id"], unique=False)

    op.create_table(
        "prediction",
        sa.Column("head_id", INTEGER, nullable=False),
        sa.Column("item_id", INTEGER, nullable=False),
        sa.Column("probabilities", JSON, nullable=False),
        sa.Column("created", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["head_id"], ["head.id"], name=op.f("fk_prediction_head_id")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_prediction_item_id")),
        sa.PrimaryKeyConstraint("head_id", "item_id", name=op.f("pk_prediction")),
    )
    op.create_table(
        "segment",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("space_id", INTEGER, nullable=False),
        sa.Column("filename", TEXT, nullable=False),
        sa.Column("dim", INTEGER, nullable=False),
        sa.Column("rows", INTEGER, nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_segment_space_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segment")),
        sa.UniqueConstraint("filename", name=op.f("uq_segment_filename")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_segment_space_id", "segment", ["space_id"], unique=False)

    op.create_table(
        "vote",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("item_id", INTEGER, nullable=False),
        sa.Column("label_set_id", INTEGER, nullable=False),
        sa.Column("value", INTEGER, nullable=False),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("voter", TEXT, nullable=False),
        sa.Column("voter_version", TEXT, nullable=False),
        sa.Column("input_sha256", TEXT, nullable=False),
        sa.Column("created", TEXT, nullable=False),
        sa.Column("run_id", INTEGER, nullable=True),
        sa.Column("superseded_by", INTEGER, nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_vote_item_id")),
        sa.ForeignKeyConstraint(["label_set_id"], ["label_set.id"], name=op.f("fk_vote_label_set_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_vote_run_id")),
        sa.ForeignKeyConstraint(["superseded_by"], ["vote.id"], name=op.f("fk_vote_superseded_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vote")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_vote_item_id", "vote", ["item_id"], unique=False)
    op.create_index(
        "ix_vote_label_set_id_voter_item_id", "vote", ["label_set_id", "voter", "item_id"], unique=False
    )

    op.create_table(
        "block",
        sa.Column("segment_id", INTEGER, nullable=False),
        sa.Column("first_row", INTEGER, nullable=False),
        sa.Column("n_rows", INTEGER, nullable=False),
        sa.Column("crc32", INTEGER, nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segment.id"], name=op.f("fk_block_segment_id")),
        sa.PrimaryKeyConstraint("segment_id", "first_row", name=op.f("pk_block")),
    )
    op.create_table(
        "fused_label",
        sa.Column("model_id", INTEGER, nullable=False),
        sa.Column("item_id", INTEGER, nullable=False),
        sa.Column("probabilities", JSON, nullable=False),
        sa.Column("majority", INTEGER, nullable=False),
        sa.Column("label", INTEGER, nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_fused_label_item_id")),
        sa.ForeignKeyConstraint(["model_id"], ["label_model.id"], name=op.f("fk_fused_label_model_id")),
        sa.PrimaryKeyConstraint("model_id", "item_id", name=op.f("pk_fused_label")),
    )
    op.create_table(
        "vector",
        sa.Column("id", INTEGER, autoincrement=True, nullable=False),
        sa.Column("item_id", INTEGER, nullable=False),
        sa.Column("space_id", INTEGER, nullable=False),
        sa.Column("segment_id", INTEGER, nullable=False),
        sa.Column("row", INTEGER, nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_vector_item_id")),
        sa.ForeignKeyConstraint(["segment_id"], ["segment.id"], name=op.f("fk_vector_segment_id")),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_vector_space_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vector")),
        sa.UniqueConstraint("item_id", "space_id", name=op.f("uq_vector_item_id_space_id")),
        sa.UniqueConstraint("segment_id", "row", name=op.f("uq_vector_segment_id_row")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_vector_space_id_id", "vector", ["space_id", "id"], unique=False)
