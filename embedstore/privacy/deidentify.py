"""A DICOM dataset without identity, as PS3.15 Annex E says attribute by attribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID

from embedstore.privacy.dates import shifted, shifted_datetime
from embedstore.privacy.dummies import dummy
from embedstore.privacy.identifiers import Identifiers, identifiers_of
from embedstore.privacy.key import Key
from embedstore.privacy.profile import Profile
from embedstore.privacy.table import row_of
from embedstore.privacy.text import clean_text

_FREE_TEXT = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_PATIENT_NAME, _PATIENT_ID, _SUBJECT_ID = 0x00100010, 0x00100020, 0x00120040
_OVERLAY_DATA = 0x3000
# Structure of a content tree (PS3.3 C.17.3): without it the dummies beside it could not be read.
_STRUCTURE = frozenset({"ValueType", "RelationshipType", "ContinuityOfContent"})
_MOST_CHARS = {"AE": 16, "SH": 16, "LO": 64, "ST": 1024, "LT": 10240}
_MODIFIED, _FULL, _REMOVED = "MODIFIED", "UNMODIFIED", "REMOVED"


def patient_of(dataset: Dataset) -> tuple[str, str]:
    """(issuer, PatientID) that pseudonyms and date shifts go by; the study when there is no PatientID."""
    number = _plain(dataset, "PatientID")
    if number:
        return _plain(dataset, "IssuerOfPatientID"), number
    return "study", _plain(dataset, "StudyInstanceUID")


def pseudonym(key: Key, issuer: str, number: str) -> str:
    """What stands in place of a PatientID: `P-` and 16 characters."""
    return f"P-{key.token('patient', issuer, number)}"


def deidentify(dataset: Dataset, profile: Profile, key: Key) -> Dataset:
    """A de-identified copy of a dataset, its sequences and its file meta information; the original stays.

    Private attributes, attributes the data dictionary does not know, and elements that cannot be parsed are
    left out. Conditional actions (X/Z/D, ...) become the one that conforms for every IOD. UIDs,
    PatientID and PatientName become keyed pseudonyms, the same in every file under one key. Text that is kept
    or cleaned is searched for the names, numbers and dates of this dataset. Pixels are not touched:
    see `pixels.pixel_verdict`.
    """
    issuer, number = patient_of(dataset)
    known = identifiers_of(dataset, profile)
    worker = _Deidentifier(profile, key, (issuer, number), known)
    out = worker.dataset(dataset)
    _declare(out, profile)
    if isinstance(dataset, FileDataset) or hasattr(dataset, "file_meta"):
        out.file_meta = _file_meta(dataset, worker)
    return out


class _Deidentifier:
    """Walks one object: every element goes by its row of the table, one without a row by its kind."""

    def __init__(self, profile: Profile, key: Key, patient: tuple[str, str], known: Identifiers) -> None:
        self._profile = profile
        self._key = key
        self._patient = patient
        self._known = known
        self._days = key.shift_days("\x00".join(patient))

    def dataset(self, source: Dataset) -> Dataset:
        """A new dataset; elements appear in the order of their tags."""
        out = Dataset()
        implicit, little = source.original_encoding
        out.set_original_encoding(implicit, little, source.original_character_set)
        tags = sorted(source.keys())
        overlays = {t.group for t in tags if t.element == _OVERLAY_DATA and t.group & 0xFF00 == 0x6000}
        for tag in tags:
            if tag.is_private or tag.element == 0 or tag.group in overlays:
                continue  # private, a group length, or the frame of an overlay that goes
            element = self._element(source, tag)
            if element is not None:
                out.add(element)
        return out

    def uid(self, uid: str) -> str:
        """The keyed UID, or the UID itself where UIDs are retained."""
        return uid if self._profile.uids else self._key.uid(uid)

    def _element(self, source: Dataset, tag: BaseTag) -> DataElement | None:
        row = row_of(tag.group, tag.element)
        if row is None:
            return self._unlisted(source, tag)
        action = self._profile.action(row)
        if action == "X" or tag.group & 0xFF00 == 0x5000:
            return None
        element = _parsed(source, tag)
        if element is None:  # damaged: what must be there is there, with nothing of it
            vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
            return DataElement(tag, vr, self._stand_in(tag, vr, action))
        return self._by_action[action](self, element)

    def _unlisted(self, source: Dataset, tag: BaseTag) -> DataElement | None:
        """Attributes outside the table are kept, as far as it is known what they are."""
        if tag in _PIXELS:
            return source[tag]
        element = _parsed(source, tag) if dictionary_has_tag(tag) else None
        if element is None or element.VR == "UN":
            return None
        if element.VR == "PN":
            return self._empty(element)
        if element.VR in ("DA", "DT") and not self._profile.full_dates:  # of a later edition than the table
            return self._clean(element) if self._profile.modified_dates else self._empty(element)
        return self._keep(element)

    def _empty(self, element: DataElement) -> DataElement:
        """Z. Names and numbers of patients become pseudonyms, which Z allows as well."""
        if int(element.tag) in (_PATIENT_NAME, _PATIENT_ID, _SUBJECT_ID):
            return self._dummy(element)
        empty: Any = Sequence() if element.VR == "SQ" else None
        return DataElement(element.tag, element.VR, empty)

    def _dummy(self, element: DataElement) -> DataElement:
        """D."""
        if element.VR == "SQ":
            items = [self._hollow(item) for item in element.value or ()]
            return DataElement(element.tag, "SQ", Sequence(items or [Dataset()]))
        if element.VR == "UI":
            return self._keyed(element)
        return DataElement(element.tag, element.VR, self._stand_in(element.tag, element.VR, "D"))

    def _stand_in(self, tag: BaseTag, vr: str, action: str) -> Any:
        if int(tag) in (_PATIENT_NAME, _PATIENT_ID, _SUBJECT_ID):
            return pseudonym(self._key, *self._patient)
        if vr == "SQ":
            return Sequence()
        if vr == "UI":
            return self._key.uid("damaged")
        return dummy(vr) if action in ("D", "U", "K", "C") else None

    def _hollow(self, item: Dataset) -> Dataset:
        """An item with dummies for all it holds but the structure of a content tree."""
        out = Dataset()
        for tag in sorted(item.keys()):
            element = None if tag.is_private or tag.element == 0 else _parsed(item, tag)
            row = row_of(tag.group, tag.element)
            if element is None or (row is not None and self._profile.action(row) == "X"):
                continue
            out.add(element if element.keyword in _STRUCTURE else self._dummy(element))
        return out

    def _keyed(self, element: DataElement) -> DataElement:
        """U. A sequence of references is kept, with the UIDs inside replaced by their own rows."""
        if element.VR == "SQ":
            return self._keep(element)
        return DataElement(element.tag, "UI", _each(element.value, lambda one: self._key.uid(str(one))))

    def _keep(self, element: DataElement) -> DataElement:
        """K: unchanged, sequences by their items, free text without the persons of this object."""
        if element.VR == "SQ":
            items = Sequence([self.dataset(item) for item in element.value or ()])
            return DataElement(element.tag, "SQ", items)
        if element.VR in _FREE_TEXT:
            return self._cleaned_text(element)
        return element

    def _clean(self, element: DataElement) -> DataElement | None:
        """C: dates move, text is searched, what cannot be cleaned goes."""
        if element.VR in ("DA", "DT"):
            move = shifted if element.VR == "DA" else shifted_datetime
            value = _each(element.value, lambda one: move(str(one), self._days) or dummy(element.VR))
            return DataElement(element.tag, element.VR, value)
        if element.VR in _BINARY:
            return None
        if element.VR in ("AE", "PN"):
            return self._dummy(element)
        return self._keep(element)

    def _cleaned_text(self, element: DataElement) -> DataElement:
        most = _MOST_CHARS.get(element.VR)
        dates = not self._profile.full_dates
        value = _each(element.value, lambda one: clean_text(str(one), self._known, dates=dates)[:most])
        return DataElement(element.tag, element.VR, value)

    _by_action: dict[str, Callable[[_Deidentifier, DataElement], DataElement | None]] = {  # noqa: RUF012
        "Z": _empty,
        "D": _dummy,
        "U": _keyed,
        "K": _keep,
        "C": _clean,
    }


def _parsed(source: Dataset, tag: BaseTag) -> DataElement | None:
    """The element in parsed form; None when pydicom cannot make sense of it."""
    try:
        element = source[tag]
        str(element.value)  # names and text are decoded late
    except Exception:  # pydicom raises nearly any class on a damaged element
        return None
    return element


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, (MultiValue, list, tuple)):
        return [change(one) for one in value]
    return change(value)


def _plain(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "").strip("\x00 ")
    except Exception:  # undecodable
        return ""


def _declare(out: Dataset, profile: Profile) -> None:
    """Say what was done (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1.1.7)."""
    out.PatientIdentityRemoved = "YES"
    before = [str(one) for one in _several(out.get("DeidentificationMethod"))]
    method = ["embedstore PS3.15 Annex E", *str(profile).split("+")]
    out.DeidentificationMethod = before + [word for word in method if word not in before]
    codes = list(out.get("DeidentificationMethodCodeSequence") or ())
    there = {str(item.get("CodeValue")) for item in codes}
    for value, meaning in profile.codes:
        if value not in there:
            code = Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
            codes.append(code)
    out.DeidentificationMethodCodeSequence = Sequence(codes)
    dates = _FULL if profile.full_dates else _MODIFIED if profile.modified_dates else _REMOVED
    out.LongitudinalTemporalInformationModified = dates


def _several(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (MultiValue, list)) else [value]


def _file_meta(dataset: Dataset, worker: _Deidentifier) -> FileMetaDataset:
    """Class, keyed instance and transfer syntax; who sent, wrote or received the file goes."""
    old = getattr(dataset, "file_meta", None) or Dataset()
    meta = FileMetaDataset()
    for keyword in ("MediaStorageSOPClassUID", "TransferSyntaxUID"):
        if _plain(old, keyword):
            setattr(meta, keyword, UID(_plain(old, keyword)))
    instance = _plain(old, "MediaStorageSOPInstanceUID") or _plain(dataset, "SOPInstanceUID")
    if instance:
        meta.MediaStorageSOPInstanceUID = UID(worker.uid(instance))
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return meta
