"""PNG, JPEG, JPEG 2000, TIFF, BMP and WebP: every mode, pages, orientation, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps, PngImagePlugin

from embedstore.contracts.record import Asset
from embedstore.errors import ReadFailure
from embedstore.readers.raster import RasterReader
from embedstore.settings import Limits
from embedstore.testing.readers import BytesSource

GREY = np.random.default_rng(1).integers(0, 256, (9, 14)).astype(np.uint8)
COLOUR = np.random.default_rng(2).integers(0, 256, (9, 14, 3)).astype(np.uint8)


def saved(picture, kind="PNG", **options) -> BytesSource:
    out = io.BytesIO()
    picture = Pillow.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(out, kind, **options)
    return BytesSource(out.getvalue())


def tiff(*pages, byteorder="<", **options) -> BytesSource:
    out = io.BytesIO()
    with tifffile.TiffWriter(out, byteorder=byteorder) as writer:
        for page in pages:
            writer.write(page, **options)
    return BytesSource(out.getvalue())


def assets(source, limits=None) -> list[Asset]:
    reader = RasterReader(limits or Limits())
    assert reader.sniff(source.data[:4096])
    return list(reader.describe(source))


def read(source, want="display", part=0):
    asset = assets(source)[part]
    image = RasterReader().read(asset, want)
    assert image.pixels.shape[:2] == (asset.header.rows, asset.header.columns)
    return image.pixels


def refusal(source, limits=None) -> str:
    def read_all():
        for asset in assets(source, limits):
            RasterReader(limits or Limits()).read(asset)

    with pytest.raises(ReadFailure) as caught:
        read_all()
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_eight_bits_are_as_they_are(kind):
    assert np.array_equal(read(saved(GREY, kind))[..., 0], GREY)
    assert np.array_equal(read(saved(COLOUR, kind)), COLOUR)


def test_webp():
    assert np.array_equal(read(saved(COLOUR, "WEBP", lossless=True)), COLOUR)


def test_jpeg_is_that_of_pillow():
    source = saved(COLOUR, "JPEG", quality=90)
    with Pillow.open(io.BytesIO(source.data)) as theirs:
        assert np.array_equal(read(source), np.asarray(theirs))


def test_one_bit_is_black_and_white():
    bits = Pillow.fromarray((GREY > 100).astype(np.uint8) * 255).convert("1")
    assert np.array_equal(read(saved(bits))[..., 0], (GREY > 100) * 255)


def test_sixteen_bits_are_stretched_and_raw_is_kept():
    """12 bits in 16, as radiographs are often exported: shown, not black."""
    deep = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    shown = read(saved(deep))[..., 0]
    assert (shown.min(), shown.max()) == (0, 255)
    assert abs(int(shown[32, 0]) - 128) <= 2
    assert np.array_equal(read(saved(deep), "raw")[..., 0], deep)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_deep_tiff(dtype, byteorder):
    values = (np.arange(600).reshape(20, 30) * 3 + 5).astype(dtype)
    source = tiff(values.astype(np.dtype(dtype).newbyteorder(byteorder)), byteorder=byteorder)
    raw = read(source, "raw")
    assert raw.dtype == np.float32
    assert np.array_equal(raw[..., 0], values)
    assert read(source).max() == 255


def test_deep_colour():
    deep = COLOUR.astype(np.uint16) << 8 | 99
    assert np.array_equal(read(tiff(deep, photometric="rgb")), COLOUR)
    assert np.array_equal(
        read(tiff(deep.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")), COLOUR
    )
    unit = COLOUR.astype(np.float32) / 255
    assert np.array_equal(read(tiff(unit, photometric="rgb")), COLOUR)


def test_white_is_zero():
    values = np.arange(200, dtype=np.uint16).reshape(10, 20)
    raw = read(tiff(values, photometric="miniswhite"), "raw")[..., 0]
    assert np.array_equal(raw, 65535 - values.astype(np.float32))
    assert np.array_equal(read(tiff(GREY, photometric="miniswhite"))[..., 0], 255 - GREY)


def test_palettes():
    picture = Pillow.fromarray(COLOUR).quantize(16)
    assert np.array_equal(read(saved(picture)), np.asarray(picture.convert("RGB")))


def test_transparency_lies_on_black():
    alpha = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    assert np.array_equal(read(saved(alpha)), COLOUR)
    alpha[..., 3] = 0
    assert read(saved(alpha)).max() == 0
    alpha[..., 3] = 51
    assert np.abs(read(saved(alpha)).astype(int) - COLOUR * 0.2).max() <= 0.5
    grey = np.dstack([GREY, np.zeros_like(GREY)])
    assert read(saved(grey)).max() == 0


@pytest.mark.parametrize("deep", [np.uint8, np.uint16])
def test_what_the_extra_channel_of_a_tiff_is(deep):
    """Transparency to be applied, applied already, or a channel of its own: the same at every depth."""
    full = np.iinfo(deep).max
    colour = COLOUR.astype(deep) * (full // 255)
    clear = np.full((*GREY.shape, 1), full // 5, deep)
    dimmed = (colour // 5).astype(deep)

    def seen(values, kind, photometric="rgb"):
        stored = np.concatenate([values, clear], axis=2)
        return read(tiff(stored, photometric=photometric, planarconfig="contig", extrasamples=[kind]))

    for found, said in (
        (seen(colour, "unassalpha"), COLOUR * 0.2),
        (seen(dimmed, "assocalpha"), COLOUR * 0.2),
        (seen(colour, "unspecified"), COLOUR),
    ):
        assert np.abs(found.astype(float) - said).max() <= 2
    grey = np.full((*GREY.shape, 1), full, deep)
    assert {*np.unique(seen(grey // 5, "assocalpha", "minisblack")[..., :1])} <= (
        {51} if deep is np.uint8 else {0}
    )
    if deep is np.uint16:  # Pillow does not take such a picture of 8 bits
        black = np.full((*GREY.shape, 1), full, deep)
        assert seen(black, "unassalpha", "miniswhite").max() == 0


def test_cmyk():
    picture = Pillow.fromarray(COLOUR).convert("CMYK")
    assert np.array_equal(read(saved(picture, "TIFF")), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_orientation_is_that_of_pillow(orientation, kind):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    source = saved(GREY, kind, exif=exif)
    with Pillow.open(io.BytesIO(source.data)) as picture:
        assert np.array_equal(read(source)[..., 0], np.asarray(ImageOps.exif_transpose(picture)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_deep_tiff(orientation):
    deep = GREY.astype(np.uint16) * 100
    source = tiff(deep, extratags=[(274, "H", 1, orientation, True)])
    shallow = tiff(GREY, extratags=[(274, "H", 1, orientation, True)])
    assert np.array_equal(read(source, "raw"), read(shallow, "raw") * 100)


def test_pages():
    source = tiff(GREY, GREY.astype(np.uint16) * 7, COLOUR)
    assert [asset.part for asset in assets(source)] == ["frame/1", "frame/2", "frame/3"]
    assert [asset.header.frame for asset in assets(source)] == [1, 2, 3]
    assert np.array_equal(read(source, part=0)[..., 0], GREY)
    assert np.array_equal(read(source, "raw", part=1)[..., 0], GREY * 7.0)
    assert np.array_equal(read(source, part=2), COLOUR)


def test_thumbnails_are_no_pages():
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(GREY)
        writer.write(GREY[::3, ::3], subfiletype=1)
    source = BytesSource(out.getvalue())
    assert [asset.part for asset in assets(source)] == ["image"]
    assert np.array_equal(read(source)[..., 0], GREY)


def test_slides_are_refused(shared_data):
    for name in ("CMU-1-Small-Region.svs", "cmu_pyramid_tiled.tiff"):
        assert "whole-slide" in refusal(BytesSource((shared_data / "wsi" / name).read_bytes()))


def test_a_pyramid_is_refused():
    big = np.random.default_rng(3).integers(0, 255, (256, 320, 3)).astype(np.uint8)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(big, subifds=1, tile=(64, 64), photometric="rgb")
        writer.write(big[::2, ::2], subfiletype=1, tile=(64, 64), photometric="rgb")
    assert "whole-slide" in refusal(BytesSource(out.getvalue()))


def test_metadata_stays_in_the_file():
    """Names and dates in comments, EXIF and text chunks of exported images."""
    exif = Pillow.Exif()
    exif[0x010E], exif[0x9286] = "GEHEIM^NAME", "GEHEIM"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "GEHEIM")
    for source in (
        saved(COLOUR, "JPEG", exif=exif, comment="GEHEIM"),
        saved(COLOUR, pnginfo=text, exif=exif),
    ):
        assert b"GEHEIM" in source.data
        assert "GEHEIM" not in repr([asset.header for asset in assets(source)])


def png_header(columns, rows, depth=8, colour=0) -> bytes:
    """A PNG that promises a size and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(("columns", "rows"), [(60_000, 60_000), (20_000, 20_000), (2**31 - 1, 1)])
def test_bombs_are_refused_by_their_header(columns, rows):
    reason = refusal(BytesSource(png_header(columns, rows, depth=1)))
    assert "more" in reason
    assert "limit" in reason


def test_the_limit_is_ours():
    assert "limit" in refusal(saved(GREY), Limits(max_pixels=100))
    assert "limit" in refusal(tiff(GREY), Limits(max_pixels=100))
    assert "limit" in refusal(tiff(GREY, GREY, GREY), Limits(max_members=2))


@pytest.mark.parametrize(("columns", "rows"), [(0, 0), (0, 10), (10, 0)])
def test_no_pixels_are_refused(columns, rows):
    assert refusal(BytesSource(png_header(columns, rows)))


def test_cut_and_damaged_files_are_refused():
    for source in (saved(COLOUR), saved(COLOUR, "JPEG"), saved(COLOUR, "BMP"), tiff(COLOUR)):
        half = BytesSource(source.data[: len(source.data) * 2 // 3])
        assert "damaged or cut short" in refusal(half)
    assert refusal(BytesSource(png_header(30, 30)))


def test_a_photograph_has_no_hounsfield_units():
    with pytest.raises(ReadFailure, match="Hounsfield"):
        read(saved(GREY), "hu")


class TestDepth:
    """Pillow clips deep values to 8 bits where it converts; what is read here is what was written."""

    @pytest.mark.parametrize("options", [{"no_jp2": True}, {}], ids=["code stream", "boxes"])
    def test_jpeg_2000(self, options):
        for pixels in (GREY, COLOUR):
            assert np.array_equal(
                read(saved(pixels, "JPEG2000", irreversible=False, **options)).squeeze(), pixels
            )

    @pytest.mark.parametrize("bits", [10, 12, 16])
    def test_deep_jpeg_2000_keeps_its_values(self, bits):
        """Pillow shifts 12 bits up to 16."""
        import imagecodecs

        deep = (np.arange(40 * 50).reshape(40, 50) * (2**bits - 1) // 1999).astype(np.uint16)
        data = imagecodecs.jpeg2k_encode(deep, level=0, bitspersample=bits, codecformat="jp2")
        source = BytesSource(bytes(data))
        assert np.array_equal(read(source, "raw")[..., 0], deep)
        shown = read(source)[..., 0]
        assert (shown.min(), shown.max()) == (0, 255)
        assert assets(source)[0].header.extra["display"] == "percentiles 0.5 to 99.5"

    @pytest.mark.parametrize(
        ("pixels", "rule"),
        [
            (GREY, "8 bits as stored"),
            (COLOUR, "colour as stored"),
            (np.dstack([COLOUR, GREY]), "colour as stored, on black"),
            (GREY.astype(np.uint16) * 200, "percentiles 0.5 to 99.5"),
        ],
    )
    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_the_rule_is_told_from_the_header(self, kind, pixels, rule):
        assert assets(saved(pixels, kind))[0].header.extra["display"] == rule

    def test_rules_of_other_kinds(self):
        one = Pillow.fromarray(GREY > 99)
        assert assets(saved(one))[0].header.extra["display"] == "1 bits as stored"
        assert assets(saved(Pillow.fromarray(COLOUR).quantize(16)))[0].header.extra["display"] == "palette"
        deep = tiff(COLOUR.astype(np.uint16), photometric="rgb")
        assert assets(deep)[0].header.extra["display"] == "colour, upper 8 of 16 bits"
        unit = tiff(COLOUR.astype(np.float32), photometric="rgb")
        assert assets(unit)[0].header.extra["display"].startswith("colour, 0 to 1")

    def test_an_animation_tells_how_long_it_is(self):
        frames = [Pillow.fromarray(COLOUR), Pillow.fromarray(255 - COLOUR)]
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
            source = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
            assert assets(source)[0].header.extra["NumberOfFrames"] == 2
            assert np.array_equal(read(source), COLOUR)
        assert "NumberOfFrames" not in assets(saved(COLOUR))[0].header.extra


def profile() -> bytes:
    """sRGB with its red and blue colorants exchanged."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(made[at : at + 4]): at for at in range(132, 132 + 12 * 20, 12)}
    red, blue = slice(tags[b"rXYZ"] + 4, tags[b"rXYZ"] + 12), slice(tags[b"bXYZ"] + 4, tags[b"bXYZ"] + 12)
    made[red], made[blue] = made[blue], made[red]
    return bytes(made)


class TestColour:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("PNG", {}),
            ("TIFF", {}),
            ("WEBP", {"lossless": True}),
            ("JPEG", {"quality": 100, "subsampling": 0}),
        ],
    )
    def test_profiles_become_srgb(self, kind, options):
        flat = np.broadcast_to(np.array([200, 90, 30], np.uint8), (16, 16, 3))
        source = saved(np.ascontiguousarray(flat), kind, icc_profile=profile(), **options)
        assert np.abs(read(source).astype(int) - flat[..., ::-1]).max() <= 3
        assert np.abs(read(source, "raw") - flat).max() <= 2
        assert assets(source)[0].header.extra["icc"] == "converted"

    def test_transparency_is_no_colour(self):
        clear = np.dstack([COLOUR, np.full_like(GREY, 255)])
        source = saved(clear, icc_profile=profile())
        assert np.abs(read(source).astype(int) - COLOUR[..., ::-1]).max() <= 2

    def test_a_broken_profile_is_ignored_and_said(self):
        for kind in ("PNG", "TIFF"):
            source = saved(COLOUR, kind, icc_profile=profile()[:300])
            assert np.array_equal(read(source), COLOUR)
            assert assets(source)[0].header.extra["icc"] == "ignored: the profile is cut short"

    def test_greys_and_deep_colours_are_left_alone(self):
        assert np.array_equal(read(saved(GREY, icc_profile=profile()))[..., 0], GREY)
        deep = tiff(COLOUR.astype(np.uint16) << 8, photometric="rgb", iccprofile=profile())
        assert np.array_equal(read(deep), COLOUR)
        assert "more than 8 bits" in assets(deep)[0].header.extra["icc"]

    def test_cmyk_and_ycck(self):
        """Adobe stores ink inverted; without a profile, RGB is (255 - C)(255 - K) / 255."""
        ink = Pillow.new("CMYK", (16, 16), (40, 90, 200, 30))
        by_hand = [(255 - c) * (255 - 30) / 255 for c in (40, 90, 200)]
        source = saved(ink, "JPEG", quality=100)
        assert assets(source)[0].header.extra["display"] == "CMYK to RGB"
        assert np.abs(read(source)[0, 0] - by_hand).max() <= 3


def test_a_draft_of_a_jpeg_is_smaller_and_nearly_the_same_and_of_all_else_the_picture():
    rows, columns = np.mgrid[:1000, :2000]
    smooth = np.stack([rows / 4, columns / 8, (rows + columns) / 12], -1).astype(np.uint8)
    orientation = Pillow.Exif()
    orientation[0x0112] = 6
    source = saved(smooth, "JPEG", quality=95, exif=orientation)
    asset = assets(source)[0]
    whole, draft = (RasterReader().read(asset, want) for want in ("display", "draft"))
    assert (draft.intensity, draft.pixels.dtype) == ("draft", np.uint8)
    assert (whole.pixels.shape, draft.pixels.shape) == ((2000, 1000, 3), (1000, 500, 3))
    halved = whole.pixels.reshape(1000, 2, 500, 2, 3).mean((1, 3))
    assert np.abs(draft.pixels - halved).max() <= 7
    for other in (saved(smooth, "PNG"), saved(smooth[:500, :600], "JPEG")):
        asset = assets(other)[0]
        one, same = (RasterReader().read(asset, want).pixels for want in ("display", "draft"))
        assert np.array_equal(one, same)
