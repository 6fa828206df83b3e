"""Reports of the Indiana University chest collection (OpenI; Demner-Fushman et al. 2016), one XML each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from embedstore.contracts.image import Image, Intensity
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut, Header, Report, Scalar, Skip, Source
from embedstore.errors import ReadFailure
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

_SECTIONS = ("COMPARISON", "INDICATION", "FINDINGS", "IMPRESSION")
_ROOT = re.compile(rb"<eCitation[\s>]")
_MOST_BYTES = 16 << 20


class OpenIReader:
    """Reads the report of an OpenI XML file as one Report, part "report".

    The text is the sections COMPARISON, INDICATION, FINDINGS and IMPRESSION, each introduced by its name.
    label is "normal" when that is the only MeSH heading, else "abnormal" (None without headings);
    `extra["mesh"]` has the major headings, `extra["images"]` the names of the films,
    `extra["licence_url"]` the licence. The files name no
    patient: `patient_id` is "openi-" and the number of the study, which is one patient each in this
    collection, and None when the file has no number.
    """

    name = "openi"

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits

    def sniff(self, head: bytes) -> bool:
        """XML whose root is eCitation."""
        return _ROOT.search(head) is not None and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterator[Asset | Report | Skip]:
        """One Report, or a Skip when the file has no text. Raises ReadFailure."""
        if source.size > _MOST_BYTES:
            raise ReadFailure("larger than any report")
        root = _parse(source)
        text = " ".join(_sections(root))
        if len(text) > self._limits.max_text_chars:
            raise ReadFailure(f"the report is longer than {self._limits.max_text_chars:,} characters")
        if not text:
            yield Skip(source=source, reason="an OpenI record without report text")
            return
        yield Report(source=source, part="report", text=text, header=_header(root))

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """There are no pixels: raises ReadFailure."""
        raise ReadFailure("a report has no pixels")


def _parse(source: Source) -> Element:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, parse

    with source.open() as stream:
        try:
            found = parse(stream, forbid_dtd=True).getroot()
        except ParseError:
            raise ReadFailure("the XML is damaged or cut short") from None
        except DefusedXmlException:
            raise ReadFailure("the XML defines entities or a document type; refused") from None
        except (ValueError, LookupError):  # an encoding it does not have
            raise ReadFailure("the XML is in an unknown encoding") from None
    if not isinstance(found, Element) or found.tag != "eCitation":
        raise ReadFailure("not an OpenI record")
    return found


def _sections(root: Element) -> Iterator[str]:
    found = {
        (node.get("Label") or "").strip().upper(): " ".join("".join(node.itertext()).split())
        for node in root.iter("AbstractText")
    }
    for name in _SECTIONS:
        if found.get(name):
            yield f"{name}: {found[name]}"


def _header(root: Element) -> Header:
    number = _number(root)
    mesh = [" ".join("".join(node.itertext()).split()) for node in root.iterfind("MeSH/major")]
    mesh = [heading for heading in mesh if heading]
    extra: dict[str, Scalar] = {}
    if mesh:
        extra["mesh"] = "; ".join(mesh)
    images = [node.get("id") or "" for node in root.iter("parentImage")]
    if any(images):
        extra["images"] = "; ".join(filter(None, images))
    licence = (root.findtext("licenseURL") or "").strip()
    if licence:
        extra["licence_url"] = licence
    label = None
    if mesh:
        label = "normal" if [heading.lower() for heading in mesh] == ["normal"] else "abnormal"
    return Header(
        patient_id=f"openi-{number}" if number else None,
        study_uid=f"openi-{number}" if number else None,
        body_part="CHEST",
        institution=root.findtext("MedlineCitation/Article/Affiliation") or None,
        label=label,
        extra=extra,
    )


def _number(root: Element) -> str | None:
    """The number in `<uId id="CXR1027"/>`."""
    node = root.find("uId")
    match = re.fullmatch(r"(?:CXR)?(\w+)", (node.get("id") or "").strip()) if node is not None else None
    return match[1] if match else None
