"""A Store that answers from memory, put where the command line looks for the real one."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embedstore.cli.main import run
from tests.cli.fake_store import FakeStore

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def fake_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeStore]:
    """The class; `FakeStore.asked` records what the shell asked for, `FakeStore.raises` what it meets."""
    FakeStore.reset(tmp_path / "store")
    module = ModuleType("embedstore.engine.store")
    module.Store = FakeStore  # type: ignore[attr-defined]
    module.migrate = lambda path: ("0001", "0002")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "embedstore.engine.store", module)
    monkeypatch.delenv("EMBEDSTORE_STORE", raising=False)
    return FakeStore


@pytest.fixture
def embedstore(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run one command line in this process."""

    def call(*arguments: str | Path) -> Ran:
        status = run([str(one) for one in arguments])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return call


@pytest.fixture
def golden() -> Callable[..., None]:
    """Compare with a file under golden/; EMBEDSTORE_UPDATE_GOLDEN=1 writes it anew."""

    def check(found: str, *, file: str = "", append: str = "", key: str = "") -> None:
        path = GOLDEN / (file or append)
        update = os.environ.get("EMBEDSTORE_UPDATE_GOLDEN") == "1"
        kept = path.read_text() if path.exists() else ""
        if append:
            entries = dict(re.findall(r"^\$ embedstore ([^\n]*)\n([^\n]*\n)", kept, re.MULTILINE))
            if update:
                entries[key] = found
                path.write_text("".join(f"$ embedstore {k}\n{v}" for k, v in sorted(entries.items())))
            assert entries.get(key) == found
            return
        if update:
            path.write_text(found)
            kept = found
        assert found == kept

    return check
