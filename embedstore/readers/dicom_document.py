"""Text of a document that a DICOM object encapsulates: plain text, or the body of a CDA document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from pydicom.dataset import Dataset

from embedstore.errors import ReadFailure
from embedstore.readers.dicom_charset import printable_lines
from embedstore.readers.dicom_values import element, integer, text
from embedstore.settings import Limits

_CDA = "{urn:hl7-org:v3}"
_BLOCKS = frozenset(("paragraph", "item", "tr", "br", "caption", "list", "table", "title", "text", "section"))
_STRUCTURE = frozenset(("component", "structuredBody", "nonXMLBody", "section"))
_CELLS = frozenset(("td", "th"))
_SPACES = re.compile(r"[ \t\xa0]+")
_DOCUMENT = 0x00420011
_DAMAGED = "the encapsulated document is damaged"


def document_text(ds: Dataset, limits: Limits) -> str:
    """The document's text; "" for formats that are not text (PDF, STL, ...).

    Of CDA (HL7 v3) the title and the narrative of the sections in their order; what its header says of
    persons is left out. Raises ReadFailure for a damaged document and one that is not held by the header.
    """
    kind = (text(ds, "MIMETypeOfEncapsulatedDocument") or "").lower().partition(";")[0].strip()
    if kind not in ("text/plain", "text/xml", "application/xml"):
        return ""
    value = element(ds, "EncapsulatedDocument")
    if not isinstance(value, bytes):
        raw = ds.get_item(_DOCUMENT, keep_deferred=True)
        if getattr(raw, "length", 0):  # too long to have been read with the header
            raise ReadFailure(
                f"the encapsulated document is beyond the limit of {limits.max_text_chars:,} characters"
            )
        return ""
    length = integer(ds, "EncapsulatedDocumentLength")
    data = value[:length] if length and length <= len(value) else value.rstrip(b"\0")
    return printable_lines(_plain(data)) if kind == "text/plain" else _narrative(data)


def _plain(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _narrative(data: bytes) -> str:
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise ReadFailure(_DAMAGED) from None
    pieces: list[str] = []
    for part in ("title", "component"):
        node = root.find(_CDA + part)
        if node is not None:
            pieces += [*_pieces(node), "\n"]
    lines = (_SPACES.sub(" ", line).strip() for line in "".join(pieces).split("\n"))
    return printable_lines("\n".join(line for line in lines if line))


def _pieces(top: Element) -> Iterator[str]:
    """Text of the narrative in document order, depth first without recursion: the depth is the document's."""
    stack: list[tuple[Element, str, bool]] = [(top, "", False)]
    while stack:
        node, parent, closing = stack.pop()
        name = str(node.tag).removeprefix(_CDA)
        if name in _BLOCKS:
            yield "\n"
        elif name in _CELLS:
            yield " "
        if closing:
            yield _one_line(node.tail) if _speaks(parent) else ""
            continue
        if _wanted(node, name, parent):
            yield _one_line(node.text) if _speaks(name) else ""
            stack.append((node, parent, True))
            stack += [(child, name, False) for child in reversed(node)]
        elif _speaks(parent):
            yield _one_line(node.tail)


def _one_line(found: str | None) -> str:
    return (found or "").replace("\n", " ")


def _speaks(name: str) -> bool:
    """Whether text directly inside this element is narrative."""
    return name not in _STRUCTURE and name != ""


def _wanted(node: Element, name: str, parent: str) -> bool:
    if name == "text" and node.get("representation") == "B64":
        return False
    return parent not in _STRUCTURE or name in _STRUCTURE or name in ("title", "text")
