"""Write docs/gallery.html: a row per modality with its picture, what is embedded, how it is shown.

Pictures come from the shared image collection (EMBEDSTORE_SHARED_DATA, or --data). Only small renderings of
files whose licence lets them be passed on are shown, with their source; for others the row says why there is
none. Kinds that the collection lacks are drawn by `gallery_phantoms.py`.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from gallery_phantoms import PHANTOMS

from embedstore.contracts.image import ImageInput
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut
from embedstore.contracts.windows import CT_WINDOWS
from embedstore.encoders.preprocess import Window
from embedstore.engine.inspect import FileCard, Inspection, InspectRequest, inspect_path
from embedstore.errors import EmbedstoreError
from embedstore.pages.picture import fitted
from embedstore.pages.render import data_uri
from embedstore.pages.words import place_words
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import source_at

PAGE = Path(__file__).resolve().with_name("gallery.html")
_SIDE, _ENCODED = 260, 150
_FREE = re.compile(r"CC0\b|CC BY( \d|$| \()|MIT\b|BSD\b|Apache\b|public domain", re.IGNORECASE)
_COLUMNS = (
    "modality", "body_part", "laterality", "view", "manufacturer", "model", "slice_thickness_mm", "kvp",
    "field_strength_t", "sequence", "contrast", "magnification",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One row. path: in the collection, or the name of a phantom. windows: named windows shown of a CT."""

    title: str
    path: str
    note: str = ""
    cut: Cut = WHOLE_CUT
    part: str | None = None
    windows: tuple[str, ...] = ()

    @property
    def drawn(self) -> bool:
        """Whether it is a phantom."""
        return self.path in PHANTOMS


ROWS = (
    Row("Radiograph (DX)", "dicom/image/dx_image.dcm", "MONOCHROME1: low values are bright. A dog."),
    Row("Mammogram (MG)", "mammogram", "The header asks for a sigmoid window."),
    Row(
        "CT, chest",
        "dicom/image/CT_small.dcm",
        "The same Hounsfield units through three named windows.",
        windows=("lung", "mediastinum", "bone"),
    ),
    Row(
        "CT, head",
        "dicom/image/J2K_pixelrep_mismatch.dcm",
        "Signed in the header, unsigned in the JPEG 2000 stream: the header counts.",
        windows=("brain", "soft_tissue", "bone"),
    ),
    Row("CT series", "dicom_series/ct_philips_head_phantom_5mm/I150.dcm", "A phantom; one file is a slice."),
    Row("MR", "dicom/image/examples_overlay.dcm", "The overlay of the file is not burned in."),
    Row("MR, enhanced multi-frame", "dicom_series/mr_enhanced_philips/IM_0027_fMAP.dcm", "A field map."),
    Row(
        "MR, mosaic",
        "dicom_series/mr_siemens_mosaic/epi_pe_ap-00001.dcm",
        "The mosaic is cut into its slices.",
    ),
    Row("PET (PT)", "pet"),
    Row("Scintigram (NM)", "dicom/image/JPEG2000.dcm"),
    Row("Ultrasound, cine", "dicom/image/examples_ybr_color.dcm"),
    Row("Ultrasound, palette colour", "dicom/image/examples_palette.dcm"),
    Row("Angiogram (XA)", "angiogram"),
    Row("Fundus photograph", "fundus/fullres/dev_IDRiD_001.jpg"),
    Row("Optical coherence tomography (OPT)", "oct"),
    Row("Slide, SVS", "wsi/CMU-1-Small-Region.svs"),
    Row("Slide, DICOM", "wsi/CMU-1-Small-Region_dicom/volume_2220.dcm"),
    Row("Slide, pyramid TIFF", "wsi/cmu_pyramid_tiled.tiff"),
    Row("NIfTI, MR", "nifti/anatomical.nii"),
    Row("NIfTI, MR in time", "nifti/functional.nii"),
    Row("NIfTI, CT", "nifti-ct", "The format does not say that values are Hounsfield units: no CT window."),
    Row("Radiograph as PNG", "cxr/mmrjournal/330__40779_2020_233_Fig2_HTML-a.png", "Exported for a paper."),
    Row("CT as JPEG", "ct2d/eurorad/208__16689_1_6.jpg", "Exported: its values are no Hounsfield units."),
    Row("MedMNIST array", "medmnist/pneumoniamnist_trainval.npz"),
)


def permits(licence: str, noncommercial: str) -> bool:
    """Whether a licence of the collection's table lets a small rendering be passed on without conditions
    beyond naming its source: CC0, CC BY, public domain, MIT, BSD, Apache.

    Share-alike is left out: the page is not under it.
    """
    return noncommercial != "Y" and _FREE.match(licence) is not None


def page(data: Path) -> str:
    """The whole page as HTML."""
    with (data / "MANIFEST.csv").open(encoding="utf-8", newline="") as stream:
        manifest = {entry["path"]: entry for entry in csv.DictReader(stream)}
    with tempfile.TemporaryDirectory() as folder:
        rows = [section for row in ROWS for section in _section(row, data, manifest, Path(folder))]
    return _HEAD + "\n".join(rows) + _FOOT


def _section(row: Row, data: Path, manifest: dict[str, dict[str, str]], folder: Path) -> Iterator[str]:
    if row.drawn:
        name, draw = PHANTOMS[row.path]
        path, source, allowed = folder / name, "drawn for this page: no patient is behind it", True
        try:
            draw(path)
        except ImportError as error:
            sys.stderr.write(f"left out {row.title}: {error}\n")
            return
    else:
        path, entry = data / row.path, manifest[row.path]
        allowed = permits(entry["licence"], entry["nc"])
        source = f"{entry['source']} · {entry['licence']}"
    yield f'<section><h2>{escape(row.title)}</h2><div class="row">'
    try:
        found = inspect_path(str(path), InspectRequest(cut=row.cut, part=row.part), 1)
    except EmbedstoreError as error:
        yield f'<p class="left">not read: {escape(_clean(str(error), data, folder))}</p></div></section>'
        return
    assert isinstance(found, Inspection)
    yield from _pictures(row, path, found) if allowed else _left_out(source)
    yield from _words(row, found.card, source)
    yield "</div></section>"


def _clean(text: str, *folders: Path) -> str:
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    return text


def _left_out(source: str) -> Iterator[str]:
    licence = source.rpartition(" · ")[2]
    reason = f"No picture: its licence ({licence}) does not let it be passed on here."
    yield f'<p class="left">{escape(reason)}</p>'


def _pictures(row: Row, path: Path, found: Inspection) -> Iterator[str]:
    yield '<div class="pictures">'
    if row.windows:
        for name, pixels in _windowed(path, found.card.part or "", row.windows):
            centre, width = CT_WINDOWS[name]
            yield _figure(pixels, f"{name.replace('_', ' ')}: {centre:g} / {width:g} HU", _SIDE * 3 // 4)
    if found.shown is not None:
        yield _figure(found.shown, "as the reader shows it", _SIDE * 3 // 4 if row.windows else _SIDE)
    if found.encoded is not None and found.card.recipe is not None:
        yield _figure(found.encoded, f"as {found.card.recipe.encoder} gets it", _ENCODED)
    yield "</div>"


def _windowed(path: Path, part: str, names: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    readers = ReaderSet.installed()
    every = (one for one in readers.describe(source_at(str(path))) if isinstance(one, Asset))
    image = readers.read(next(one for one in every if one.part == part), "hu")
    for name in names:
        centre, width = CT_WINDOWS[name]  # type: ignore[index]
        shown = Window(center=centre, width=width).apply(image.pixels, ImageInput(image))
        yield name, np.rint(shown * 255).astype(np.uint8)


def _figure(pixels: Any, caption: str, side: int) -> str:
    out = io.BytesIO()
    picture = fitted(pixels, side, side, enlarge=True)
    picture.save(out, "JPEG", quality=84, optimize=True)
    image = f'<img src="{data_uri(out.getvalue())}" alt="" width="{picture.width}" height="{picture.height}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _words(row: Row, card: FileCard, source: str) -> Iterator[str]:
    facts = dict(card.facts)
    shape = " x ".join(map(str, card.stored.get("shape", ())))
    spacing = " x ".join(f"{value:.4g}" for value in card.stored.get("spacing_mm", ()))
    lines = [
        ("File", " · ".join(filter(None, (card.format, facts.get("object"), facts.get("transfer syntax"))))),
        ("Pixels", " · ".join(filter(None, (shape, f"{spacing} mm" if spacing else "", _bits(facts))))),
        (
            "Known",
            " · ".join(f"{name} {_short(card.columns[name])}" for name in _COLUMNS if _has(card, name)),
        ),
        ("One item", _items(card)),
        ("Display", card.display),
        ("Encoder", "; ".join(card.recipe.steps) if card.recipe else ""),
        ("Refused", card.recipe.refusal if card.recipe else ""),
        ("Failure", card.failure),
        ("To know", "; ".join(card.remarks)),
        ("Note", row.note),
        ("Source", source),
    ]
    yield "<dl>"
    for name, text in lines:
        if text:
            yield f"<dt>{name}</dt><dd>{escape(text)}</dd>"
    yield "</dl>"


def _items(card: FileCard) -> str:
    if card.part is None:
        return "none: " + "; ".join(card.skips)
    place = place_words(card.part, card.columns)
    return f"{card.why}; {card.items} in this file" + (f"; shown: {place}" if place else "")


def _bits(facts: dict[str, str]) -> str:
    return ", ".join(facts[name] for name in ("photometric", "bits") if name in facts)


def _has(card: FileCard, name: str) -> bool:
    return card.columns.get(name) is not None


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


_HEAD = """<!doctype html>
<!-- Written by docs/gallery.py; do not edit. -->
<html lang="en"><head><meta charset="utf-8"><title>Gallery: what goes into an encoder</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #1c2226; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 0 0 .6rem }
section { border-top: 1px solid #d5dade; padding: 1rem 0 }
.row { display: flex; gap: 1.5rem; flex-wrap: wrap; align-items: flex-start }
.pictures { display: flex; gap: .75rem; flex-wrap: wrap; align-items: flex-start; max-width: 100% }
figure { margin: 0 } figcaption { font-size: .8rem; color: #5a666e }
img { display: block; background: #000 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: 0;
  flex: 1 1 24rem; font-size: .88rem }
dt { color: #5a666e } dd { margin: 0; overflow-wrap: anywhere }
.left { flex: 0 0 22rem; color: #7a4a00; background: #fff6e5; padding: .6rem .8rem; margin: 0 }
</style></head><body>
<h1>Gallery: what goes into an encoder</h1>
<p>A row per modality, made by <code>docs/gallery.py</code> through the same door as
<code>embedstore inspect</code>: the picture as the reader hands it over, beside it what the default encoder
gets, what one item is, and which rule brought stored values to the screen. Of a file with many items the
middle one is shown. Pictures are small renderings of public files, each under the licence its row names, or
phantoms drawn by the script; nothing here is fit for diagnosis.</p>
"""
_FOOT = """
<footer><p>Files under MIT, BSD and Apache licences carry their notices in the repositories named as source;
CC BY files are credited by their source, shown here reduced in size and converted to JPEG; what was drawn for
this page is free of rights.</p>
</footer></body></html>
"""


def main() -> int:
    """Write the page; 1 when the collection is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("EMBEDSTORE_SHARED_DATA") or PAGE.parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(default), help="folder with MANIFEST.csv")
    parser.add_argument("--out", type=Path, default=PAGE)
    asked = parser.parse_args()
    if not (asked.data / "MANIFEST.csv").is_file():
        sys.stderr.write(f"no MANIFEST.csv in {asked.data}; say where the image collection is with --data\n")
        return 1
    asked.out.write_text(page(asked.data), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
