"""A page in chapters as Markdown: headings, tables and notes; pictures stay on the page."""

from __future__ import annotations

import re

from embedstore.pages.records import Section, StoryRecord, Table
from embedstore.pages.render import cell

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def markdown(story: StoryRecord) -> str:
    """The story as GitHub-flavoured Markdown; what came from files is escaped."""
    blocks = [f"# {_text(story.title)}", _text(story.subtitle)]
    blocks += [f"> {_text(story.banner)}"] if story.banner else []
    blocks.append("\n".join(f"- {_text(what)}: {_text(number)}" for number, what in story.facts))
    for section in story.sections:
        blocks += _section(section)
    blocks.append("\n".join(f"- **{_text(term)}**: {_text(meaning)}" for term, meaning in story.glossary))
    return "\n\n".join([*blocks, _text(story.made)]) + "\n"


def _section(section: Section) -> list[str]:
    blocks = [f"## {_text(section.title)}", *([_text(section.lead)] if section.lead else [])]
    for table in section.tables:
        blocks += [_text(table.caption)] if table.caption else []
        blocks.append(_table(table))
    blocks += [f"{_text(plot.title)}: on the page; {_text(plot.note)}." for plot in section.plots]
    return [*blocks, *(["\n".join(f"- {_text(note)}" for note in section.notes)] if section.notes else [])]


def _table(table: Table) -> str:
    lines = [table.columns, ("---",) * len(table.columns), *table.rows]
    return "\n".join(
        "| " + " | ".join("---" if place == 1 else _text(one) for one in row) + " |"
        for place, row in enumerate(lines)
    )


def _text(value: object) -> str:
    return _SPECIAL.sub(r"\\\1", cell(value))
