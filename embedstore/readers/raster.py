"""The raster reader: PNG, JPEG, JPEG 2000, TIFF, BMP and WebP."""

from __future__ import annotations

from collections.abc import Iterator

from embedstore.contracts.image import Image, Intensity
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut, Header, Report, Skip, Source
from embedstore.errors import ReadFailure
from embedstore.readers import raster_tiff
from embedstore.readers.raster_pillow import PictureFacts, picture_facts, read_picture
from embedstore.readers.raster_pixels import as_image
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

_BITMAP_HEADERS = tuple(size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124))
_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",  # JPEG 2000: boxes (T.800 I.5.1), or the code stream alone
    b"\xff\x4f\xff\x51\x00",
)
_WHOLE = "image"
_FRAME = "frame/"


class RasterReader:
    """Reads PNG, JPEG, JPEG 2000, BMP and WebP by Pillow and TIFF by tifffile and Pillow, chosen by content.

    Parts: "image", and "frame/N" for the pages of a TIFF that has several, N the page's place from 1. Only
    the first picture of an animation is read; `attr.NumberOfFrames` tells that there are more. Whole-slide
    images are refused. Nothing but size, depth and colour is taken into the header: EXIF, comments and text
    chunks of exported images carry names and dates of patients. How pixels become "display" values is said in
    `raster_pixels`, and by which of its rules in `attr.display` and `attr.icc`.
    """

    name = "raster"
    drafts = True

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits

    def sniff(self, head: bytes) -> bool:
        """The magic numbers of the formats."""
        if head.startswith(_MAGIC) or raster_tiff.sniff(head):
            return True
        bitmap = head[:2] == b"BM" and len(head) >= 18 and head[14:18] in _BITMAP_HEADERS
        return bitmap or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterator[Asset | Report | Skip]:
        """One asset per picture or page. Raises ReadFailure; no pixel is decoded."""
        with source.open() as stream:
            tiff = raster_tiff.sniff(stream.read(16))
            stream.seek(0)
            pages = (
                raster_tiff.page_facts(stream, self._limits)
                if tiff
                else {1: picture_facts(stream, self._limits)}
            )
        if len(pages) == 1:
            yield self._asset(source, _WHOLE, None, *pages.values())
            return
        for number, page in pages.items():
            yield self._asset(source, f"{_FRAME}{number}", number, page)

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """One picture or page: uint8 for "display" and "draft", float32 for "raw". Raises ReadFailure."""
        managed = want in ("display", "draft")
        with asset.source.open() as stream:
            tiff = raster_tiff.sniff(stream.read(16))
            stream.seek(0)
            if tiff:
                values = raster_tiff.read_page(stream, _page_number(asset.part), self._limits, managed)
            elif asset.part != _WHOLE:
                raise ReadFailure("there is no such page in the file")
            else:
                values = read_picture(stream, self._limits, managed, draft=want == "draft")
        return as_image(values, want)

    def _asset(self, source: Source, part: str, frame: int | None, page: PictureFacts) -> Asset:
        header = Header(frame=frame, rows=page.rows, columns=page.columns, extra=page.extra)
        return Asset(source=source, part=part, reader=self.name, header=header)


def _page_number(part: str) -> int | None:
    if part == _WHOLE:
        return None
    number = part.removeprefix(_FRAME)
    if not (part.startswith(_FRAME) and number.isascii() and number.isdigit()):
        raise ReadFailure("there is no such page in the file")
    return int(number)
