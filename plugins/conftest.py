"""Fixtures for the plugins' tests: the parity cases, rebuilt from their seeds."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class ParityCase:
    """One case: its description, what the reference answered, its images, and its checkpoint on disk."""

    data: dict[str, Any]
    expected: dict[str, np.ndarray]
    images: dict[str, np.ndarray]
    checkpoint: Path
    make_mask: Callable[[list[int], list[int]], np.ndarray]

    @property
    def tolerance(self) -> dict[str, float]:
        """By name, as the case states them."""
        return self.data["tolerance"]

    def off_in_preprocessing(self, profile: str, prepared: np.ndarray) -> np.ndarray:
        """Absolute differences from the reference's tensor (C, H, W) where it was sampled."""
        step = int(self.expected[f"{profile}/pre_stride"])
        return np.abs(prepared[..., 3::step, 5::step] - self.expected[f"{profile}/pre_sample"])

    def off(self, key: str, found: np.ndarray) -> float:
        """Largest difference from an expected array, relative to that array's root mean square."""
        expected = self.expected[key]
        return float(np.abs(found - expected).max() / np.sqrt(np.mean(expected**2)))


@pytest.fixture(scope="session")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ParityCase]:
    """Builds a parity case by name; skips where the fixtures are not on this machine."""
    named = os.environ.get("EMBEDSTORE_SHARED_DATA")
    folder = (Path(named) if named else REPOSITORY.parent / "shared" / "data").parent / "parity"
    if not (folder / "make_checkpoint.py").is_file():
        pytest.skip("the parity fixtures are not on this machine (set EMBEDSTORE_SHARED_DATA)")
    checkpoints = _module(folder / "make_checkpoint.py")
    pictures = _module(folder / "make_image.py")
    cases: dict[str, ParityCase] = {}

    def case(name: str) -> ParityCase:
        if name not in cases:
            data = json.loads((folder / f"{name}.json").read_text())
            tensors = checkpoints.make_tensors(data)
            assert checkpoints.digest(tensors) == data["weights_sha256"]
            path = tmp_path_factory.mktemp(name) / data["file"]
            checkpoints.save(data, tensors, path)
            with np.load(folder / f"{name}.expected.npz") as stored:
                expected = dict(stored)
            images = pictures.make_images(data)
            cases[name] = ParityCase(data, expected, images, path, pictures.box_mask)
        return cases[name]

    return case


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # one script imports the other
    spec.loader.exec_module(module)
    return module
