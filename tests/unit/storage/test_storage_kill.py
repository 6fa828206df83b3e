"""SIGKILL at any point: what was acknowledged is there, nothing is there in part, the next writer goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_twenty_five_kills_lose_nothing_and_leave_nothing_in_part(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.storage.kill_driver", str(tmp_path / "store"), "25", "7"]
    repository = Path(__file__).parents[3]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=repository, env=environment
    )
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["kills"] == 25
    assert report["batches"] > 25
