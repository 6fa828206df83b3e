"""The tables of one ingest, read under one mapping of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from embedstore.errors import BadInputFile, UsageError
from embedstore.readers.table_rows import columns_of
from embedstore.readers.tables import Table, read_table
from embedstore.settings import Limits


def read_tables(
    metadata: Sequence[Path],
    reports: Sequence[Path],
    mapping: Mapping[str, str],
    limits: Limits,
    regions: Sequence[Path] = (),
) -> tuple[Table, ...]:
    """Each file once; those of `reports` must bring some. A mapped column may be in any one of the tables.

    regions: tables that are read elsewhere, whose columns may be mapped as well.
    Raises BadInputFile, also for a mapped column that no table has, and UsageError.
    """
    paths = tuple(dict.fromkeys((*metadata, *reports)))
    if mapping and not (paths or regions):
        raise UsageError("--map reads columns of a table; give it with --metadata, --reports or --regions")
    columns = {path: columns_of(path, limits) for path in (*paths, *regions)}
    for column in mapping:
        if not any(column in names for names in columns.values()):
            told = "; ".join(f"{path} has: {', '.join(names)}" for path, names in columns.items())
            raise BadInputFile(f"no column '{column}' to map: {told}")
    return tuple(
        read_table(
            path,
            {column: field for column, field in mapping.items() if column in columns[path]},
            limits,
            "reports" if path in reports else "metadata",
        )
        for path in paths
    )
