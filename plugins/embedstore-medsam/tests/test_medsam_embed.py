"""The reference's vectors through the door a user takes: files, boxes and masks."""

from __future__ import annotations

import numpy as np
from PIL import Image as Picture

from embedstore.contracts.record import Cut
from embedstore.contracts.region import Box, MaskFile
from embedstore.engine.embed import EmbedRequest, embed
from embedstore.engine.requests import EncoderChoice
from embedstore.settings import Settings


def test_a_volume_file_comes_to_the_reference_vectors(parity, tmp_path):
    """Through the door a user takes; the volume's extremes are those of slices that are passed over, too."""
    case = parity("medsam2")
    volume = case.images["volume"]
    depth, rows, columns = volume.shape
    head = (
        f"ObjectType = Image\nNDims = 3\nDimSize = {columns} {rows} {depth}\nElementSpacing = 1 1 3\n"
        "Modality = MET_MOD_CT\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "ct.mha").write_bytes(head.encode() + volume.astype("<i2").tobytes())
    choice = EncoderChoice(name="medsam2", weights=case.checkpoint, profile="ct", threads=1)
    request = EmbedRequest(paths=(tmp_path / "ct.mha",), encoder=choice, cut=Cut(every=5))
    found = embed(request, Settings(reading="inline"))
    taken = list(range(0, len(volume), 5))
    assert [row.part for row in found.rows] == [f"slice/k/{k}" for k in taken]
    expected = case.expected["ct_volume/gap_nomem"]
    most = case.tolerance["vector"] * np.sqrt(np.mean(expected**2))
    assert np.abs(found.vectors - expected[taken]).max() <= most


def test_a_box_and_a_mask_file_come_to_the_reference_vector(parity, tmp_path):
    case = parity("medsam")
    x0, y0, x1, y1 = case.data["boxes"]["photo"]
    Picture.fromarray(case.images["photo"]).save(tmp_path / "photo.png")
    Picture.fromarray((case.region("photo") * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    choice = EncoderChoice(name="medsam", weights=case.checkpoint, threads=1)
    for region in (Box(x0, y0, x1, y1), MaskFile(str(tmp_path / "mask.png"))):
        request = EmbedRequest(paths=(tmp_path / "photo.png",), encoder=choice, region=region)
        found = embed(request, Settings(reading="inline"))
        assert case.off("photo/roi", found.vectors[0]) <= case.tolerance["vector"]
