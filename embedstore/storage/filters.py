"""`--where`: a SQL-like expression over documented columns, parsed and bound, never pasted into SQL.

SQL's three-valued logic: a condition on an unknown value is neither true nor false, and only what is true
passes. Text compares by code point, LIKE ignores the case of ASCII letters (`%`, `_`, escape `\\`). A number
given for a text column is compared as it is written, a date as YYYY-MM-DD. `attr.NAME` compares numbers with
numbers and text with text; a number given for a text value is compared as it is written, a text that is a
number with a number value as that number, true with 1 and 'true', anything else is unknown. `path` is true
when any path of the item makes it true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, VisitError
from sqlalchemy import ColumnElement

from embedstore.errors import FilterError, did_you_mean
from embedstore.storage.filter_columns import ATTRIBUTE_PREFIX, CODES, COLUMNS_BY_NAME
from embedstore.storage.filter_nodes import (
    And,
    Compare,
    Like,
    Literal,
    Member,
    Node,
    Not,
    Null,
    Or,
    columns_of,
    matches,
    text_of,
)

_LONGEST = 20_000
_DEEPEST = 60
_MOST_CONDITIONS = 400
_OPERATORS = {"==": "=", "<>": "!="}


@dataclass(frozen=True, slots=True)
class Where:
    """A parsed filter. text: its canonical form."""

    node: Node
    text: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns it reads."""
        return tuple(dict.fromkeys(columns_of(self.node)))

    def clause(self) -> ColumnElement[bool]:
        """The filter as a SQLAlchemy expression over `tables.Item`."""
        from embedstore.storage.filter_sql import clause_of

        return clause_of(self.node)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row passes, decided in Python. row: values by column; `paths` for path, `extra`."""
        return matches(self.node, row) is True


def parse_where(text: str) -> Where:
    """Parse a filter. Raises FilterError: one line with the place, or the nearest column for a wrong name."""
    if len(text) > _LONGEST:
        raise FilterError(
            f"the filter has {len(text):,} characters; the longest that is read has {_LONGEST:,}"
        )
    if not text.strip():
        raise FilterError("the filter is empty; write for example: modality = 'CR' and age >= 60")
    _refuse_deep(text)
    try:
        tree = _parser().parse(text)
        node: Node = _Build().transform(tree)
    except UnexpectedInput as error:
        raise FilterError(_explained(text, error)) from None
    except VisitError as error:
        if isinstance(error.orig_exc, FilterError):
            raise error.orig_exc from None
        raise
    return Where(node, text_of(node))


def _refuse_deep(text: str) -> None:
    plain = re.sub(r"'([^']|'')*'", "", text)
    depth = deepest = 0
    for character in plain:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    nots = len(re.findall(r"\bnot\b", plain, re.IGNORECASE))
    conditions = len(re.findall(r"\b(?:and|or)\b", plain, re.IGNORECASE)) + 1
    if deepest > _DEEPEST or nots > _MOST_CONDITIONS or conditions > _MOST_CONDITIONS:
        raise FilterError(
            f"the filter is too complicated (at most {_MOST_CONDITIONS} conditions, {_DEEPEST} levels of "
            "brackets); use in (...) for long lists"
        )


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("filters.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=False)


def _explained(text: str, error: UnexpectedInput) -> str:
    example = "write for example: modality = 'CR' and age >= 60"
    if isinstance(error, UnexpectedEOF) or getattr(getattr(error, "token", None), "type", "") == "$END":
        return f"the filter ends too early; {example}"
    at = error.pos_in_stream or 0
    near = " ".join(text[at : at + 20].split())
    if isinstance(error, UnexpectedCharacters) and near.startswith("'"):
        return f"the filter has an unclosed quote at position {at + 1}"
    if near.startswith('"'):
        return f"the filter is not understood at position {at + 1}; text stands in single quotes: 'CR'"
    return f"the filter is not understood at position {at + 1} (near '{near}'); {example}"


class _Build(Transformer[Token, Node]):
    """From lark's tree to nodes, checking columns and the kinds of values on the way."""

    def column(self, found: list[Token]) -> str:
        name = str(found[0])
        if name.startswith(ATTRIBUTE_PREFIX):
            return ATTRIBUTE_PREFIX + name.removeprefix(ATTRIBUTE_PREFIX).strip('"')
        if name not in COLUMNS_BY_NAME:
            hint = did_you_mean(name, COLUMNS_BY_NAME)
            raise FilterError(
                f"no column is called '{name}'; {hint}columns of your own tables are attr.{name}; "
                f"columns: {', '.join(COLUMNS_BY_NAME)}"
            )
        return name

    def text(self, found: list[Token]) -> Literal:
        return Literal(_unquoted(found[0]))

    def number(self, found: list[Token]) -> Literal:
        written = str(found[0])
        number = float(written)
        if number in (float("inf"), float("-inf")):
            raise FilterError(f"the number {written} is too large")
        exact = int(written) if re.fullmatch(r"[-+]?\d{1,18}", written) else number
        return Literal(exact, written.lstrip("+"))

    def true(self, _: list[Token]) -> Literal:
        return Literal(True, "true")

    def false(self, _: list[Token]) -> Literal:
        return Literal(False, "false")

    def compare(self, found: list[Any]) -> Node:
        column, operator, value = found
        written = _OPERATORS.get(str(operator), str(operator))
        if _kind(column) == "attribute" and isinstance(value.value, bool) and written in ("=", "!="):
            return Member(column, _flags(value.value is (written == "=")))
        return Compare(column, written, _fitting(column, value, ordered=written not in ("=", "!=")))

    def member(self, found: list[Any]) -> Node:
        column, *values = found
        return Member(column, tuple(_fitting(column, value, ordered=False) for value in values))

    def no_member(self, found: list[Any]) -> Node:
        return Not(self.member(found))

    def like(self, found: list[Any]) -> Node:
        column, pattern = found[0], _unquoted(found[1])
        if _kind(column) not in ("text", "date", "attribute"):
            raise FilterError(f"like compares text, and '{column}' is a number; use = < > or between")
        if len(pattern) - len(pattern.rstrip("\\")) & 1:
            raise FilterError(
                "a pattern of like may not end in a single backslash; write \\\\ for a backslash"
            )
        return Like(column, pattern)

    def not_like(self, found: list[Any]) -> Node:
        return Not(self.like(found))

    def between(self, found: list[Any]) -> Node:
        column, low, high = found
        first, last = (_fitting(column, value, ordered=True) for value in (low, high))
        return And((Compare(column, ">=", first), Compare(column, "<=", last)))

    def not_between(self, found: list[Any]) -> Node:
        return Not(self.between(found))

    def null(self, found: list[Any]) -> Node:
        return Null(found[0])

    def not_null(self, found: list[Any]) -> Node:
        return Not(Null(found[0]))

    def negate(self, found: list[Any]) -> Node:
        return Not(found[0])

    def conjunction(self, found: list[Any]) -> Node:
        return And(tuple(found))

    def disjunction(self, found: list[Any]) -> Node:
        return Or(tuple(found))

    def __default__(self, data: Any, children: list[Any], meta: Any) -> Any:
        return Tree(data, children, meta)


def _flags(truth: bool) -> tuple[Literal, ...]:
    """How tables write true or false."""
    words = (str(truth), str(truth).lower(), str(truth).upper())
    return (Literal(int(truth), str(int(truth))), *(Literal(word) for word in words))


def _date(column: str, value: Literal) -> Literal:
    """A whole date, so that before and after mean what they say; DICOM's DA form too (PS3.5 section 6.2)."""
    written = value.value if isinstance(value.value, str) else value.written
    try:
        return Literal(date.fromisoformat(written).isoformat())
    except ValueError:
        raise FilterError(
            f"'{column}' is a date: write '2024-05-31' in place of '{written}', or {column} like '2024-05%'"
        ) from None


def _unquoted(token: Token) -> str:
    text = str(token)[1:-1].replace("''", "'")
    if "\0" in text:
        raise FilterError("the filter contains a NUL character")
    return text


def _kind(column: str) -> str:
    return "attribute" if column.startswith(ATTRIBUTE_PREFIX) else COLUMNS_BY_NAME[column].kind


def _fitting(column: str, value: Literal, ordered: bool) -> Literal:
    """The literal as the column compares it. Raises FilterError where no comparison makes sense."""
    kind, given = _kind(column), value.value
    if kind == "date":
        return _date(column, value)
    if kind == "attribute":
        return Literal(int(given), str(int(given))) if isinstance(given, bool) else value
    if kind == "flag":
        if ordered or not (isinstance(given, bool) or given in (0, 1)):
            raise FilterError(f"'{column}' is true or false; write {column} = true")
        return Literal(bool(given), "true" if given else "false")
    if kind == "number":
        if isinstance(given, str | bool):
            raise FilterError(f"'{column}' is a number; write it without quotes: {column} = 60")
        return value
    if isinstance(given, bool) or (ordered and not isinstance(given, str)):
        raise FilterError(f"'{column}' is text; put the value in single quotes: '{value.written}'")
    codes = CODES.get(column)
    if codes is not None and not ordered and given not in codes:  # it would answer with nothing
        known = ", ".join(f"'{code}'" for code in codes)
        raise FilterError(f"'{column}' is one of {known}; no item has '{value.value}'")
    return Literal(given if isinstance(given, str) else value.written)
