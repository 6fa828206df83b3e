"""DICOM objects that are texts: structured reports and encapsulated documents, as Reports."""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset

from embedstore.contracts.record import Header, Report, Source
from embedstore.errors import ReadFailure
from embedstore.readers.dicom_document import document_text
from embedstore.readers.dicom_file import DicomFile
from embedstore.readers.dicom_header import identity_header
from embedstore.readers.dicom_kinds import is_encapsulated, is_report
from embedstore.readers.dicom_sr import referenced_image, render_sr
from embedstore.readers.dicom_values import text
from embedstore.settings import Limits

PART = "report"


def report_of(source: Source, file: DicomFile, limits: Limits) -> Report | None:
    """The Report that an object is; None when it is another kind of object or says nothing.

    Its header has the patient and study, and as `attr.AboutSOPInstanceUID` the one image it is about when
    it refers to one only. Raises ReadFailure when the text is longer than the limit.
    """
    ds = file.header
    sop_class = text(ds, "SOPClassUID") or ""
    if is_report(sop_class):
        found = render_sr(ds, limits.max_text_chars)
    elif is_encapsulated(sop_class):
        found = document_text(ds, limits)
    else:
        return None
    if not found.strip():
        return None
    if len(found) > limits.max_text_chars:
        raise ReadFailure(f"the report is longer than the limit of {limits.max_text_chars:,} characters")
    return Report(source=source, part=PART, text=found, header=_header(file, ds))


def _header(file: DicomFile, ds: Dataset) -> Header:
    header = identity_header(ds, str(file.syntax) or None)
    about = referenced_image(ds)
    if about is None:
        return header
    return replace(header, extra={**header.extra, "AboutSOPInstanceUID": about})
