"""A filter as a SQLAlchemy expression; every value is bound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    and_,
    case,
    exists,
    func,
    literal,
    not_,
    null,
    or_,
    select,
)
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


class _JsonMember(FunctionElement[Any]):
    """A member of a JSON object: its name, and the path by which SQLite, which compares the escaped names it
    was given, finds one that is not ASCII."""

    inherit_cache = True

    @classmethod
    def of(cls, name: str) -> Self:
        """Of an item's attributes."""
        return cls(Item.extra, literal(name), literal(f"$.{json.dumps(name)}"))


class _JsonType(_JsonMember):
    """Its type: SQLite's json_type, PostgreSQL's jsonb_typeof."""

    type = String()
    inherit_cache = True


class _JsonText(_JsonMember):
    """The value of a text."""

    type = String()
    inherit_cache = True


class _JsonNumber(_JsonMember):
    """The value of a number, whole ones exactly."""

    type = Double()
    inherit_cache = True


@compiles(_JsonType, "sqlite")
def _type_in_sqlite(element: _JsonType, compiler: Any, **kw: Any) -> str:
    column, _, path = element.clauses
    return f"json_type({compiler.process(column, **kw)}, {compiler.process(path, **kw)})"


@compiles(_JsonText, "sqlite")
@compiles(_JsonNumber, "sqlite")
def _value_in_sqlite(element: _JsonMember, compiler: Any, **kw: Any) -> str:
    column, _, path = element.clauses
    return f"json_extract({compiler.process(column, **kw)}, {compiler.process(path, **kw)})"


@compiles(_JsonType, "postgresql")
def _type_in_postgresql(element: _JsonType, compiler: Any, **kw: Any) -> str:
    column, name, _ = element.clauses
    return f"jsonb_typeof({compiler.process(column, **kw)} -> {compiler.process(name, **kw)})"


@compiles(_JsonText, "postgresql")
def _text_in_postgresql(element: _JsonText, compiler: Any, **kw: Any) -> str:
    column, name, _ = element.clauses
    return f"({compiler.process(column, **kw)} ->> {compiler.process(name, **kw)})"


@compiles(_JsonNumber, "postgresql")
def _number_in_postgresql(element: _JsonNumber, compiler: Any, **kw: Any) -> str:
    column, name, _ = element.clauses
    return f"CAST({compiler.process(column, **kw)} ->> {compiler.process(name, **kw)} AS NUMERIC)"


def has_attribute(name: str) -> ColumnElement[bool]:
    """Whether an item has an attribute of this name."""
    return _JsonType.of(name).is_not(None)


def _attribute(node: Compare | Member | Like | Null, name: str) -> ColumnElement[bool]:
    """Text members compare as text, number members as numbers, whichever way the literal is written."""
    kind = _JsonType.of(name)
    if isinstance(node, Null):
        return kind.is_(None)
    text = case((kind.in_(_TEXT_TYPES), _JsonText.of(name)))
    number = case((kind.in_(_NUMBER_TYPES), _JsonNumber.of(name)))
    if isinstance(node, Like):
        return _condition(node, text)
    if isinstance(node, Member):
        return case(
            (kind.in_(_TEXT_TYPES), text.in_([_as_text(value) for value in node.values])),
            (kind.in_(_NUMBER_TYPES), _among(number, node.values)),
        )
    sign, given = OPERATORS[node.operator], _as_number(node.value)
    if given is None:
        return sign(text, _as_text(node.value))  # type: ignore[no-any-return]
    return case(
        (kind.in_(_TEXT_TYPES), sign(text, _as_text(node.value))),
        (kind.in_(_NUMBER_TYPES), sign(number, given)),
    )


def _among(number: Any, values: Sequence[Literal]) -> ColumnElement[bool]:
    """Whether it is one of the values that are numbers; else unknown where others are not."""
    given = [one for one in map(_as_number, values) if one is not None]
    found = number.in_(given)
    return found if len(given) == len(values) else or_(found, null())


def _as_text(value: Literal) -> str:
    return value.value if isinstance(value.value, str) else value.written


def _as_number(value: Literal) -> ColumnElement[Any] | None:
    """Bound as what it is: a whole number of more than 15 digits is another one as a float."""
    given = number_in(value.value) if isinstance(value.value, str) else value.value
    if given is None:
        return None
    return literal(given, BigInteger() if isinstance(given, int) else Double())
