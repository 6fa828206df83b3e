"""The built-in readers keep the reader contract, and the contract catches readers that do not."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from embedstore.contracts.image import Image
from embedstore.contracts.record import WHOLE_CUT
from embedstore.discovery import READERS, find_plugin
from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.medmnist import MedMnistReader
from embedstore.readers.openi import OpenIReader
from embedstore.readers.raster import RasterReader
from embedstore.testing.readers import ReaderContract

SECRET = "GEHEIM"


def pattern(seed: int, *shape: int, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def png(pixels, **options) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


def dicom(seed: int, frames: int = 1) -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.3"
    ds.PatientName, ds.PatientID, ds.Modality = f"{SECRET}^NAME", f"{SECRET}-7", "US"
    ds.StudyDescription = f"{SECRET} study"
    ds.Rows, ds.Columns, ds.NumberOfFrames = 16, 20, frames
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -10
    ds.PixelData = pattern(seed, frames, 16, 20, dtype=np.uint16).tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, "1.2.3"
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def openi(findings: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR7"/>'
        "<MedlineCitation><Article><Abstract>"
        f'<AbstractText Label="FINDINGS">{findings}</AbstractText></Abstract></Article></MedlineCitation>'
        "<MeSH><major>normal</major></MeSH></eCitation>"
    ).encode()


class TestDicom(ReaderContract):
    make = DicomReader
    secrets = (SECRET,)

    def sample(self):
        return dicom(1)

    def other(self):
        return dicom(2)


class TestDicomFrames(TestDicom):
    def sample(self):
        return dicom(1, frames=3)

    def other(self):
        return dicom(2, frames=3)


class TestPng(ReaderContract):
    make = RasterReader

    def sample(self):
        return png(pattern(1, 12, 9))

    def other(self):
        return png(pattern(2, 12, 9))


class TestDeepPng(ReaderContract):
    make = RasterReader

    def sample(self):
        return png(pattern(1, 12, 9, dtype=np.uint16) * 100)

    def other(self):
        return png(pattern(2, 12, 9, dtype=np.uint16) * 100)


class TestJpeg(ReaderContract):
    make = RasterReader

    def sample(self):
        return self.jpeg(1)

    def other(self):
        return self.jpeg(2)

    def jpeg(self, seed: int) -> bytes:
        out = io.BytesIO()
        Pillow.fromarray(pattern(seed, 24, 16, 3)).save(out, "JPEG", comment=SECRET)
        return out.getvalue()


class TestTiffPages(ReaderContract):
    make = RasterReader

    def sample(self):
        return self.tiff(1)

    def other(self):
        return self.tiff(2)

    def tiff(self, seed: int) -> bytes:
        first, second = Pillow.fromarray(pattern(seed, 9, 7)), Pillow.fromarray(pattern(seed + 9, 5, 11, 3))
        out = io.BytesIO()
        first.save(out, "TIFF", save_all=True, append_images=[second])
        return out.getvalue()


class TestMedMnist(ReaderContract):
    make = MedMnistReader

    def sample(self):
        return npz(train_images=pattern(1, 4, 6, 5), train_labels=np.arange(4)[:, None])

    def other(self):
        return npz(train_images=pattern(2, 4, 6, 5), train_labels=np.arange(4)[:, None])


class TestOpenI(ReaderContract):
    make = OpenIReader

    def sample(self):
        return openi("The lungs are clear.")

    def other(self):
        return openi("A left effusion.")


@pytest.mark.parametrize(
    ("name", "reader"),
    [("dicom", DicomReader), ("raster", RasterReader), ("medmnist", MedMnistReader), ("openi", OpenIReader)],
)
def test_built_ins_are_found_by_entry_point(name, reader):
    assert find_plugin(READERS, name).load() is reader


# Deliberately broken readers: each is the raster reader with one promise broken.


class ClaimsEverything(RasterReader):
    def sniff(self, head):
        return True


class SniffsLong(RasterReader):
    def sniff(self, head):
        return head[5000] > 0 if len(head) > 5000 else head[:4][3] == ord("G")


class SamePartTwice(RasterReader):
    def describe(self, source, cut=WHOLE_CUT):
        for asset in super().describe(source, cut):
            yield asset
            yield asset


class SomeoneElses(RasterReader):
    def describe(self, source, cut=WHOLE_CUT):
        for asset in super().describe(source, cut):
            yield replace(asset, reader="another")


class WithoutSize(RasterReader):
    def describe(self, source, cut=WHOLE_CUT):
        for asset in super().describe(source, cut):
            yield replace(asset, header=replace(asset.header, rows=None))


class Transposed(RasterReader):
    def read(self, asset, want="display"):
        image = super().read(asset, want)
        return replace(image, pixels=np.ascontiguousarray(image.pixels.swapaxes(0, 1)))


class WrongType(RasterReader):
    def read(self, asset, want="display"):
        image = super().read(asset, want)
        return replace(image, pixels=image.pixels.astype(np.float64))


class WithoutChannels(RasterReader):
    def read(self, asset, want="display"):
        image = super().read(asset, want)
        return replace(image, pixels=image.pixels[..., 0])


class AnotherIntensity(RasterReader):
    def read(self, asset, want="display"):
        return replace(super().read(asset, want), intensity="raw" if want == "display" else "display")


class Remembers(RasterReader):
    """Keeps what it read by name alone."""

    def __init__(self, limits):
        super().__init__(limits)
        self.kept = {}

    def read(self, asset, want="display"):
        key = (asset.source.path, asset.part, want)
        if key not in self.kept:
            self.kept[key] = super().read(asset, want)
        return replace(self.kept[key], pixels=self.kept[key].pixels.copy())


class HandsOutItsMemory(Remembers):
    def read(self, asset, want="display"):
        super().read(asset, want)
        return self.kept[(asset.source.path, asset.part, want)]


class WithoutLimits(RasterReader):
    def __init__(self, limits):
        super().__init__()


class AnyPart(RasterReader):
    def read(self, asset, want="display"):
        return super().read(replace(asset, part="image"), want)


class RaisesItsOwn(RasterReader):
    def describe(self, source, cut=WHOLE_CUT):
        try:
            yield from super().describe(source, cut)
        except ReadFailure as failure:
            raise ValueError(failure.reason) from None


class Warns(RasterReader):
    def describe(self, source, cut=WHOLE_CUT):
        try:
            yield from super().describe(source, cut)
        except ReadFailure:
            warnings.warn("an odd file", UserWarning, stacklevel=2)
            raise


class TalksTooMuch(RasterReader):
    def describe(self, source, cut=WHOLE_CUT):
        try:
            yield from super().describe(source, cut)
        except ReadFailure:
            raise ReadFailure("it failed\nand here is why") from None


class FillsUp(RasterReader):
    """Takes what is there for the whole."""

    def read(self, asset, want="display"):
        try:
            return super().read(asset, want)
        except ReadFailure:
            shape = (asset.header.rows, asset.header.columns, 1)
            return Image(pixels=np.zeros(shape, np.uint8), intensity=want)


class LeavesOpen(RasterReader):
    def describe(self, source, cut=WHOLE_CUT):
        source.open()
        return super().describe(source, cut)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (ClaimsEverything, "test_it_knows_its_own_files_and_no_others"),
        (SniffsLong, "test_it_knows_its_own_files_and_no_others"),
        (SamePartTwice, "test_items_are_complete_and_stable"),
        (SomeoneElses, "test_items_are_complete_and_stable"),
        (WithoutSize, "test_items_are_complete_and_stable"),
        (Transposed, "test_pixels_have_the_promised_form"),
        (WrongType, "test_pixels_have_the_promised_form"),
        (WithoutChannels, "test_pixels_have_the_promised_form"),
        (AnotherIntensity, "test_pixels_have_the_promised_form"),
        (Remembers, "test_nothing_is_remembered_of_another_file"),
        (HandsOutItsMemory, "test_reading_is_repeatable_and_hands_over_the_pixels"),
        (WithoutLimits, "test_limits_are_kept"),
        (AnyPart, "test_a_part_that_is_not_there_is_a_failure"),
        (RaisesItsOwn, "test_damage_is_a_failure_and_nothing_else"),
        (Warns, "test_damage_is_a_failure_and_nothing_else"),
        (TalksTooMuch, "test_damage_is_a_failure_and_nothing_else"),
        (FillsUp, "test_a_file_cut_in_half_is_not_taken_for_whole"),
        (LeavesOpen, "test_streams_are_closed"),
    ],
)
def test_a_broken_reader_is_caught(broken, check):
    suite = type("Broken", (TestPng,), {"make": broken})
    with pytest.raises((AssertionError, IndexError, TypeError, ValueError, UserWarning)):
        suite.checks()[check](suite())
