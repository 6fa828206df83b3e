"""Real images come out of installed packages, without importing, copying or downloading anything."""

from __future__ import annotations

import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from embedstore.demo import gather as room
from embedstore.demo.gather import gather


def test_what_is_gathered_is_there_with_origin_and_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = gather()
    assert len(found.images) > 60
    assert all(image.path.is_file() and image.origin and image.licence for image in found.images)
    assert all(
        "site-packages" in str(image.path) or "dist-packages" in str(image.path) for image in found.images
    )
    assert len(set(found.paths)) == len(found.paths)
    shown = {image.path.name for image in found.images if image.shown}
    assert {"CT_small.dcm", "MR_small.dcm"} <= shown
    if find_spec("skimage"):
        assert {"retina.jpg", "ihc.png", "microaneurysms.png", "cell.png"} <= shown
        assert not found.missing


@pytest.mark.parametrize(
    ("package", "said"), [("skimage", "scikit-image"), ("pydicom", "no real DICOM images")]
)
def test_a_missing_package_means_fewer_images_and_is_said(
    monkeypatch: pytest.MonkeyPatch, package: str, said: str
) -> None:
    before = len(gather().images)
    monkeypatch.setattr(room, "find_spec", lambda name: None if name == package else find_spec(name))
    found = gather()
    assert len(found.images) < before
    assert [line for line in found.missing if said in line]


def test_gathering_imports_none_of_the_packages(tmp_path: Path) -> None:
    code = (
        "import sys; from embedstore.demo.gather import gather; gather();"
        "print([m for m in ('skimage', 'sklearn', 'pydicom', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "[]"
