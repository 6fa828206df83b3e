"""Files that are not MedSAM's are refused with what was expected and found; no code in them runs."""

from __future__ import annotations

import re

import pytest
from embedstore_medsam import medsam2_factory, medsam_factory

from embedstore.contracts.encoder import LoadRequest
from embedstore.errors import Refused
from tests import wrong_files as wrong

FACTORIES = {"medsam": medsam_factory, "medsam2": medsam2_factory}
BIAS = {
    "medsam": "image_encoder.blocks.1.attn.qkv.bias",
    "medsam2": "image_encoder.trunk.blocks.1.attn.qkv.bias",
}
CHANGED = {
    "laid out": (lambda bias: wrong.laid_out, "its tensors claim 1.* bytes, the file has"),
    "prefixed": (lambda bias: wrong.prefixed, "expected image_encoder.*, found module"),
    "lacking": (wrong.lacking, "lacks image_encoder.*blocks.1.attn.qkv.bias"),
    "renamed": (lambda bias: wrong.renamed(bias, bias + "es"), "lacks .*qkv.bias and has .*qkv.biases"),
    "more": (lambda bias: wrong.more(bias.replace("attn", "adapter")), "has .*blocks.1.adapter"),
    "more elsewhere": (lambda bias: wrong.more("head.weight"), "no MedSAM2? file has: head.weight"),
    "wider": (wrong.wider, r"expected .*blocks.1.attn.qkv.bias of \(\d+,\), found \(\d+,\)"),
}


def _refusal(name, path) -> str:
    with pytest.raises(Refused) as refusal:
        FACTORIES[name].load(name, LoadRequest(weights=path))
    message = str(refusal.value)
    assert message.startswith(f"{path} is not a MedSAM")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("kind", wrong.WRONG_FILES)
def test_wrong_files_are_refused_in_one_line(parity, tmp_path, name, kind):
    write, why = wrong.WRONG_FILES[kind]
    path = tmp_path / "medsam_vit_b.pth"
    write(parity("medsam").checkpoint, path)  # the smaller one: all are cut or replaced
    assert re.search(why, _refusal(name, path))
    assert not wrong.witness(path).exists()


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("how", CHANGED)
def test_changed_checkpoints_are_refused(parity, tmp_path, name, how):
    make, why = CHANGED[how]
    case, path = parity(name), tmp_path / "medsam.pth"
    wrong.change(case.checkpoint, path, case.data["weights_under"], make(BIAS[name]))
    message = _refusal(name, path)
    path.unlink()  # one of them has 156 MB
    assert re.search(why, message)


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("other", [*FACTORIES, "retfound-mae", "retfound-dinov2"])
def test_checkpoints_of_another_family_are_refused(parity, name, other):
    if other != name:
        assert re.search("expected .*, found", _refusal(name, parity(other).checkpoint))
