"""A filter as a SQLAlchemy expression; every value is bound."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, not_, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import String

from embedstore.storage.filter_columns import ATTRIBUTE_PREFIX
from embedstore.storage.filter_nodes import (
    OPERATORS,
    And,
    Compare,
    Like,
    Literal,
    Member,
    Node,
    Not,
    Null,
    Or,
    number_in,
)
from embedstore.storage.tables import Item, ItemSource, Source

_TEXT_TYPES = ("text", "string")
_NUMBER_TYPES = ("integer", "real", "number")


def clause_of(node: Node) -> ColumnElement[bool]:
    """The expression of a tree over `tables.Item`."""
    match node:
        case Not(inner):
            return not_(clause_of(inner))
        case And(nodes):
            return and_(*map(clause_of, nodes))
        case Or(nodes):
            return or_(*map(clause_of, nodes))
    if node.column == "path":
        met = select(ItemSource.id).join(Source, Source.id == ItemSource.source_id)
        met = met.where(ItemSource.item_id == Item.id, _condition(node, Source.path))
        return exists(met.correlate(Item))
    if node.column.startswith(ATTRIBUTE_PREFIX):
        return _attribute(node, node.column.removeprefix(ATTRIBUTE_PREFIX))
    return _condition(node, getattr(Item, node.column))


def _condition(node: Compare | Member | Like | Null, column: Any) -> ColumnElement[bool]:
    found: ColumnElement[bool]
    match node:
        case Null():
            found = column.is_(None)
        case Like(_, pattern):
            found = func.lower(column).like(_ascii_lower(pattern), escape="\\")
        case Member(_, values):
            found = column.in_([literal.value for literal in values])
        case Compare(_, sign, literal):
            found = OPERATORS[sign](column, literal.value)
    return found


def _ascii_lower(text: str) -> str:
    """Lower case as both databases' lower() does it: ASCII letters only."""
    return "".join(c.lower() if c.isascii() else c for c in text)


class _JsonType(FunctionElement[str]):
    """Type of a JSON member: SQLite's json_type, PostgreSQL's jsonb_typeof."""

    type = String()
    inherit_cache = True


@compiles(_JsonType, "sqlite")
def _json_type_sqlite(element: _JsonType, compiler: Any, **kw: Any) -> str:
    column, name = element.clauses
    return f"json_type({compiler.process(column, **kw)}, '$.\"' || {compiler.process(name, **kw)} || '\"')"


@compiles(_JsonType, "postgresql")
def _json_type_postgresql(element: _JsonType, compiler: Any, **kw: Any) -> str:
    column, name = element.clauses
    return f"jsonb_typeof({compiler.process(column, **kw)} -> {compiler.process(name, **kw)})"


def has_attribute(name: str) -> ColumnElement[bool]:
    """Whether an item has an attribute of this name."""
    return _JsonType(Item.extra, name).is_not(None)


def _attribute(node: Compare | Member | Like | Null, name: str) -> ColumnElement[bool]:
    """Text members compare as text, number members as numbers, whichever way the literal is written."""
    kind = _JsonType(Item.extra, name)
    if isinstance(node, Null):
        return kind.is_(None)
    text = case((kind.in_(_TEXT_TYPES), Item.extra[name].as_string()))
    number = case((kind.in_(_NUMBER_TYPES), Item.extra[name].as_float()))
    if isinstance(node, Like):
        return _condition(node, text)
    literals = node.values if isinstance(node, Member) else (node.value,)
    sign = OPERATORS["=" if isinstance(node, Member) else node.operator]
    either = [_either(sign, text, number, kind, literal) for literal in literals]
    return or_(*either) if len(either) > 1 else either[0]


def _either(sign: Any, text: Any, number: Any, kind: Any, literal: Literal) -> ColumnElement[bool]:
    given = literal.value
    as_text = given if isinstance(given, str) else literal.written
    as_number = number_in(given) if isinstance(given, str) else float(given)
    if as_number is None:
        return sign(text, as_text)  # type: ignore[no-any-return]
    return case(
        (kind.in_(_TEXT_TYPES), sign(text, as_text)), (kind.in_(_NUMBER_TYPES), sign(number, as_number))
    )
