"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]

# How long a property takes says something of the machine's other work, and nothing of the property.
settings.register_profile(
    "embedstore", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("embedstore")


# Files that take a process a minute or so: begun last, they would leave the other one idle.
LONGEST = ("test_demo_story.py", "test_medsam_parity.py", "test_medsam.py", "test_plugin_new.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def _reading_inline():
    """A process of its own for each of hundreds of tiny ingests would only cost time; tests that are about it
    ask for it."""
    os.environ.setdefault("EMBEDSTORE_READING", "inline")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The collection of real public images; tests that need it are skipped where it is absent."""
    named = os.environ.get("EMBEDSTORE_SHARED_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("the shared image collection is not on this machine (set EMBEDSTORE_SHARED_DATA)")
    return folder
