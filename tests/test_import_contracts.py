"""The import contracts hold, and each of them bites when a forbidden import is put in."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

grimp = pytest.importorskip("grimp")

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = REPOSITORY / "embedstore"

OFFENCES = [
    ("layers", "embedstore.storage.database", "embedstore.engine.store"),
    ("layers", "embedstore.readers.dicom", "embedstore.storage.database"),
    ("layers", "embedstore.evaluation.metrics", "embedstore.learning.bridge"),
    ("layers", "embedstore.engine.store", "embedstore.pages.text"),
    ("layers", "embedstore.pages.text", "embedstore.demo.cohort"),
    ("layers", "embedstore.demo.cohort", "embedstore.cli.main"),
    ("layers", "embedstore.errors", "embedstore.contracts.query"),
    ("evaluation", "embedstore.indexes.exact", "embedstore.evaluation.metrics"),
    ("testing", "embedstore.testing.encoders", "embedstore.discovery"),
    ("torch", "embedstore.learning.bridge", "torch"),
    ("torch", "embedstore.encoders.preprocess", "transformers"),
    ("sqlalchemy", "embedstore.engine.store", "sqlalchemy"),
    ("sqlalchemy", "embedstore.cli.main", "alembic"),
    ("click", "embedstore.engine.store", "click"),
    ("faiss", "embedstore.indexes.exact", "faiss"),
    ("plugins", "embedstore_starter", "embedstore.readers.dicom"),
    ("plugins", "embedstore_clip", "embedstore.storage.database"),
    ("plugins-apart", "embedstore_clip", "embedstore_starter"),
    ("plugins-share", "embedstore_torch.forward", "embedstore_timm"),
]


@pytest.fixture(scope="module")
def options() -> dict[str, Any]:
    """Session options and contracts as import-linter itself reads them from pyproject.toml."""
    from importlinter import configuration
    from importlinter.api import read_configuration

    configuration.configure()
    return read_configuration(str(REPOSITORY / "pyproject.toml"))


@pytest.fixture(scope="module")
def graph(options: dict[str, Any]) -> Any:
    return grimp.build_graph(
        *options["session_options"]["root_packages"],
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )


def _contract(options: dict[str, Any], name: str) -> Any:
    from importlinter.contracts.forbidden import ForbiddenContract
    from importlinter.contracts.independence import IndependenceContract
    from importlinter.contracts.layers import LayersContract

    kinds = {"forbidden": ForbiddenContract, "independence": IndependenceContract, "layers": LayersContract}
    described = next(one for one in options["contracts_options"] if one["id"] == name)
    return kinds[described["type"]](described["name"], options["session_options"], described)


def test_every_contract_holds(options: dict[str, Any], graph: Any) -> None:
    broken = [
        one["name"]
        for one in options["contracts_options"]
        if not _contract(options, one["id"]).check(deepcopy(graph), verbose=False).kept
    ]
    assert broken == []


@pytest.mark.parametrize(("name", "importer", "imported"), OFFENCES)
def test_a_forbidden_import_breaks_its_contract(
    name: str, importer: str, imported: str, options: dict[str, Any], graph: Any
) -> None:
    spoiled = deepcopy(graph)
    for module in (importer, imported):
        assert module in spoiled.modules, f"'{module}' is gone; name another module in OFFENCES"
    spoiled.add_import(importer=importer, imported=imported)
    assert not _contract(options, name).check(spoiled, verbose=False).kept


def test_every_contract_is_proven(options: dict[str, Any]) -> None:
    assert {one["id"] for one in options["contracts_options"]} == {name for name, _, _ in OFFENCES}


@pytest.mark.parametrize(("name", "free"), [("sqlalchemy", {"storage"}), ("click", {"cli"})])
def test_a_contract_that_lists_rooms_lists_all_of_them(
    name: str, free: set[str], options: dict[str, Any]
) -> None:
    rooms = {path.stem for path in PACKAGES.iterdir() if path.suffix in ("", ".py")} - {
        "__init__",
        "__pycache__",
    }
    listed = next(one["source_modules"] for one in options["contracts_options"] if one["id"] == name)
    assert {module.removeprefix("embedstore.") for module in listed} == rooms - free
