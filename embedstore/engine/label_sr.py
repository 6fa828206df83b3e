"""Labels as DICOM structured reports: TID 1500 Measurement Report (DICOM PS3.16), one for each DICOM image.

The label is a qualitative evaluation, each class's probability a measurement, of a measurement group about
the image (TID 1501). Concepts carry the coding scheme 99EMBEDSTORE and mean what the store calls them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedstore.contracts.labels import LabelSet
from embedstore.engine.label_files import LabelRow
from embedstore.errors import BadInputFile, UsageError

SCHEME = "99EMBEDSTORE"
_MEANING = 64  # characters of a Code Meaning (VR LO)


def write_sr(
    folder: Path, label_set: LabelSet, rows: Sequence[LabelRow], provenance: Mapping[str, Any]
) -> int:
    """`label-ID.dcm` for each row whose image is a DICOM object that can be read now; returns how many.

    Raises UsageError when highdicom is not installed.
    """
    try:
        import highdicom
    except ModuleNotFoundError as error:
        raise UsageError("structured reports need highdicom: pip install 'embedstore[sr]'") from error
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    written = 0
    series = highdicom.UID()
    for row in rows:
        if not row.item.columns.get("sop_uid"):
            continue
        try:
            source = dcmread(row.item.path, stop_before_pixels=True)
        except (OSError, InvalidDicomError):
            continue  # inside an archive, or gone
        document = _report(source, label_set, row, series, written + 1)
        document.save_as(folder / f"label-{row.item.id}.dcm")
        written += 1
    return written


def _report(source: Any, label_set: LabelSet, row: LabelRow, series: str, number: int) -> Any:
    import highdicom
    from highdicom import sr
    from pydicom.sr.codedict import codes

    from embedstore import __version__

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=highdicom.UID(), name="embedstore", model_name=f"embedstore {__version__}"
    )
    context = sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=highdicom.UID(), identifier=f"item {row.item.id}"),
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(source)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=_concept(label_set.name), value=_concept(row.label))
        ],
        measurements=[
            sr.Measurement(
                name=_concept(f"probability of {name}"),
                value=float(row.probabilities[name]),
                unit=codes.UCUM.NoUnits,
            )
            for name in label_set.classes
        ],
    )
    content = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=_concept("image labelling"),
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.ComprehensiveSR(
        evidence=[source],
        content=content,
        series_instance_uid=series,
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=number,
        manufacturer="embedstore",
        is_complete=True,
    )


def _concept(name: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=_code(name), scheme_designator=SCHEME, meaning=name[:_MEANING])


def read_sr(path: Path, label_set: LabelSet) -> tuple[str, str]:
    """(SOP instance UID of the image, its label) of a report as `write_sr` writes it. Raises BadInputFile."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        document = dcmread(path)
    except (OSError, InvalidDicomError):
        raise BadInputFile(f"{path}: is no DICOM structured report") from None
    wanted = {_code(label_set.name)}
    classes = {_code(name): name for name in label_set.classes}
    image = label = None
    for node in _nodes(document):
        if node.get("ValueType") == "CODE" and node.get("ConceptNameCodeSequence"):
            name, value = node.ConceptNameCodeSequence[0], node.ConceptCodeSequence[0]
            if name.CodingSchemeDesignator == SCHEME and name.CodeValue in wanted:
                label = classes.get(value.CodeValue, label)
        if node.get("ValueType") == "IMAGE":
            image = str(node.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    if image is None or label is None:
        raise BadInputFile(f"{path}: holds no label of '{label_set.name}'")
    return image, label


def _code(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12].upper()


def _nodes(node: Any) -> Any:
    for child in node.get("ContentSequence", ()):
        yield child
        yield from _nodes(child)
