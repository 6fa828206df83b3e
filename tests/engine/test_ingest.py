"""Ingest as a user meets it: what is counted, what is recorded, what a second run does."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedstore.contracts.query import Query
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.errors import BadInputFile, NotFound, StoreBusy, UnknownPlugin
from tests.unit.readers.volume_files import nifti, pattern

STRIP_OFFSETS, STRIP_BYTES = 273, 279  # tags of TIFF 6.0


def counts(report):
    assert report.seen == report.added + report.skipped + report.failed
    return report.seen, report.added, report.skipped, report.failed


def test_mixed_folder_is_counted_item_by_item(store, tmp_path, ask, draw):
    folder = tmp_path / "in"
    draw(folder / "a.png", 1)
    draw(folder / "nested" / "no suffix.png", 2).rename(folder / "nested" / "no suffix")
    (folder / "notes.txt").write_text("not an image")
    (folder / "lies.dcm").write_text("not an image either")
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:120])
    np.savez(folder / "array.npz", train_images=np.arange(3 * 28 * 28).reshape(3, 28, 28).astype(np.uint8))
    report = store.ingest(ask(folder))
    assert counts(report) == (9, 5, 1, 3)
    reasons = {outcome.path.rsplit("/", 1)[1]: outcome.reason for outcome in report.failures}
    assert set(reasons) == {"lies.dcm", "empty.png", "cut.png"}
    assert [outcome.path.rsplit("/", 1)[1] for outcome in report.skips] == ["notes.txt"]
    assert {outcome.path for outcome in store.failures()} == {outcome.path for outcome in report.failures}


def test_the_store_among_its_images_is_a_skip_that_is_told(store, tmp_path, ask, draw):
    draw(tmp_path / "film.png", 1)
    report = store.ingest(ask(tmp_path))
    assert counts(report) == (2, 1, 1, 0)
    assert [(skip.path, skip.reason) for skip in store.skips()] == [
        (str(store.path), "a store of embedstore; not entered")
    ]


def test_a_second_run_adds_nothing_and_a_new_file_only_itself(store, cohort, tmp_path, ask, draw):
    first = store.ingest(ask(cohort / "images"))
    again = store.ingest(ask(cohort / "images"))
    assert counts(first) == (60, 60, 0, 0)
    assert counts(again) == (60, 0, 60, 0)
    new = draw(tmp_path / "new.png", 999)
    assert counts(store.ingest(ask(cohort / "images", new))) == (61, 1, 60, 0)


def test_a_failure_is_mended_by_a_good_file(store, tmp_path, ask, draw):
    path = tmp_path / "in" / "x.png"
    draw(path, 3)
    good = path.read_bytes()
    path.write_bytes(good[:100])
    assert counts(store.ingest(ask(path))) == (1, 0, 0, 1)
    path.write_bytes(good)
    assert counts(store.ingest(ask(path))) == (1, 1, 0, 0)
    assert store.failures() == ()


def test_a_file_of_which_no_part_can_be_read_is_one_failure(store, tmp_path, ask):
    whole = nifti(pattern(1, 12, 12, 8), packed=True)
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "whole.nii.gz").write_bytes(whole)
    report = store.ingest(ask(tmp_path / "cut.nii.gz", tmp_path / "whole.nii.gz"))
    assert counts(report) == (9, 8, 0, 1)
    (failure,) = store.failures()
    assert (failure.path, failure.part) == (str(tmp_path / "cut.nii.gz"), "")
    assert "truncated" in failure.reason
    assert counts(store.ingest(ask(tmp_path / "cut.nii.gz"))) == (1, 0, 0, 1)
    (tmp_path / "cut.nii.gz").write_bytes(whole)
    assert counts(store.ingest(ask(tmp_path / "cut.nii.gz"))) == (8, 0, 8, 0)
    assert store.failures() == ()


def test_a_file_of_which_some_parts_can_be_read_fails_by_part(store, tmp_path, ask):
    path = tmp_path / "pages.tif"
    pages = [Image.fromarray(pattern(n, 40, 40, dtype="uint8")) for n in range(4)]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    data = bytearray(path.read_bytes())
    with Image.open(path) as opened:
        for page in (0, 3):
            opened.seek(page)
            start, length = (opened.tag_v2[tag][0] for tag in (STRIP_OFFSETS, STRIP_BYTES))
            data[start : start + length] = bytes(length)
    path.write_bytes(data)
    report = store.ingest(ask(path))
    assert counts(report) == (4, 2, 0, 2)
    parts = sorted(failure.part for failure in store.failures())
    assert len(set(parts)) == 2
    assert all(parts)


def test_same_bytes_at_two_paths_are_one_item_with_two_sources(store, tmp_path, ask, draw):
    one = draw(tmp_path / "in" / "one.png", 5)
    shutil.copy(one, tmp_path / "in" / "two.png")
    table = tmp_path / "labels.csv"
    table.write_text("path,patient_id,label\nin/one.png,P1,normal\nin/two.png,P2,effusion\n")
    report = store.ingest(ask(tmp_path / "in", metadata=(table,)))
    assert counts(report) == (2, 1, 1, 0)
    (item,) = store.items()
    assert len(item.paths) == 2
    said = {(row["field"], row["kept"], row["other"]) for row in store.conflicts()}
    assert ("label", "normal", "effusion") in said
    assert any(field == "patient" for field, _, _ in said)


def test_metadata_that_comes_later_joins_what_is_there(store, cohort, ask):
    store.ingest(ask(cohort / "images"))
    report = store.ingest(ask(cohort / "images", metadata=(cohort / "table.csv",)))
    assert report.images == 0
    assert report.reports == 60
    assert len(store.items("kind = 'image' and label = 'bright' and site = 'A'")) == 12


def test_a_file_that_was_replaced_is_not_shown_under_the_old_name(store, tmp_path, ask, draw):
    """By size and time it is known at once; a copy with another time is known by its bytes."""
    kept, replaced = (draw(tmp_path / "in" / f"{name}.png", 1 + n) for n, name in enumerate("ab"))
    store.ingest(ask(tmp_path / "in"))
    by_name = {Path(item.path).name: item.id for item in store.items()}
    picture = store.thumbnail(by_name["a.png"])
    draw(replaced, 99, bright=True)
    os.utime(kept, (1, 1))
    with Store.open(tmp_path / "store") as again:
        assert again.thumbnail(by_name["b.png"]) is None
        assert again.thumbnail(by_name["a.png"]) == picture
        again.ingest(ask(tmp_path / "in"))
        ids = {item.id for item in again.items()} - {by_name["b.png"]}
        assert again.thumbnail(by_name["b.png"]) is None
        assert all(again.thumbnail(id_) for id_ in ids)


def test_archives_are_entered(store, tmp_path, ask, draw):
    draw(tmp_path / "a.png", 1)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "deep/er/a.png")
        archive.writestr("readme.txt", "hello")
    report = store.ingest(ask(tmp_path / "export.zip"))
    assert counts(report) == (2, 1, 1, 0)
    (item,) = store.items()
    assert item.path.endswith("export.zip!/deep/er/a.png")
    assert store.thumbnail(item.id).startswith(b"\x89PNG")


def test_worker_processes_make_the_same_store(store, cohort, tmp_path, ask):
    store.ingest(ask(cohort / "images"))
    with Store.create(tmp_path / "other") as other:
        other.ingest(ask(cohort / "images", workers=2))
        query = Query(image=str(next((cohort / "images" / "p3").iterdir())), k=60)
        one, two = ({hit.item.path: hit.score for hit in s.search(query).hits} for s in (store, other))
    assert one == pytest.approx(two)


def test_a_second_writer_is_told_to_wait(store, cohort, ask):
    with store._workspace.catalog.writing(), Store.open(store.path) as second:
        with pytest.raises(StoreBusy, match="is writing to this store"):
            second.ingest(ask(cohort / "images"))
        assert second.status().images == 0


def test_wrong_requests_are_refused_before_anything_is_written(store, tmp_path, ask):
    with pytest.raises(NotFound, match="no such file or folder"):
        store.ingest(ask(tmp_path / "nowhere"))
    with pytest.raises(UnknownPlugin, match="installed:"):
        store.ingest(IngestRequest(paths=(tmp_path,), encoder=EncoderChoice(name="no-such")))
    assert store.status().sources == 0


def test_a_refused_ingest_leaves_no_trace_in_later_answers(store, cohort, tmp_path, ask):
    with pytest.raises(NotFound):
        store.ingest(ask(tmp_path / "nowhere"))
    (tmp_path / "bad.csv").write_bytes(b"path,label\n\xff\xfe,x\n")
    with pytest.raises(BadInputFile):
        store.ingest(ask(cohort / "images", metadata=(tmp_path / "bad.csv",)))
    assert store.status().spaces == ()
