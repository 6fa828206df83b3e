"""What identifies the persons of one object: names, numbers, dates and phrases to be found again in text."""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedstore.privacy.dates import parsed
from embedstore.privacy.profile import Profile

if TYPE_CHECKING:  # so that a process which holds identifiers only needs no pydicom
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

NUMBERS = frozenset(
    {
        "PatientID",
        "OtherPatientIDs",
        "AccessionNumber",
        "StudyID",
        "AdmissionID",
        "PatientTelephoneNumbers",
        "PatientInsurancePlanCodeSequence",
        "MedicalRecordLocator",
        "FillerOrderNumberImagingServiceRequest",
        "PlacerOrderNumberImagingServiceRequest",
        "RequestedProcedureID",
        "ScheduledProcedureStepID",
        "PerformedProcedureStepID",
        "ClinicalTrialSubjectID",
        "IssuerOfPatientID",
        "ServiceEpisodeID",
        "PersonTelephoneNumbers",
    }
)
PHRASES = frozenset(
    {
        "PatientAddress",
        "PersonAddress",
        "ReferringPhysicianAddress",
        "CountryOfResidence",
        "RegionOfResidence",
        "Occupation",
        "PatientReligiousPreference",
    }
)
_INSTITUTION = frozenset({"InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"})
_DEVICE = frozenset({"DeviceSerialNumber"})


@dataclass(frozen=True, slots=True)
class Identifiers:
    """names: as DICOM writes them (`Doe^John`) or plainly. numbers: of patients, studies, orders. dates: ISO.

    phrases: masked where they stand as a whole (addresses, institutions).
    """

    names: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()

    def __or__(self, other: Identifiers) -> Identifiers:
        return Identifiers(
            self.names | other.names,
            self.numbers | other.numbers,
            self.dates | other.dates,
            self.phrases | other.phrases,
        )


NOBODY = Identifiers()


def identifiers_of(dataset: Dataset, profile: Profile) -> Identifiers:
    """Every person name, number, date and address of a dataset and its sequences.

    Institution and device are none where the profile retains them. What cannot be parsed is passed over.
    """
    names, numbers, dates, phrases = set[str](), set[str](), set[str](), set[str]()
    places = PHRASES if profile.institution else PHRASES | _INSTITUTION
    told = NUMBERS if profile.device else NUMBERS | _DEVICE
    for element in _elements(dataset):
        for value in _values(element):
            if element.VR == "PN":
                names.add(value)
            elif element.VR in ("DA", "DT"):
                day = parsed(value)
                dates.update({day.isoformat()} if day else ())
            elif element.keyword in told:
                numbers.add(value)
            elif element.keyword in places:
                phrases.add(value)
    return Identifiers(frozenset(names), frozenset(numbers), frozenset(dates), frozenset(phrases))


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for tag in list(dataset.keys()):
        if tag.is_private or tag == 0x7FE00010:
            continue
        try:
            element = dataset[tag]
        except Exception:  # noqa: S112 - an element that cannot be parsed holds nothing to look for
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _elements(item)
        else:
            yield element


def _values(element: DataElement) -> list[str]:
    value: Any = element.value
    parts = list(value) if isinstance(value, MutableSequence) else [value]
    found = []
    for part in parts:
        if part is None or isinstance(part, bytes):
            continue
        try:
            found.append(str(part).strip("\x00 "))
        except Exception:  # noqa: S112 - a name in a character set that does not decode
            continue
    return [one for one in found if one]
