"""What a radiologist's screen shows: every rule of rendering on small invented files."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from embedstore.contracts.record import WHOLE_CUT, Asset, Cut
from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.settings import Limits
from embedstore.testing.readers import BytesSource

from .dicom_files import bare_bytes, dataset, file_bytes, item

LIMITS = Limits()
RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def source(ds, syntax=ExplicitVRLittleEndian) -> BytesSource:
    return BytesSource(file_bytes(ds, syntax))


def read(data: BytesSource, want="display", part=0, cut=WHOLE_CUT, limits=LIMITS):
    reader = DicomReader(limits)
    found = [one for one in reader.describe(data, cut) if isinstance(one, Asset)]
    return reader.read(found[part], want)


def shown(pixels, **elements) -> np.ndarray:
    return read(source(dataset(pixels, **elements))).pixels[..., 0]


def linear(values, centre, width):
    """PS3.3 C.11.2.1.2.1, to 0..255."""
    return np.rint(np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255)


def lut(descriptor, entries):
    table = item(LUTDescriptor=descriptor)
    table[0].add_new("LUTData", "US", entries)
    return table


class TestGrey:
    def test_a_window_is_applied_to_rescaled_values(self):
        elements = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 60, "WindowWidth": 200}
        assert np.array_equal(shown(RAMP, **elements), linear(RAMP * 2.0 - 100, 60, 200))

    def test_the_first_of_several_windows_counts(self):
        elements = {"WindowCenter": [60, 200], "WindowWidth": [50, 400]}
        assert np.array_equal(shown(RAMP, **elements), linear(RAMP.astype(float), 60, 50))

    @pytest.mark.parametrize(
        "elements", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}]
    )
    def test_inversion(self, elements):
        window = {"WindowCenter": 128, "WindowWidth": 256}
        assert np.array_equal(shown(RAMP, **window, **elements), 255 - shown(RAMP, **window))

    def test_monochrome1_with_an_inverse_shape_is_inverted_once(self):
        window = {"WindowCenter": 128, "WindowWidth": 256, "PhotometricInterpretation": "MONOCHROME1"}
        assert np.array_equal(shown(RAMP, **window, PresentationLUTShape="INVERSE"), shown(RAMP, **window))

    @pytest.mark.parametrize("width", [0, -5, 0.5])
    def test_an_impossible_window_counts_as_none(self, width):
        assert np.array_equal(shown(RAMP, WindowCenter=10, WindowWidth=width), shown(RAMP))

    def test_without_a_window_the_middle_99_percent_fill_the_screen(self):
        pixels = np.full((20, 20), 1000, np.int16)
        pixels[:, :10] = 500
        pixels[0, 0] = 32000  # one hot pixel does not darken the rest
        found = shown(pixels)
        assert set(np.unique(found)) == {0, 255}
        assert found[5, 5] == 0
        assert found[5, 15] == 255

    def test_padding_takes_no_part_in_it(self):
        pixels = np.full((20, 20), -2000, np.int16)
        pixels[:, 10:15], pixels[:, 15:] = 100, 300
        found = shown(pixels, PixelPaddingValue=-2000)
        assert [found[0, 0], found[0, 12], found[0, 17]] == [0, 0, 255]

    def test_a_range_of_padding(self):
        pixels = np.full((20, 20), -2000, np.int16)
        pixels[:, 5:10], pixels[:, 10:15], pixels[:, 15:] = -1990, 100, 300
        found = shown(pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1980)
        assert [found[0, 12], found[0, 17]] == [0, 255]

    def test_eight_bits_without_a_window_are_shown_as_they_are(self):
        pixels = np.arange(20, 120, dtype=np.uint8).reshape(10, 10)
        assert np.array_equal(shown(pixels), pixels)

    def test_a_constant_image_is_black(self):
        assert shown(np.full((4, 4), 700, np.uint16)).max() == 0

    def test_overlays_in_unused_bits_are_not_pixels(self):
        """Before 2006 overlays lay in the bits above the stored ones (PS3.5 8.1.2)."""
        marked = RAMP | np.uint16(0xF000)
        elements = {"BitsStored": 12, "WindowCenter": 128, "WindowWidth": 256}
        assert np.array_equal(shown(marked, **elements), shown(RAMP, **elements))

    def test_signed_values_of_twelve_bits(self):
        pixels = np.array([[0x0FFF, 0x0800], [0x07FF, 0x0001]], np.uint16)
        ds = dataset(pixels, BitsStored=12, PixelRepresentation=1)
        assert read(source(ds), "raw").pixels[..., 0].tolist() == [[-1, -2048], [2047, 1]]

    def test_values_above_bit_0(self):
        """High Bit 15 with 12 bits stored: the values lie in the upper bits (retired, PS3.5 8.1.1)."""
        ds = dataset(RAMP << 4, BitsStored=12, HighBit=15)
        assert np.array_equal(read(source(ds), "raw").pixels[..., 0], RAMP)
        signed = dataset((RAMP.astype(np.int16) - 128) << 4, BitsStored=12, HighBit=15)
        assert np.array_equal(read(source(signed), "raw").pixels[..., 0], RAMP - 128.0)

    def test_tables(self):
        to_values = lut([256, 0, 16], list(range(0, 512, 2)))
        to_values[0].ModalityLUTType = "US"
        to_screen = lut([512, 0, 12], list(range(0, 4096, 8)))
        ds = dataset(RAMP, ModalityLUTSequence=to_values, VOILUTSequence=to_screen, RescaleSlope=5)
        ds.RescaleIntercept, ds.WindowCenter, ds.WindowWidth = 5, 1, 2  # tables come first
        assert np.array_equal(read(source(ds), "raw").pixels[..., 0], RAMP * 2.0)
        assert np.array_equal(read(source(ds)).pixels[..., 0], np.rint(RAMP * 16 / 4095 * 255))

    def test_a_table_as_bytes(self):
        """LUT Data may be OW, with one byte per entry when the entries have 8 bits."""
        table = item(LUTDescriptor=[256, 0, 8])
        table[0].add_new("LUTData", "OW", bytes(range(255, -1, -1)))
        assert np.array_equal(shown(RAMP, VOILUTSequence=table), 255 - RAMP)

    def test_a_damaged_table_counts_as_none(self):
        table = lut([256, 0, 8], [1, 2, 3])
        window = {"WindowCenter": 128, "WindowWidth": 256}
        assert np.array_equal(shown(RAMP, VOILUTSequence=table, **window), shown(RAMP, **window))

    def test_hounsfield_units_only_when_known(self):
        ct = dataset(RAMP, RescaleSlope=1, RescaleIntercept=-1024)
        assert np.array_equal(read(source(ct), "hu").pixels[..., 0], RAMP - 1024.0)
        for stranger in ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, {"RescaleType": "US"}):
            ds = dataset(RAMP, RescaleSlope=1, RescaleIntercept=-1024, **stranger)
            with pytest.raises(ReadFailure, match="Hounsfield"):
                read(source(ds), "hu")


class TestColour:
    PIXELS = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)

    def test_rgb(self):
        assert np.array_equal(read(source(dataset(self.PIXELS))).pixels, self.PIXELS)

    def test_planes(self):
        ds = dataset(self.PIXELS, PlanarConfiguration=1)
        ds.PixelData = np.ascontiguousarray(self.PIXELS.transpose(2, 0, 1)).tobytes()
        assert np.array_equal(read(source(ds)).pixels, self.PIXELS)

    def test_sixteen_bits_give_their_upper_half(self):
        deep = self.PIXELS.astype(np.uint16) << 8 | 0x7F
        assert np.array_equal(read(source(dataset(deep))).pixels, self.PIXELS)
        assert read(source(dataset(deep)), "raw").pixels.max() > 255

    def test_ybr_full(self):
        """PS3.3 C.7.6.3.1.2: Y 76, Cb 85, Cr 255 is red."""
        ds = dataset(np.full((2, 2, 3), (76, 85, 255), np.uint8), PhotometricInterpretation="YBR_FULL")
        red = read(source(ds)).pixels
        assert np.abs(red.astype(int) - (254, 0, 0)).max() <= 1

    def test_a_palette(self):
        indices = np.array([[0, 1], [2, 2]], np.uint8)
        ds = dataset(indices, PhotometricInterpretation="PALETTE COLOR")
        for name, entries in (("Red", [0, 65535, 256]), ("Green", [0, 0, 512]), ("Blue", [65535, 0, 768])):
            setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [3, 0, 16])
            setattr(ds, f"{name}PaletteColorLookupTableData", np.array(entries, "<u2").tobytes())
        assert read(source(ds)).pixels.tolist() == [[[0, 0, 255], [255, 0, 0]], [[1, 2, 3], [1, 2, 3]]]

    def test_a_missing_palette_is_a_failure(self):
        ds = dataset(np.zeros((2, 2), np.uint8), PhotometricInterpretation="PALETTE COLOR")
        with pytest.raises(ReadFailure, match="palette"):
            read(source(ds))

    def test_colour_has_no_hounsfield_units(self):
        with pytest.raises(ReadFailure, match="colour"):
            read(source(dataset(self.PIXELS)), "hu")


class TestFrames:
    PIXELS = np.stack([RAMP, RAMP + 1000, RAMP + 3000])

    def enhanced(self):
        def groups(slope, window, spacing=None):
            group = item(
                PixelValueTransformationSequence=item(RescaleSlope=slope, RescaleIntercept=0),
                FrameVOILUTSequence=item(WindowCenter=window[0], WindowWidth=window[1]),
            )[0]
            if spacing:
                group.PixelMeasuresSequence = item(PixelSpacing=spacing)
            return group

        ds = dataset(self.PIXELS, NumberOfFrames=3, SOPClassUID=EnhancedCTImageStorage)
        ds.WindowCenter, ds.WindowWidth = 1, 1
        ds.SharedFunctionalGroupsSequence = item(
            PixelMeasuresSequence=item(PixelSpacing=[0.5, 0.25]),
            FrameAnatomySequence=item(
                FrameLaterality="L", AnatomicRegionSequence=item(CodeValue="1", CodeMeaning="Knee")
            ),
        )
        ds.PerFrameFunctionalGroupsSequence = Sequence(
            [groups(1, (100, 200)), groups(2, (2200, 300)), groups(3, (9300, 400), [2, 3])]
        )
        return ds

    def test_each_frame_has_its_own_rescale_window_and_spacing(self):
        data = source(self.enhanced())
        for index, (slope, centre, width) in enumerate([(1, 100, 200), (2, 2200, 300), (3, 9300, 400)]):
            image = read(data, part=index)
            truth = linear(self.PIXELS[index] * float(slope), centre, width)
            assert np.array_equal(image.pixels[..., 0], truth)
            assert image.spacing_mm == ((2, 3) if index == 2 else (0.5, 0.25))

    def test_headers_of_frames(self):
        found = list(DicomReader().describe(source(self.enhanced())))
        assert [one.part for one in found] == ["frame/1", "frame/2", "frame/3"]
        assert [one.header.frame for one in found] == [1, 2, 3]
        assert {one.header.laterality for one in found} == {"L"}
        assert {one.header.body_part for one in found} == {"KNEE"}
        assert [one.header.spacing_row_mm for one in found] == [0.5, 0.5, 2]

    def test_one_volume_on_request(self):
        data = source(self.enhanced())
        image = read(data, cut=Cut(unit="image"))
        assert image.pixels.shape == (3, 16, 16, 1)
        assert np.array_equal(image.pixels[1], read(data, part=1).pixels)
        with pytest.raises(ReadFailure, match="frame by frame"):
            read(data, cut=Cut(unit="image"), limits=Limits(max_pixels=300))

    def test_one_frame_is_read_without_the_others(self):
        """The other frames cannot even be decoded; nor are their bytes read."""
        ds = dataset(np.zeros((3, 8, 8), np.uint8), NumberOfFrames=3)
        ds.PhotometricInterpretation = "MONOCHROME2"
        good = rle_frame(np.arange(64, dtype=np.uint8))
        ds.PixelData = encapsulate([b"\xff" * 40, good, b"\xff" * 40])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        data = source(ds, RLELossless)
        assert read(data, part=1).pixels.ravel().tolist() == list(range(64))
        with pytest.raises(ReadFailure, match="cannot be decoded"):
            read(data, part=0)

    def test_native_frames_are_found_by_their_place(self):
        frames = np.random.default_rng(1).integers(0, 255, (200, 64, 64)).astype(np.uint8)
        data = Counting(file_bytes(dataset(frames, NumberOfFrames=200)))
        assert np.array_equal(read(data, part=150).pixels[..., 0], frames[150])
        assert data.taken < data.size / 4

    def test_packed_bits(self):
        bits = np.random.default_rng(2).integers(0, 2, (3, 5, 7)).astype(np.uint8)
        ds = dataset(bits, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0)
        ds.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
        for index in range(3):
            assert np.array_equal(read(source(ds), part=index).pixels[..., 0], bits[index] * 255)


def rle_frame(values: np.ndarray) -> bytes:
    """One segment of literal runs (PS3.5 G)."""
    runs = b"".join(b"\x3f" + values[at : at + 64].tobytes() for at in range(0, len(values), 64))
    return (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + runs + b"\x80"


class Counting(BytesSource):
    """Counts the bytes that are read."""

    taken = 0

    def open(self):
        outer = self

        class Stream(io.BytesIO):
            def read(self, size=-1):
                data = super().read(size)
                outer.taken += len(data)
                return data

        return Stream(self.data)


class TestEncodings:
    def test_big_endian_and_deflated(self):
        ds = dataset(RAMP)
        big = dataset(RAMP)
        big.PixelData = RAMP.astype(">u2").tobytes()
        plain = file_bytes(ds)
        start = 144 + int.from_bytes(plain[140:144], "little")
        meta = file_bytes(ds, DeflatedExplicitVRLittleEndian)
        assert np.array_equal(read(source(big, ExplicitVRBigEndian), "raw").pixels[..., 0], RAMP)
        assert np.array_equal(read(BytesSource(meta), "raw").pixels[..., 0], RAMP)
        assert start < len(plain)

    def test_a_deflated_bomb_is_refused(self):
        """20 MB of zeros in 20 kB, for an image that may have 10,000 pixels."""
        meta = file_bytes(dataset(RAMP), DeflatedExplicitVRLittleEndian)
        start = 144 + int.from_bytes(meta[140:144], "little")
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        bomb = meta[:start] + packer.compress(bytes(20_000_000)) + packer.flush()
        with pytest.raises(ReadFailure, match="larger than the limit"):
            read(BytesSource(bomb), limits=Limits(max_pixels=10_000))

    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_neither_preamble_nor_meta_information(self, syntax):
        ds = dataset(RAMP)
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = RAMP.astype(">u2").tobytes()
        data = BytesSource(bare_bytes(ds, syntax))
        assert DicomReader().sniff(data.data[:4096])
        assert np.array_equal(read(data, "raw").pixels[..., 0], RAMP)

    def test_jpeg_cut_short_or_of_another_size_is_refused(self):
        from PIL import Image as Pillow

        out = io.BytesIO()
        Pillow.fromarray(np.full((16, 16), 90, np.uint8)).save(out, "JPEG")
        for frame, rows, reason in (
            (out.getvalue(), 16, None),
            (out.getvalue()[:-40], 16, "cut short"),
            (out.getvalue(), 24, "size that the header promises"),
        ):
            ds = dataset(np.zeros((rows, 16), np.uint8))
            ds.PixelData = encapsulate([frame])
            ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
            if reason is None:
                assert np.all(read(source(ds, JPEGBaseline8Bit)).pixels == 90)
                continue
            with pytest.raises(ReadFailure, match=reason):
                read(source(ds, JPEGBaseline8Bit))


class TestRefusals:
    def failure(self, ds, syntax=ExplicitVRLittleEndian, limits=LIMITS) -> str:
        with pytest.raises(ReadFailure) as caught:
            list(DicomReader(limits).describe(source(ds, syntax)))
        return caught.value.reason

    def test_pixel_data_shorter_than_promised(self):
        ds = dataset(RAMP)
        ds.Rows = 17
        assert "shorter than the header promises" in self.failure(ds)

    def test_beyond_the_limit_before_anything_is_allocated(self):
        ds = dataset(RAMP)
        ds.Rows = ds.Columns = 60_000
        assert "3600000000" not in self.failure(ds)
        assert "more than the limit" in self.failure(ds)

    def test_more_frames_than_the_file_can_hold(self):
        ds = dataset(RAMP)
        ds.NumberOfFrames = 100_000_000
        assert "shorter than the header promises" in self.failure(ds)

    @pytest.mark.parametrize("keyword", ["Rows", "Columns"])
    def test_no_pixels(self, keyword):
        ds = dataset(RAMP)
        setattr(ds, keyword, 0)
        assert "no pixels" in self.failure(ds)

    def test_an_image_class_without_pixel_data(self):
        ds = dataset(RAMP)
        del ds.PixelData
        assert "no pixel data" in self.failure(ds)

    def test_video_and_unknown_syntaxes(self):
        ds = dataset(RAMP)
        ds.PixelData = encapsulate([b"frames of a film"])
        ds["PixelData"].is_undefined_length = True
        assert "video" in self.failure(ds, "1.2.840.10008.1.2.4.102")
        assert "no decoder" in self.failure(ds, "1.2.840.10008.1.2.4.94")
