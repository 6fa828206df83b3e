"""A new encoder plugin as files: a small package that passes its own tests as it is written."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from embedstore.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_plugin(name: str, parent: Path) -> tuple[Path, ...]:
    """Write the package `embedstore-NAME` into a new folder below `parent`; the files written.

    Raises UsageError for a name that no encoder can have, or a folder that exists.
    """
    package = f"embedstore_{name.replace('-', '_')}"
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"'{name}' cannot name an encoder: lower-case letters, digits and single hyphens")
    folder = parent / f"embedstore-{name}"
    if folder.exists():
        raise UsageError(f"{folder} exists already; nothing was written")
    places = {
        "pyproject.toml": folder / "pyproject.toml",
        "README.md": folder / "README.md",
        "__init__.py": folder / package / "__init__.py",
        "network.py": folder / package / "network.py",
        "test_plugin.py": folder / "tests" / f"test_{name.replace('-', '_')}.py",
    }
    words = {"name": name, "package": package, "distribution": folder.name}
    for template, place in places.items():
        text = (
            files("embedstore.testing").joinpath("plugin_template", f"{template}.template").read_text("utf-8")
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(Template(text).substitute(words), encoding="utf-8")
    return tuple(places.values())
