"""A filter as a tree: printed, searched for columns, and evaluated in Python as the oracle of its SQL."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from embedstore.storage.filter_columns import ATTRIBUTE_PREFIX

Truth = bool | None
"""None is SQL's unknown."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value of the filter. written: as the user wrote a number; what a text value is compared with."""

    value: str | int | float | bool
    written: str = ""


@dataclass(frozen=True, slots=True)
class Compare:
    """operator: = != < <= > >=."""

    column: str
    operator: str
    value: Literal


@dataclass(frozen=True, slots=True)
class Member:
    """column in (values)."""

    column: str
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """column like pattern; `%` any text, `_` one character, `\\` takes the next one literally."""

    column: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Null:
    """column is null."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """Negation; unknown stays unknown."""

    node: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them."""

    nodes: tuple[Node, ...]


Node = Compare | Member | Like | Null | Not | And | Or

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def columns_of(node: Node) -> Iterator[str]:
    """Names of the columns in the order they are met."""
    if isinstance(node, Not):
        yield from columns_of(node.node)
    elif isinstance(node, And | Or):
        for part in node.nodes:
            yield from columns_of(part)
    else:
        yield node.column


def text_of(node: Node) -> str:
    """The filter in canonical form: parsed again, it is the same tree's meaning."""
    match node:
        case Compare(column, sign, value):
            return f"{_name(column)} {sign} {_quoted(value)}"
        case Member(column, values):
            return f"{_name(column)} in ({', '.join(map(_quoted, values))})"
        case Like(column, pattern):
            return f"{_name(column)} like {_quoted(Literal(pattern))}"
        case Null(column):
            return f"{_name(column)} is null"
        case Not(Null(column)):
            return f"{_name(column)} is not null"
        case Not(inner):
            return f"not ({text_of(inner)})"
        case And(nodes):
            return " and ".join(_grouped(part) for part in nodes)
        case Or(nodes):
            return " or ".join(_grouped(part) for part in nodes)


def _grouped(node: Node) -> str:
    return f"({text_of(node)})" if isinstance(node, And | Or) else text_of(node)


def _name(column: str) -> str:
    name = column.removeprefix(ATTRIBUTE_PREFIX)
    if name == column or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return column
    return f'{ATTRIBUTE_PREFIX}"{name}"'


def _quoted(value: Literal) -> str:
    if isinstance(value.value, str):
        return "'" + value.value.replace("'", "''") + "'"
    return value.written


def matches(node: Node, row: Mapping[str, Any]) -> Truth:
    """Evaluate a filter on one row."""
    match node:
        case Not(inner):
            found = matches(inner, row)
            return None if found is None else not found
        case And(nodes):
            return _all([matches(part, row) for part in nodes])
        case Or(nodes):
            found = _all([_negated(matches(part, row)) for part in nodes])
            return _negated(found)
    if node.column == "path":
        return any(_holds(node, path) is True for path in row.get("paths", ()))
    if node.column.startswith(ATTRIBUTE_PREFIX):
        value = row.get("extra", {}).get(node.column.removeprefix(ATTRIBUTE_PREFIX))
        return _holds(node, value)
    return _holds(node, row.get(node.column))


def _negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _all(truths: list[Truth]) -> Truth:
    if any(truth is False for truth in truths):
        return False
    return None if any(truth is None for truth in truths) else True


def _holds(node: Compare | Member | Like | Null, value: Any) -> Truth:
    if isinstance(node, Null):
        return value is None
    if isinstance(node, Like):
        return bool(_pattern(node.pattern).fullmatch(value)) if isinstance(value, str) else None
    if isinstance(node, Compare):
        return _compared(node.operator, value, node.value)
    return _negated(_all([_negated(_compared("=", value, literal)) for literal in node.values]))


def _compared(sign: str, value: Any, literal: Literal) -> Truth:
    if value is None:
        return None
    given: Any = literal.value
    if isinstance(value, str) and not isinstance(given, str):
        given = literal.written
    elif not isinstance(value, str) and isinstance(given, str):
        given = number_in(given)
        if given is None:
            return None
    return bool(OPERATORS[sign](value, given))


def number_in(text: str) -> int | float | None:
    """The number a literal text stands for when it meets a number; None when it is none."""
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    return float(text) if re.fullmatch(r"[-+]?\d{1,15}(\.\d{1,15})?", text) else None


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """A LIKE pattern as a regular expression that ignores the case of ASCII letters."""
    parts: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            parts.append(_either_case(next(characters, "\\")))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or _either_case(character))
    return re.compile("".join(parts), re.DOTALL)


def _either_case(character: str) -> str:
    if character.isascii() and character.isalpha():
        return f"[{character.lower()}{character.upper()}]"
    return re.escape(character)
