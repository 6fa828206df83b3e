"""Label files never lend a label to an image they do not surely mean."""

from __future__ import annotations

from dataclasses import dataclass
from unicodedata import normalize

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


def test_an_accent_counts_however_it_is_written(tmp_path):
    apart, together = (normalize(form, "A/ü.png") for form in ("NFD", "NFC"))
    items = (Stored(1, apart), Stored(2, "A/y.png"))
    for told in (together, together.removeprefix("A/")):
        assert labels(tmp_path, f"path,label\n{told},1\n", items) == ["1", None]
    both = (Stored(1, apart), Stored(2, together))
    assert labels(tmp_path, f"path,label\n{together},1\n{apart},0\n", both) == ["0", "1"]


def test_a_bare_name_that_several_bear_is_refused(tmp_path):
    with pytest.raises(BadInputFile, match=r"line 3 names 2 stored images"):
        labels(tmp_path, "path,label\ny.png,1\nx.png,0\n")


def test_two_labels_of_one_image_are_refused_and_repeats_are_not(tmp_path):
    with pytest.raises(BadInputFile, match="lines 2 and 4"):
        labels(tmp_path, "path,label\nA/x.png,1\nA/y.png,1\nA/x.png,0\n")
    assert labels(tmp_path, "path,label\nA/x.png,1\nA/x.png,1\n")[0] == "1"


def test_tables_are_read_as_ingest_reads_them(tmp_path):
    """Semicolons, spellings of nothing, other names of the columns, paths from the table's folder."""
    assert labels(tmp_path, "filename;diagnosis\nA/x.png;1\nA/y.png;NaN\nB/x.png;N/A\n") == ["1", None, None]
    own = (Stored(1, f"{tmp_path}/A/x.png"), Stored(2, f"/elsewhere{tmp_path}/A/x.png"))
    assert labels(tmp_path, "path,label\nA/x.png,sick\n", own) == ["sick", None]


def test_a_path_means_every_part_of_its_file(tmp_path):
    slices = (Stored(1, "/v/ct.nii"), Stored(2, "/v/ct.nii"), Stored(3, "/v/mr.nii"))
    assert labels(tmp_path, "path,label\nct.nii,sick\n", slices) == ["sick", "sick", None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\nC/z.png,1\n", "no row names an image that is looked at; they are like A/x.png"),
        ("path,grade\nA/x.png,1\n", "no row has a label"),
        ("name,label\nA/x.png,1\n", "needs a column 'label' and a column 'id' or 'path'"),
        ("", "the table is empty"),
    ],
)
def test_what_labels_nothing_is_refused(tmp_path, text, says):
    with pytest.raises(BadInputFile, match=says):
        labels(tmp_path, text)
