"""SUV by body weight against closed forms of the QIBA pseudo-code, and every reason to refuse."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import PositronEmissionTomographyImageStorage

from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.suv import suv_scale, suv_status
from embedstore.testing.readers import BytesSource

from .dicom_files import dataset, file_bytes, item

HALF_LIFE = 6586.2  # fluorine 18, seconds
STORED = np.arange(64, dtype=np.uint16).reshape(8, 8) * 100


def pet(**elements) -> Dataset:
    """75 kg, 370 MBq at 09:00, scanned at 10:00, decay-corrected to the scan; what is None is left out."""
    tracer = {
        "RadionuclideTotalDose": 370e6,
        "RadionuclideHalfLife": HALF_LIFE,
        "RadiopharmaceuticalStartTime": "090000",
    }
    for keyword in (*tracer, "RadiopharmaceuticalStartDateTime"):
        if keyword in elements:
            tracer[keyword] = elements.pop(keyword)
    known = {
        "SOPClassUID": PositronEmissionTomographyImageStorage,
        "Modality": "PT",
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["NORM", "DTIM", "ATTN", "SCAT", "DECY"],
        "PatientWeight": 75,
        "SeriesDate": "20240310",
        "SeriesTime": "100000",
        "AcquisitionDate": "20240310",
        "AcquisitionTime": "100000",
        "RescaleSlope": 2.5,
        "RescaleIntercept": 0,
        "RadiopharmaceuticalInformationSequence": item(**{k: v for k, v in tracer.items() if v is not None}),
    } | elements
    return dataset(STORED, **{k: v for k, v in known.items() if v is not None})


def read(ds: Dataset):
    reader = DicomReader()
    (asset,) = reader.describe(BytesSource(file_bytes(ds)))
    return asset, reader.read(asset, "suv")


def factor(ds: Dataset) -> float:
    scale = suv_scale(ds, 0)
    assert not isinstance(scale, str), scale
    return scale.factor


def test_the_happy_path_by_hand():
    """An hour is 3600 / 6586.2 half-lives: 253.3 MBq are left, and 75 kg are 75,000 g."""
    asset, image = read(pet())
    left = 370e6 * 2 ** (-3600 / HALF_LIFE)
    assert math.isclose(left, 253.3e6, rel_tol=1e-3)
    assert image.intensity == "suv"
    assert image.pixels.dtype == np.float32
    assert np.allclose(image.pixels[..., 0], STORED * 2.5 * 75_000 / left, rtol=1e-6)
    assert asset.header.extra["suv"] == "bw"


@given(
    dose=st.integers(10_000_000, 900_000_000),
    weight=st.integers(3, 250),
    half_life=st.sampled_from([HALF_LIFE, 1223.4, 76_320.0]),
    minutes=st.integers(0, 180),
    hour=st.integers(0, 23),
)
def test_closed_form(dose, weight, half_life, minutes, hour):
    """Also over midnight: a clock time after the scan is of the day before."""
    scan = datetime(2024, 3, 10, hour, 30)
    given_at = scan - timedelta(minutes=minutes)
    ds = pet(
        RadionuclideTotalDose=dose,
        RadionuclideHalfLife=half_life,
        RadiopharmaceuticalStartTime=f"{given_at:%H%M%S}",
        PatientWeight=weight,
        SeriesTime=f"{scan:%H%M%S}",
        AcquisitionTime=f"{scan:%H%M%S}",
    )
    if minutes * 60 > 10 * half_life:
        assert "fit each other" in str(suv_scale(ds, 0))
        return
    by_hand = weight * 1000 / (dose * math.exp(-math.log(2) * minutes * 60 / half_life))
    assert math.isclose(factor(ds), by_hand, rel_tol=1e-9)
    # The full date and time says the same, and comes before the clock time.
    stamp = f"{given_at:%Y%m%d%H%M%S}.000000"
    both = pet(
        RadionuclideTotalDose=dose,
        RadionuclideHalfLife=half_life,
        RadiopharmaceuticalStartTime="000001",
        RadiopharmaceuticalStartDateTime=stamp,
        PatientWeight=weight,
        SeriesTime=f"{scan:%H%M%S}",
        AcquisitionTime=f"{scan:%H%M%S}",
    )
    assert math.isclose(factor(both), by_hand, rel_tol=1e-9)


def test_corrected_to_the_injection_needs_no_decay():
    assert math.isclose(factor(pet(DecayCorrection="ADMIN", RadionuclideHalfLife=None)), 75_000 / 370e6)


def test_a_series_made_later_is_counted_back_from_its_frame():
    """Frame Reference Time is that of the average count, which lies within the frame (QIBA)."""
    duration, start = 180.0, 5.0
    rate = math.log(2) / HALF_LIFE
    # When activity is integrated over the frame, this is when it had its average.
    integral = (1 - math.exp(-rate * duration)) / (rate * duration)
    average = -math.log(integral) / rate
    ds = pet(
        SeriesTime="153000",
        AcquisitionTime="100005",
        FrameReferenceTime=(start + average) * 1000,
        ActualFrameDuration=int(duration * 1000),
    )
    assert math.isclose(factor(ds), factor(pet()), rel_tol=1e-9)
    later = pet(SeriesTime="153000", AcquisitionTime="100005")
    assert "start of the scan" in str(suv_scale(later, 0))
    block = later.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20240310100000.00")
    assert math.isclose(factor(later), factor(pet()), rel_tol=1e-9)


@pytest.mark.parametrize("vr", ["DS", "UN"])
def test_counts_of_philips(vr):
    def philips(**values):
        ds = pet(Units="CNTS")
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        for name, value in values.items():
            block.add_new(int(name[1:], 16), vr, str(value) if vr == "DS" else str(value).encode())
        return ds

    assert math.isclose(factor(philips(x00=0.000551)), 0.000551)
    assert math.isclose(factor(philips(x00=0, x09=1.5)), 1.5 * factor(pet()))
    assert "counts" in str(suv_scale(philips(x00=0), 0))
    assert "counts" in str(suv_scale(pet(Units="CNTS"), 0))


def test_grams_per_millilitre_are_suv_already():
    ds = pet(Units="GML", PatientWeight=None, RadiopharmaceuticalInformationSequence=None)
    assert factor(ds) == 1
    ds.SUVType = "BW"
    assert factor(ds) == 1
    ds.SUVType = "LBM"
    assert "body weight" in str(suv_scale(ds, 0))


def test_a_real_world_mapping_is_of_stored_values():
    unit = item(CodeValue="{SUVbw}g/ml", CodingSchemeDesignator="UCUM", CodeMeaning="SUV")
    mapping = item(MeasurementUnitsCodeSequence=unit, RealWorldValueSlope=0.01, RealWorldValueIntercept=0.5)
    ds = pet(Units=None, PatientWeight=None)
    ds.RealWorldValueMappingSequence = mapping
    assert np.allclose(read(ds)[1].pixels[..., 0], STORED * 0.01 + 0.5)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PatientWeight": None}, "weight is missing"),
        ({"PatientWeight": 0}, "weight is missing"),
        ({"RadionuclideTotalDose": None}, "dose is missing"),
        ({"RadionuclideTotalDose": 370}, "becquerel"),
        ({"RadionuclideHalfLife": None}, "half life"),
        ({"RadiopharmaceuticalStartTime": None}, "time of injection"),
        ({"RadiopharmaceuticalStartDateTime": "20240311090000"}, "fit each other"),
        ({"RadiopharmaceuticalInformationSequence": None}, "radiopharmaceutical is missing"),
        ({"DecayCorrection": "NONE"}, "not corrected for decay"),
        ({"DecayCorrection": None}, "decay correction is missing"),
        ({"CorrectedImage": ["DECY"]}, "attenuation"),
        ({"CorrectedImage": ["ATTN"]}, "decay"),
        ({"CorrectedImage": None}, "corrected for is missing"),
        ({"Units": None}, "units are missing"),
        ({"Units": "PROPCPS"}, "neither BQML"),
        ({"SeriesDate": None, "AcquisitionDate": None}, "start of the scan"),
        ({"SeriesTime": None, "AcquisitionTime": None}, "start of the scan"),
    ],
)
def test_what_is_missing_is_said(elements, reason):
    ds = pet(**elements)
    assert reason in str(suv_status(ds))
    asset = next(iter(DicomReader().describe(BytesSource(file_bytes(ds)))))
    assert asset.header.extra["suv"] == suv_status(ds)
    with pytest.raises(ReadFailure, match="no standardised uptake values"):
        DicomReader().read(asset, "suv")


def test_what_is_no_pet_image_has_no_flag():
    ct = dataset(STORED)
    assert suv_status(ct) is None
    ct.RadiopharmaceuticalInformationSequence = Sequence([])
    with pytest.raises(ReadFailure, match="no PET image"):
        read(ct)
