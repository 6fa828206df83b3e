"""Small valid files of every format and transfer syntax that is read, made here; seeds to be damaged."""

from __future__ import annotations

import io
import zipfile
import zlib

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

ROWS, COLUMNS = 40, 48
JPEG = "1.2.840.10008.1.2.4."
NATIVE = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "big": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
}


def grey(bits: int) -> np.ndarray:
    ramp = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) / (ROWS + COLUMNS)
    noise = np.random.default_rng(bits).normal(0, 0.02, ramp.shape)
    return np.clip((ramp + noise) * (2**bits - 1), 0, 2**bits - 1).astype("u1" if bits <= 8 else "u2")


def colour() -> np.ndarray:
    return np.stack([grey(8), grey(7) * 2, 255 - grey(8)], axis=-1)


def dataset(values: np.ndarray, bits: int, frames: int = 1) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    ds.PatientID, ds.Modality, ds.StudyInstanceUID = "P-1", "CT", "1.2.3"
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "T-D3000", "Chest"
    ds.AnatomicRegionSequence = Sequence([item])
    ds.Rows, ds.Columns = values.shape[:2]
    ds.NumberOfFrames = frames
    ds.SamplesPerPixel = 1 if values.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    if values.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 * values.dtype.itemsize
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept = [0.5, 0.5], 2, -100
    ds.WindowCenter, ds.WindowWidth = 300, 900
    return ds


def written(ds: Dataset, syntax: str) -> bytes:
    stands_in = syntax
    if not UID(syntax).is_transfer_syntax:  # pydicom writes only what it knows; one as long takes its place
        length = len(syntax) + len(syntax) % 2
        stands_in = {22: f"{JPEG}80", 24: f"{JPEG}201"}[length]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = stands_in
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, "1.2.3.4"
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    width = len(stands_in) + len(stands_in) % 2
    old, new = stands_in.encode().ljust(width, b"\0"), syntax.encode().ljust(width, b"\0")
    return out.getvalue().replace(old, new)


def native(syntax: str, values: np.ndarray, bits: int, frames: int = 1) -> bytes:
    ds = dataset(values, bits, frames)
    order = ">" if syntax == NATIVE["big"] else "<"
    data = values.astype(values.dtype.newbyteorder(order)).tobytes() * frames
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW"
    return written(ds, syntax)


def encoded(
    syntax: str, values: np.ndarray, bits: int, frame: bytes, frames: int = 1, **elements: object
) -> bytes:
    ds = dataset(values, bits, frames)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.PixelData = encapsulate([frame] * frames)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return written(ds, syntax)


def rle(values: np.ndarray) -> bytes:
    flat = values.reshape(ROWS * COLUMNS, -1).astype(values.dtype.newbyteorder(">"))
    planes = flat.view(np.uint8).reshape(ROWS, COLUMNS, -1)
    segments = [
        b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in planes[..., n])
        for n in range(planes.shape[2])
    ]
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    offsets = np.cumsum([64] + [len(segment) for segment in segments])[: len(segments)]
    header = np.zeros(16, "<u4")
    header[0], header[1 : 1 + len(segments)] = len(segments), offsets
    return header.tobytes() + b"".join(segments)


def deflate(data: bytes) -> bytes:
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return pack.compress(data) + pack.flush()


def dicom_files() -> dict[str, bytes]:
    g8, g12, rgb = grey(8), grey(12), colour()
    ybr = {"PhotometricInterpretation": "YBR_FULL_422"}
    files = {f"native-{name}": native(syntax, g12, 12) for name, syntax in NATIVE.items()}
    files["native-frames"] = native(NATIVE["explicit"], g12, 12, 3)
    files["native-colour"] = native(NATIVE["explicit"], rgb, 8)
    files["jpeg-baseline"] = encoded(f"{JPEG}50", g8, 8, imagecodecs.jpeg8_encode(g8))
    files["jpeg-colour"] = encoded(f"{JPEG}50", rgb, 8, imagecodecs.jpeg8_encode(rgb), 2, **ybr)
    files["jpeg-extended"] = encoded(f"{JPEG}51", g12, 12, imagecodecs.jpeg8_encode(g12, bitspersample=12))
    lossless = imagecodecs.jpeg8_encode(g12, lossless=True, bitspersample=12)
    files["jpeg-lossless"] = encoded(f"{JPEG}57", g12, 12, lossless)
    files["jpeg-lossless-sv1"] = encoded(f"{JPEG}70", g12, 12, lossless)
    files["jpeg-ls"] = encoded(f"{JPEG}80", g12, 12, imagecodecs.jpegls_encode(g12))
    files["jpeg-ls-lossy"] = encoded(f"{JPEG}81", rgb, 8, imagecodecs.jpegls_encode(rgb, level=3))
    j2k = {"codecformat": "j2k", "reversible": True, "level": 0}
    files["jpeg-2000"] = encoded(
        f"{JPEG}90", g12, 12, imagecodecs.jpeg2k_encode(g12, bitspersample=12, **j2k)
    )
    files["jpeg-2000-colour"] = encoded(f"{JPEG}91", rgb, 8, imagecodecs.jpeg2k_encode(rgb, **j2k))
    files["htj2k"] = encoded(f"{JPEG}201", g12, 12, imagecodecs.htj2k_encode(g12))
    files["jpeg-xl"] = encoded(f"{JPEG}110", g12, 12, imagecodecs.jpegxl_encode(g12, lossless=True))
    files["jpeg-xl-colour"] = encoded(f"{JPEG}112", rgb, 8, imagecodecs.jpegxl_encode(rgb, level=80))
    files["rle"] = encoded("1.2.840.10008.1.2.5", g12, 12, rle(g12), 2)
    files["rle-colour"] = encoded("1.2.840.10008.1.2.5", rgb, 8, rle(rgb))
    files["deflated-frames"] = encoded("1.2.840.10008.1.2.8.1", g12, 12, deflate(g12.tobytes()), 2)
    files["native-in-fragments"] = encoded("1.2.840.10008.1.2.1.98", g12, 12, g12.tobytes())
    return {f"{name}.dcm": data for name, data in files.items()}


def raster_files() -> dict[str, bytes]:
    files = {}
    for kind, values in (("grey", grey(8)), ("colour", colour())):
        for suffix, options in (("png", {}), ("jpg", {}), ("webp", {}), ("bmp", {})):
            out = io.BytesIO()
            Image.fromarray(values).save(out, {"jpg": "JPEG"}.get(suffix, suffix.upper()), **options)
            files[f"{kind}.{suffix}"] = out.getvalue()
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
            out = io.BytesIO()
            Image.fromarray(values).save(out, "TIFF", compression=compression)
            files[f"{kind}-{compression}.tif"] = out.getvalue()
    out = io.BytesIO()
    Image.fromarray(grey(16)).save(out, "PNG")
    files["deep.png"] = out.getvalue()
    return files


def other_files() -> dict[str, bytes]:
    arrays, archive = io.BytesIO(), io.BytesIO()
    np.savez_compressed(arrays, train_images=np.stack([grey(8)] * 3), train_labels=np.arange(3)[:, None])
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/one.dcm", native(NATIVE["explicit"], grey(12), 12))
        packed.writestr("two.png", raster_files()["grey.png"])
    return {"arrays.npz": arrays.getvalue(), "export.zip": archive.getvalue(), **volumes()}


def volumes() -> dict[str, bytes]:
    """NIfTI-1 by hand: 348 bytes of header, 4 of extension flag, voxels."""
    import gzip
    import struct

    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, COLUMNS, ROWS, 5, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 4, 16)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 2, 1, 1, 1, 1)
    struct.pack_into("<f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    data = bytes(head) + (np.stack([grey(12)] * 5).astype("<i2")).tobytes()
    return {"volume.nii": data, "volume.nii.gz": gzip.compress(data, mtime=0)}


def all_files() -> dict[str, bytes]:
    """Name to content of every seed."""
    return {**dicom_files(), **raster_files(), **other_files()}
