"""What to say of a file that no reader recognises."""

from __future__ import annotations

import re

from embedstore.errors import ReadFailure

_IMAGE_SUFFIX = re.compile(
    r"\.(dcm|dicom|ima|png|jpe?g?|jp2|tiff?|bmp|webp|gif|npz|nii(\.gz)?|svs|ndpi|mrxs|scn|nrrd|nhdr|mha|mhd)"
)
_UNSUPPORTED_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "GIF images are"),
    (b"\x00\x00\x00\x0cjP  ", "bare JPEG 2000 images are"),
    (b"\xff\x4f\xff\x51", "bare JPEG 2000 code streams are"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 files are"),
    (b"\x93NUMPY", "single .npy arrays are"),
    (b"8BPS", "Photoshop images are"),
    (b"SIMPLE  =", "FITS images are"),
)
_DOCUMENTS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "an RTF document"),
    (b"PK\x03\x04", "a document or program package"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"PAR1", "a Parquet table"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document"),
)
_NOT_YET = "not supported by this version"


def unread(head: bytes, suffix: str) -> str:
    """The reason to skip a file that is rightly no image.

    head: its first bytes. Raises ReadFailure for image formats that are not read yet, for a file whose
    suffix claims an image but whose content is none, and for content that nothing is known about.
    """
    suffix = suffix.lower()
    for magic, what in _UNSUPPORTED_IMAGES:
        if head.startswith(magic):
            raise ReadFailure(f"{what} {_NOT_YET}")
    kind = _document(head)
    if kind == "plain text" and suffix in (".csv", ".tsv"):
        kind = "a table"
    if _IMAGE_SUFFIX.fullmatch(suffix):
        content = f"{kind} named {suffix}" if kind else f"not a {suffix} file, or damaged at its beginning"
        raise ReadFailure(f"{content}: the content is no image that can be read")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) and suffix == ".zip":
        raise ReadFailure("an archive inside an archive is not opened; unpack it first")
    if kind:
        return f"not an image ({kind})"
    raise ReadFailure("unknown kind of file; if it is an image, its format is not supported by this version")


def _document(head: bytes) -> str | None:
    """What kind of document it is, or None when it looks like binary data of no known kind."""
    for magic, what in _DOCUMENTS:
        if head.startswith(magic):
            return what
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive"
    if not _is_text(head):
        return None
    start = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")[:200].lower()
    if start.startswith(("<!doctype html", "<html")):
        return "an HTML page"
    if start.startswith(("<?xml", "<")):
        return "an XML document"
    if start.startswith(("{", "[")):
        return "JSON"
    return "plain text"


def _is_text(head: bytes) -> bool:
    """No control characters besides white space: true of ASCII, Latin and UTF-8 text alike."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    return not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
