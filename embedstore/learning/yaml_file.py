"""Reading the YAML files a user writes, with errors that name the file and the key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from embedstore.errors import BadInputFile, NotFound, did_you_mean

_MOST_BYTES = 4 << 20
_YES, _NO = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})
_BOOL, _INT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int"


class _AsWritten(yaml.SafeLoader):
    """YAML without the traps of version 1.1: `no` is a word and no boolean, 007 and 12:30 are no numbers."""


_AsWritten.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in known if tag not in (_BOOL, _INT)]
    for sign, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_AsWritten.add_implicit_resolver(_INT, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))


def read_mapping(path: Path) -> dict[str, Any]:
    """The top-level mapping of a YAML file. Raises NotFound or BadInputFile with the line.

    yes, no, on, off, true and false are text, as a class may be called; see `flag_of`.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except OSError as error:
        raise BadInputFile(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise BadInputFile(f"{path}: {len(data)} bytes are too many for a YAML file of this kind")
    try:
        found = yaml.load(data.decode("utf-8"), Loader=_AsWritten)  # noqa: S506  (a safe loader)
    except UnicodeDecodeError as error:
        raise BadInputFile(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "is not valid YAML"
        raise BadInputFile(f"{path}{line}: {problem}") from error
    except RecursionError as error:
        raise BadInputFile(f"{path}: is nested too deeply") from error
    if not isinstance(found, dict):
        raise BadInputFile(f"{path}: expected keys and values at the top level")
    return {str(key): value for key, value in found.items()}


def find_yaml(named: Path, folder: Path, shipped: Path, what: str) -> Path:
    """A file, relative to `folder`, or else the one that comes with embedstore under that name.

    shipped: their folder; what: one of them is called. Raises NotFound with the names there are.
    """
    file, name = folder / named, str(named).removesuffix(".yaml")
    known = {path.stem: path for path in sorted(shipped.glob("*.yaml"))}
    if file.exists() or named.name != str(named):
        return file
    if name not in known:
        hint = did_you_mean(name, known)
        raise NotFound(
            f"{file}: no such file, and no {what} of embedstore is called '{name}'; {hint}there are: "
            + ", ".join(known)
        )
    return known[name]


def only_keys(found: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """BadInputFile when there is a key that nobody reads: most often a typing error."""
    known = tuple(allowed)
    for key in found:
        if key not in known:
            raise BadInputFile(f"{where}: unknown key '{key}'; known: {', '.join(known)}")


def mapping_of(value: Any, where: str) -> dict[str, Any]:
    """A mapping with text keys."""
    if not isinstance(value, dict) or not value:
        raise BadInputFile(f"{where}: expected keys and values")
    if not all(isinstance(key, str) and key.strip() for key in value):
        raise BadInputFile(f"{where}: names must be text; put quotes around {_first_other(value)!r}")
    return dict(value)


def phrases_of(value: Any, where: str) -> tuple[str, ...]:
    """One text, or a list of texts; none of them empty."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found:
        raise BadInputFile(f"{where}: expected a text or a list of texts")
    for entry in found:
        if not isinstance(entry, str) or not entry.strip():
            raise BadInputFile(f"{where}: {entry!r} is not a text; put quotes around it")
    return tuple(entry.strip() for entry in found)


def names_of(value: Any, where: str) -> tuple[str, ...]:
    """At least two names, as they are written; numbers may be names."""
    if not isinstance(value, list) or len(value) < 2:
        raise BadInputFile(f"{where}: expected a list of at least two names")
    names = tuple(name_of(one, where) for one in value)
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInputFile(f"{where}: '{twice[0]}' stands there twice")
    return names


def name_of(value: Any, where: str) -> str:
    """A text or number as text."""
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise BadInputFile(f"{where}: {value!r} is no name; put quotes around it")
    return str(value).strip()


def flag_of(value: Any, where: str) -> bool:
    """Yes or no, by any of the words YAML has for it."""
    word = str(value).lower()
    if word not in _YES | _NO:
        raise BadInputFile(f"{where}: expected true or false, not {value!r}")
    return word in _YES


def _first_other(value: Mapping[Any, Any]) -> Any:
    return next((key for key in value if not isinstance(key, str) or not key.strip()), "")
