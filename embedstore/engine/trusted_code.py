"""Python files that a user hands over as voters: programs, which run only if their hash was vouched for."""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from embedstore.errors import BadInputFile, NotFound, Refused


def load_function(path: Path, name: str, trusted: Collection[str]) -> tuple[Callable[..., Any], str]:
    """The function `name` of a Python file and the file's sha256.

    The bytes that were hashed are the bytes that run. Raises NotFound, Refused unless `trusted` holds the
    sha256, BadInputFile when the file does not run or has no such function.
    """
    try:
        code = path.read_bytes()
    except OSError as error:
        raise NotFound(f"{path}: cannot be read ({error.strerror}); check 'file'") from None
    sha256 = hashlib.sha256(code).hexdigest()
    if sha256 not in {one.lower() for one in trusted}:
        raise Refused(
            f"{path} is a program; read it, and if you trust it run again with --trust-code {sha256}"
        )
    module = _run(path, code, sha256)
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInputFile(f"{path}: has no function '{name}'")
    return function, sha256


class _Vouched(importlib.abc.SourceLoader):
    """Loads from bytes already read, whatever has become of the file since."""

    def __init__(self, path: Path, code: bytes) -> None:
        self._path, self._code = str(path), code

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: str | bytes) -> bytes:
        if path != self._path:
            raise OSError  # there is no compiled form of it
        return self._code


def _run(path: Path, code: bytes, sha256: str) -> Any:
    name = f"embedstore_trusted_{sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_loader(name, _Vouched(path, code))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadInputFile(f"{path}: does not run: {type(error).__name__}") from error
    return module
