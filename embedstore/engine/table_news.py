"""What came of a table: rows that joined nothing, cells that made no sense, so that they can be mended."""

from __future__ import annotations

from embedstore.engine.requests import TableNews
from embedstore.readers.table_rows import TableRow
from embedstore.readers.tables import Table

_EXAMPLES = 3


def table_news(table: Table, private: bool) -> TableNews:
    """What came of it. private: say lines only, nothing of what stands in them, nor the table's name."""
    unmatched = table.unmatched()
    repeats = frozenset(table.duplicates)
    return TableNews(
        path="" if private else str(table.path),
        rows=len(table.rows),
        unmatched=len(unmatched),
        examples=tuple(
            f"line {row.line}" if private else _told(row, row.line in repeats)
            for row in unmatched[:_EXAMPLES]
        ),
        unread=tuple(table.unread()),
    )


def _told(row: TableRow, repeats: bool) -> str:
    keys = (row.path, row.sop_uid, row.study_uid, row.patient_id)
    key = next((key for key in keys if key), "names no path, study or patient")
    return f"line {row.line}: {key}{' (as in an earlier line)' if repeats else ''}"
