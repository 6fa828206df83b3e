"""Fixtures for the plugins' tests: the parity cases, rebuilt from their seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.parity import SUBJECTS, Case, build


@pytest.fixture(scope="session")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Builds the parity case of an encoder, once."""
    cases: dict[str, Case] = {}

    def case(encoder: str) -> Case:
        if encoder not in cases:
            cases[encoder] = build(SUBJECTS[encoder], tmp_path_factory.mktemp(encoder))
        return cases[encoder]

    return case
