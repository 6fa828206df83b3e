"""Weights that several processes load lie in their file's pages, and give the same vectors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from embedstore_torch.forward import Eager
from embedstore_torch.sharing import Kept, lie_in
from safetensors.torch import save_file

from embedstore.encoders.weights import MappedFile
from embedstore.errors import EmbedstoreError

SIDE = 256


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Linear(SIDE, SIDE), torch.nn.Linear(SIDE, SIDE), torch.nn.Linear(SIDE, 2)
    )


def saved(folder: Path, kind: str) -> Path:
    """The tensors by names of their own, beside one that is like the first but for its end."""
    tensors = {f"other.{n}": one.clone() for n, one in enumerate(network().state_dict().values())}
    tensors["decoy"] = tensors["other.0"].clone()
    tensors["decoy"][-1, -1] += 1
    if kind == "safetensors":
        save_file(tensors, folder / "w.safetensors")
        return folder / "w.safetensors"
    torch.save({"model": tensors}, folder / "w.pth")
    return folder / "w.pth"


def private_kilobytes(path: Path) -> tuple[int, int]:
    """How much of a file is in this process's memory, and how much of that is a copy of its own."""
    held = private = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = words[-1] == str(path)
        elif inside and words[0] == "Rss:":
            held += int(words[1])
        elif inside and words[0] == "Anonymous:":
            private += int(words[1])
    return held, private


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="this system does not tell what is shared")
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_tensors_lie_in_the_pages_of_their_file(tmp_path, kind):
    path, ours, theirs = saved(tmp_path, kind), network(), network()
    (used,) = lie_in(ours, Kept([path]))
    assert used.path == path
    inputs = torch.randn(3, SIDE)
    with torch.inference_mode():
        assert torch.equal(ours(inputs), theirs(inputs))
    held, private = private_kilobytes(path)
    large = sum(p.nbytes for p in ours.parameters() if p.nbytes >= 1 << 16) // 1024
    assert held >= large
    assert private == 0


def test_other_weights_stay_the_process_s_own(tmp_path):
    path, module = saved(tmp_path, "safetensors"), network()
    with torch.no_grad():
        module[0].weight[-1, -1] += 1e-3
        before = [one.clone() for one in module.parameters()]
    at = [one.data_ptr() for one in module.parameters()]
    lie_in(module, Kept([path]))
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    moved = [one.data_ptr() != was for one, was in zip(module.parameters(), at, strict=True)]
    assert moved == [False, False, True, False, False, False], "only the second layer is the file's"
    assert (
        lie_in(module, Kept([tmp_path / "w.txt"]) if (tmp_path / "w.txt").write_text("x") else Kept([])) == ()
    )


def test_a_file_that_is_gone_and_tensors_of_another_layout_are_left_alone(tmp_path):
    module = network()
    assert lie_in(module, Kept([tmp_path / "gone.pth"])) == ()
    lain = {"turned": module[0].weight.detach().t().contiguous().t(), "sparse": torch.eye(SIDE).to_sparse()}
    torch.save(lain, tmp_path / "w.pth")
    assert lie_in(module, Kept([tmp_path / "w.pth"])) == ()
    assert module[0].weight.is_contiguous()


def test_a_file_that_is_rewritten_in_its_place_is_noticed(tmp_path):
    path = saved(tmp_path, "pth")
    forward = Eager(network(), "cpu", "fp32", (MappedFile.of(path),))
    batch = np.zeros((1, SIDE), np.float32)
    forward(batch)
    os.utime(path, ns=(1, 1))
    with pytest.raises(EmbedstoreError, match=r"w\.pth was changed while its weights were in use"):
        forward(batch)


def test_a_file_that_is_replaced_by_another_is_not_in_use(tmp_path):
    path = saved(tmp_path, "pth")
    forward = Eager(network(), "cpu", "fp32", (MappedFile.of(path),))
    other = saved(tmp_path, "safetensors")
    other.replace(path)
    forward(np.zeros((1, SIDE), np.float32))
    path.unlink()
    forward(np.zeros((1, SIDE), np.float32))
