"""Regions of interest as items of their own.

SQLite can change a CHECK only by copying the table or by changing its text; the latter leaves all rows where
they are, and is the way its documentation gives (Making Other Kinds Of Table Schema Changes).
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OLD = "kind IN ('image', 'report')"
NEW = "kind IN ('image', 'report', 'region')"


def upgrade():
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_item_kind"), "item", type_="check")
        op.create_check_constraint(op.f("ck_item_kind"), "item", NEW)
        return
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.execute(
        sa.text(
            "UPDATE sqlite_schema SET sql = replace(sql, :old, :new) "
            "WHERE type = 'table' AND name = 'item' AND instr(sql, :old) > 0"
        ),
        {"old": OLD, "new": NEW},
    )
    assert changed.rowcount == 1, "the table of items has another check than its first revision gave it"
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
