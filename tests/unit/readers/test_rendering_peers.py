"""Display pixels of real files beside dcmtk's and the standard's formula; see benchmarks/rendering.py."""

from __future__ import annotations

import importlib.util
import shutil
import sys

import pydicom.data
import pytest

from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="dcmtk is not installed"),
    pytest.mark.filterwarnings("ignore"),  # pydicom's, on files that are odd on purpose
]


@pytest.fixture(scope="module")
def rendering():
    spec = importlib.util.spec_from_file_location("rendering", REPOSITORY / "benchmarks" / "rendering.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["rendering"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["rendering"]


def far(rows):
    """Frames that the formula or, where there is none, dcmtk contradicts."""
    off = [row for row in rows if row.ours_to_formula is not None and row.ours_to_formula > 1]
    return off + [row for row in rows if row.ours_to_formula is None and row.verdict == "differs"]


@pytest.mark.parametrize("folder", ["same_ct_all_syntaxes", "image", "burned_in"])
def test_shared_files(rendering, shared_data, tmp_path, folder):
    paths = sorted((shared_data / "dicom" / folder).glob("*"))
    rows = [row for path in paths for row in rendering.compare(path, 1, tmp_path)]
    assert len(rows) >= 3
    assert far(rows) == []


def test_files_of_pydicom(rendering, tmp_path):
    names = (
        "CT_small.dcm",
        "MR_small.dcm",
        "JPGExtended.dcm",
        "SC_rgb_rle_16bit.dcm",
        "examples_palette.dcm",
    )
    paths = [pydicom.data.get_testdata_file(name, download=False) for name in names]
    rows = [row for path in paths if path for row in rendering.compare(rendering.Path(path), 1, tmp_path)]
    assert rows
    assert far(rows) == []
