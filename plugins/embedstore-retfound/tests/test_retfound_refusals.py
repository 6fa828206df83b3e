"""Files that are not RETFound's are refused with what was expected and found; no code in them runs."""

from __future__ import annotations

import re

import pytest
from embedstore_retfound import dinov2_factory, mae_factory

from embedstore.contracts.encoder import LoadRequest
from embedstore.errors import Refused
from tests import wrong_files as wrong

FACTORIES = {"retfound-mae": mae_factory, "retfound-dinov2": dinov2_factory}
BIAS = {"retfound-mae": "blocks.1.attn.qkv.bias", "retfound-dinov2": "backbone.blocks.1.attn.qkv.bias"}
CHANGED = {
    "laid out": (lambda bias: wrong.laid_out, "its tensors claim 1.* bytes, the file has"),
    "prefixed": (lambda bias: wrong.prefixed, "expected .*mask_token.*, found module."),
    "lacking": (wrong.lacking, "lacks blocks.1.attn.qkv.bias"),
    "renamed": (
        lambda bias: wrong.renamed(bias, bias + "es"),
        r"lacks blocks.1.attn.qkv.bias and has .*qkv.biases",
    ),
    "more": (lambda bias: wrong.more(bias.replace("attn", "adapter")), "has blocks.1.adapter"),
    "wider": (wrong.wider, r"expected blocks.1.attn.qkv.bias of \(576,\), found \(1152,\)"),
}


def _refusal(name, path) -> str:
    with pytest.raises(Refused) as refusal:
        FACTORIES[name].load(name, LoadRequest(weights=path))
    message = str(refusal.value)
    assert message.startswith(f"{path} is not a RETFound")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("kind", wrong.WRONG_FILES)
def test_wrong_files_are_refused_in_one_line(parity, tmp_path, name, kind):
    write, why = wrong.WRONG_FILES[kind]
    path = tmp_path / "RETFound_mae_natureCFP.pth"
    write(parity(name).checkpoint, path)
    assert re.search(why, _refusal(name, path))
    assert not wrong.witness(path).exists()


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("how", CHANGED)
def test_changed_checkpoints_are_refused(parity, tmp_path, name, how):
    make, why = CHANGED[how]
    case, path = parity(name), tmp_path / "RETFound.pth"
    wrong.change(case.checkpoint, path, case.data["weights_under"], make(BIAS[name]))
    assert re.search(why, _refusal(name, path))


@pytest.mark.parametrize(
    ("name", "other"), [(n, o) for n in FACTORIES for o in (*FACTORIES, "medsam") if o != n]
)
def test_checkpoints_of_another_family_are_refused(parity, name, other):
    if other != name:
        assert "expected tensors under" in _refusal(name, parity(other).checkpoint)


def test_what_may_be_dropped_is_listed_and_the_rest_is_used(parity, tmp_path):
    """The official notebook drops whatever it does not know, which is all of it."""
    case = parity("retfound-dinov2")
    for start, kept in (("dino_head.", True), ("ibot_head.", True), ("backbone.register", False)):
        path = tmp_path / f"{start}pth"
        wrong.change(case.checkpoint, path, "teacher", wrong.more(f"{start}more"))
        if kept:
            assert (
                dinov2_factory.load("retfound-dinov2", LoadRequest(weights=path)).spec.tower("image").dim
                == 192
            )
        else:
            assert "has registermore" in _refusal("retfound-dinov2", path)
