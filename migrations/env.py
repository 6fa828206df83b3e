"""Runs migrations on the connection that `embedstore.storage.migrate` hands over.

`alembic -c migrations/alembic.ini -x file=PATH/catalog.db revision --autogenerate -m "..."` writes the
next revision from the difference between a database file and the models.
"""

from pathlib import Path

from alembic import context

from embedstore.storage import tables_learned  # noqa: F401 - its tables belong to the metadata
from embedstore.storage.database import open_engine
from embedstore.storage.tables import Base


def run(connection):
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    file = Path(context.get_x_argument(as_dictionary=True)["file"])
    with open_engine(file) as database, database.write() as own:
        run(own)
