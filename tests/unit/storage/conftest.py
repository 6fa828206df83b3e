from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedstore.storage.catalog import Catalog
from embedstore.storage.records import SpaceRow
from embedstore.storage.store import create_store, open_store
from tests.unit.storage.storagekit import bound_spec


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once and copied: running the migrations is the slow part."""
    folder = tmp_path_factory.mktemp("empty") / "store"
    create_store(folder)
    return folder


@pytest.fixture
def folder(empty_store: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(empty_store, tmp_path / "store"))


@pytest.fixture
def catalog(folder: Path) -> Iterator[Catalog]:
    with open_store(folder) as catalog:
        yield catalog


@pytest.fixture
def images(catalog: Catalog) -> SpaceRow:
    return catalog.ensure_space(bound_spec("image"), "image")


@pytest.fixture
def texts(catalog: Catalog) -> SpaceRow:
    return catalog.ensure_space(bound_spec("text"), "text")
