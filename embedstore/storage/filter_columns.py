"""The columns a filter may name: what `--where`, the documentation and error messages agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnKind = Literal["text", "date", "number", "flag", "attribute"]


@dataclass(frozen=True, slots=True)
class FilterColumn:
    """A column by name, the kind of values it is compared with, and its meaning."""

    name: str
    kind: ColumnKind
    meaning: str


FILTER_COLUMNS: tuple[FilterColumn, ...] = (
    FilterColumn("id", "number", "item id, as hits show it"),
    FilterColumn("kind", "text", "'image', 'report' or 'region'"),
    FilterColumn("path", "text", "any path the item's bytes were met at"),
    FilterColumn("part", "text", "part inside the file: 'image', 'frame/3', 'train/17'"),
    FilterColumn("sha256", "text", "digest of the file's bytes"),
    FilterColumn("reader", "text", "reader that recognised the file"),
    FilterColumn(
        "patient", "text", "patient key: issuer or site, and PatientID (or the group given by a table)"
    ),
    FilterColumn("patient_known", "flag", "false when the item came without a patient identifier"),
    FilterColumn("patient_id", "text", "PatientID (0010,0020)"),
    FilterColumn("patient_issuer", "text", "IssuerOfPatientID (0010,0021)"),
    FilterColumn("patient_group", "text", "identifier that splits go by, from a table"),
    FilterColumn("study_uid", "text", "StudyInstanceUID (0020,000D)"),
    FilterColumn("series_uid", "text", "SeriesInstanceUID (0020,000E)"),
    FilterColumn("sop_uid", "text", "SOPInstanceUID (0008,0018)"),
    FilterColumn("sop_class", "text", "SOPClassUID (0008,0016)"),
    FilterColumn("transfer_syntax", "text", "TransferSyntaxUID (0002,0010)"),
    FilterColumn("instance_number", "number", "InstanceNumber (0020,0013)"),
    FilterColumn("frame", "number", "frame of a multi-frame object"),
    FilterColumn("modality", "text", "Modality (0008,0060): 'CR', 'CT', ..."),
    FilterColumn("body_part", "text", "BodyPartExamined (0018,0015)"),
    FilterColumn("laterality", "text", "'L', 'R' or 'B'"),
    FilterColumn("view", "text", "ViewPosition (0018,5101): 'PA', 'AP', ..."),
    FilterColumn("study_date", "date", "date of the study, '2024-05-31'"),
    FilterColumn("study_description", "text", "StudyDescription (0008,1030)"),
    FilterColumn("series_description", "text", "SeriesDescription (0008,103E)"),
    FilterColumn("age", "number", "age in years"),
    FilterColumn("sex", "text", "'M', 'F' or 'O'"),
    FilterColumn("manufacturer", "text", "Manufacturer (0008,0070)"),
    FilterColumn("model", "text", "ManufacturerModelName (0008,1090)"),
    FilterColumn("institution", "text", "InstitutionName (0008,0080)"),
    FilterColumn("site", "text", "site, from --site or a table"),
    FilterColumn("label", "text", "label, from a table or a labelled array"),
    FilterColumn("split", "text", "split, from a table or a labelled array"),
    FilterColumn("rows", "number", "Rows (0028,0010), pixels"),
    FilterColumn("columns", "number", "Columns (0028,0011), pixels"),
    FilterColumn("spacing_row_mm", "number", "distance of rows, mm"),
    FilterColumn("spacing_col_mm", "number", "distance of columns, mm"),
    FilterColumn("acquisition_date", "date", "date of the acquisition (0008,0022)"),
    FilterColumn("slice_thickness_mm", "number", "SliceThickness (0018,0050), mm"),
    FilterColumn("kvp", "number", "KVP (0018,0060), peak kilovoltage"),
    FilterColumn("field_strength_t", "number", "MagneticFieldStrength (0018,0087), tesla"),
    FilterColumn("sequence", "text", "pulse sequence: SequenceName or PulseSequenceName"),
    FilterColumn("contrast", "text", "ContrastBolusAgent (0018,0010)"),
    FilterColumn("whole", "text", "key shared by the parts of one volume, cine loop or slide"),
    FilterColumn("part_number", "number", "place of a slice, frame or tile in its whole, from 1"),
    FilterColumn("position_mm", "number", "place of a slice along its normal, mm"),
    FilterColumn("time_s", "number", "seconds since the first frame or volume"),
    FilterColumn("tile_x", "number", "left edge of a tile, pixels of the full resolution"),
    FilterColumn("tile_y", "number", "upper edge of a tile, pixels of the full resolution"),
    FilterColumn("mpp", "number", "microns per pixel of a tile"),
    FilterColumn("magnification", "number", "objective magnification of a tile"),
    FilterColumn("licence", "text", "licence, from a table"),
)
CODES = {"kind": ("image", "report", "region"), "sex": ("M", "F", "O"), "laterality": ("L", "R", "B", "U")}
"""Columns that hold nothing else."""
COLUMNS_BY_NAME: dict[str, FilterColumn] = {column.name: column for column in FILTER_COLUMNS}
ATTRIBUTE_PREFIX = "attr."
