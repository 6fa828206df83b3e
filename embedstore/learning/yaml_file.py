"""Reading the YAML files a user writes, with errors that name the file and the key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from embedstore.errors import BadInputFile, NotFound

_MOST_BYTES = 4 << 20


def read_mapping(path: Path) -> dict[str, Any]:
    """The top-level mapping of a YAML file. Raises NotFound or BadInputFile with the line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except OSError as error:
        raise BadInputFile(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise BadInputFile(f"{path}: {len(data)} bytes are too many for a YAML file of this kind")
    try:
        found = yaml.safe_load(data.decode("utf-8"))
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


def _first_other(value: Mapping[Any, Any]) -> Any:
    return next((key for key in value if not isinstance(key, str) or not key.strip()), "")
