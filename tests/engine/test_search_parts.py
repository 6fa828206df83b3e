"""Parts of volumes and loops: a hit says which one it is, and a whole gives its best part once."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embedstore.contracts.query import Item, Query
from embedstore.contracts.record import Cut
from embedstore.engine.store import Store
from embedstore.pages.words import place_words
from tests.unit.readers.dicom_files import dataset, file_bytes


@pytest.fixture(scope="module")
def stacks(tmp_path_factory, draw, ask):
    """4 stacks of 6 slices and 3 single films, in one store."""
    folder = tmp_path_factory.mktemp("stacks")
    rows = []
    for n in range(27):
        stack, number = divmod(n, 6)
        draw(folder / f"{n}.png", n, bright=stack == 1)
        part = {"whole": f"stack {stack}", "number": number + 1, "z": 2.5 * number} if stack < 4 else {}
        rows.append({"path": f"{n}.png", "patient_id": f"P{stack % 2}", **part})
    with (folder / "table.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    mapping = {"number": "part_number", "z": "position_mm", "whole": "whole"}
    with Store.create(folder / "store") as store:
        store.ingest(ask(folder, metadata=(folder / "table.csv",), mapping=mapping))
        yield store


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_per_whole_is_the_best_part_of_each(stacks, index):
    everything = stacks.search(Query(like=1, k=27, index=index)).hits
    best = {}
    for hit in everything:
        best.setdefault(hit.item.columns["whole"] or hit.item.id, hit.item.id)
    found = stacks.search(Query(like=1, k=10, per="whole", index=index))
    assert [hit.item.id for hit in found.hits] == list(best.values())
    assert len(found.hits) == 4 + 3


def test_a_hit_says_which_part_it_is(stacks):
    hit = stacks.search(Query(like=1, k=1)).hits[0]
    assert hit.item.columns["whole"] == "stack 0"
    number = hit.item.columns["part_number"]
    assert place_words(hit.item) == f"slice {number}, at {2.5 * (number - 1):.1f} mm"


def item_of(part, columns):
    fixed = {"id": 1, "kind": "image", "path": "", "paths": (), "sha256": "", "reader": ""}
    return Item(part=part, columns=columns, patient="", patient_known=False, **fixed)


@pytest.mark.parametrize(
    ("part", "columns", "words"),
    [
        ("image", {"frame": None}, ""),
        ("", {}, ""),
        ("frame/3", {}, "frame/3"),
        ("frame/3", {"part_number": 3, "time_s": 0.125}, "frame 3, at 0.12 s"),
        ("image", {"part_number": 2, "whole": "w", "position_mm": -77.25}, "slice 2, at -77.2 mm"),
        ("image", {"part_number": 2, "whole": "w"}, "part 2"),
        ("image", {"whole": "w", "position_mm": 4.0}, "slice, at 4.0 mm"),
        (
            "time/1/slice/k/7",
            {"part_number": 8, "whole": "w", "position_mm": 3.0, "time_s": 2.0},
            "slice 8, at 3.0 mm, at 2.00 s",
        ),
        (
            "tile/1/4/2",
            {"part_number": 9, "tile_x": 896, "tile_y": 0, "mpp": 0.5},
            "tile 9, at 896, 0 px, 0.5 µm/px",
        ),
    ],
)
def test_places_in_words(part, columns, words):
    assert place_words(item_of(part, columns)) == words


def test_the_place_of_a_region_in_words():
    extra = {"region_x0": 4, "region_y0": 5, "region_x1": 14, "region_y1": 9, "region_pixels": 33}
    found = replace(item_of("frame/3#box/4,5,14,9", {"part_number": 3}), kind="region", extra=extra)
    assert place_words(found) == "frame 3, region 4,5 to 14,9 (33 px)"


def test_items_of_any_cut_have_their_picture(tmp_path, ask):
    frames = np.stack([np.full((8, 8), 8 * n, np.uint8) for n in range(20)])
    data = file_bytes(dataset(frames, NumberOfFrames=20, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1"))
    (tmp_path / "loop.dcm").write_bytes(data)
    with Store.create(tmp_path / "store") as store:
        for unit in ("frame", "image"):
            store.ingest(ask(tmp_path / "loop.dcm", cut=Cut(unit=unit)))
        items = store.items()
        assert len(items) >= 20
        for item in items:
            shown = Image.open(io.BytesIO(store.thumbnail(item.id)))
            assert shown.getpixel((4, 4)) == 8 * ((item.columns["frame"] or 11) - 1)
