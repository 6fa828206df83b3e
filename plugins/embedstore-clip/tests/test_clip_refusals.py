"""Files that are not the weights they are called are refused in one line; no code in them runs."""

from __future__ import annotations

import shutil

import pytest
import torch
from embedstore_clip import open_clip_factory, transformers_factory

from embedstore.contracts.encoder import LoadRequest
from embedstore.errors import Refused
from tests import wrong_files as wrong

KINDS = [kind for kind in wrong.WRONG_FILES if kind not in ("program", "safetensors", "packed", "bomb")]


def _refused(ask, path) -> None:
    with pytest.raises(Refused) as refusal:
        ask()
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not wrong.witness(path).exists()


@pytest.fixture(scope="module")
def pickled(open_clip_folder, tmp_path_factory):
    from safetensors.torch import load_file

    path = tmp_path_factory.mktemp("pickled") / "good.pt"
    torch.save(load_file(open_clip_folder / "open_clip_model.safetensors"), path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_open_clip_refuses_wrong_files(open_clip_folder, pickled, tmp_path, kind):
    folder = shutil.copytree(open_clip_folder, tmp_path / "model")
    (folder / "open_clip_model.safetensors").unlink()
    path = folder / "open_clip_pytorch_model.bin"
    wrong.WRONG_FILES[kind][0](pickled, path)
    _refused(lambda: open_clip_factory.load(f"open-clip:{folder}", LoadRequest()), path)


@pytest.mark.parametrize(
    "change", [wrong.lacking("visual.conv1.weight"), wrong.more("adapter.weight"), wrong.prefixed]
)
def test_open_clip_refuses_changed_checkpoints(open_clip_folder, pickled, tmp_path, change):
    folder = shutil.copytree(open_clip_folder, tmp_path / "model")
    (folder / "open_clip_model.safetensors").unlink()
    path = folder / "open_clip_pytorch_model.bin"
    wrong.change(pickled, path, None, change)
    if change is wrong.prefixed:  # open_clip takes the prefix off by itself
        assert open_clip_factory.load(f"open-clip:{folder}", LoadRequest(threads=1)).spec.weights_sha256
    else:
        _refused(lambda: open_clip_factory.load(f"open-clip:{folder}", LoadRequest()), path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_safetensors_that_are_cut_are_refused(open_clip_folder, clip_folder, tmp_path, share):
    for factory, name, source, file in (
        (open_clip_factory, "open-clip", open_clip_folder, "open_clip_model.safetensors"),
        (transformers_factory, "transformers", clip_folder, "model.safetensors"),
    ):
        folder = shutil.copytree(source, tmp_path / name)
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: int(share * len(data))])
        _refused(lambda factory=factory, n=name, f=folder: factory.load(f"{n}:{f}", LoadRequest()), folder)


@pytest.mark.parametrize("kind", ["empty", "web page", "LFS pointer", "text"])
def test_transformers_refuses_wrong_files(clip_folder, tmp_path, kind):
    folder = shutil.copytree(clip_folder, tmp_path / "model")
    wrong.WRONG_FILES[kind][0](folder / "model.safetensors", folder / "model.safetensors")
    _refused(lambda: transformers_factory.load(f"transformers:{folder}", LoadRequest()), folder)
