"""Label files never lend a label to an image they do not surely mean."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from embedstore.engine.head_labels import labels_from_file
from embedstore.errors import BadInputFile


@dataclass(frozen=True)
class Stored:
    id: int
    path: str
    paths: tuple[str, ...] = ()


ITEMS = (Stored(1, "A/x.png"), Stored(2, "A/y.png", ("copy/y2.png",)), Stored(3, "B/x.png"))


def labels(tmp_path, text, items=ITEMS):
    file = tmp_path / "labels.csv"
    file.write_text(text)
    return labels_from_file(file, items)


def test_whole_paths_further_sources_and_ids(tmp_path):
    assert labels(tmp_path, "path,label\nA/x.png,1\ncopy/y2.png,0\n") == ["1", "0", None]
    assert labels(tmp_path, "id,label\n3,1\n") == [None, None, "1"]


def test_a_bare_name_that_only_one_image_bears(tmp_path):
    assert labels(tmp_path, "path,label\ny.png,1\n") == [None, "1", None]


def test_a_bare_name_that_several_bear_is_refused(tmp_path):
    with pytest.raises(BadInputFile, match=r"row 2 names 2 stored images"):
        labels(tmp_path, "path,label\ny.png,1\nx.png,0\n")


def test_two_labels_of_one_image_are_refused_and_repeats_are_not(tmp_path):
    with pytest.raises(BadInputFile, match="rows 1 and 3"):
        labels(tmp_path, "path,label\nA/x.png,1\nA/y.png,1\nA/x.png,0\n")
    assert labels(tmp_path, "path,label\nA/x.png,1\nA/x.png,1\n")[0] == "1"
