"""Two imaginary X-ray systems: what each makes of the same chest, and how it stores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from embedstore.demo.shapes import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """A detector with its processing. Nothing here exists; the names say so.

    blur: pixels. scatter: share of a wide veil. noise: of the stored range, at full transmission.
    gamma: exponent of the display curve; knee: its softness at both ends. bits: bits stored (of 16).
    """

    site: Literal["A", "B"]
    institution: str
    manufacturer: str
    model: str
    station: str
    software: str
    modality: Literal["DX", "CR"]
    photometric: Literal["MONOCHROME1", "MONOCHROME2"]
    shape: tuple[int, int]
    spacing_mm: float
    bits: int
    window: tuple[int, int]
    kvp: int
    blur: float
    scatter: float
    noise: float
    gamma: float
    sharpen: float
    collimation: float

    @property
    def inverted(self) -> bool:
        """Whether large stored values are shown dark (PS3.3 C.7.6.3.1.2)."""
        return self.photometric == "MONOCHROME1"


SCANNERS = (
    Scanner(
        site="A",
        institution="Synthetic Site A",
        manufacturer="SYNTHETIC Imaginary Optics",
        model="PhantomFlat 3000",
        station="SYN-DX-A1",
        software="embedstore phantom A",
        modality="DX",
        photometric="MONOCHROME2",
        shape=(384, 384),
        spacing_mm=0.937,
        bits=14,
        window=(8192, 15000),
        kvp=125,
        blur=0.55,
        scatter=0.10,
        noise=0.010,
        gamma=1.0,
        sharpen=0.55,
        collimation=0.5,
    ),
    Scanner(
        site="B",
        institution="Synthetic Site B",
        manufacturer="SYNTHETIC Fictitious Rays",
        model="PhantomPlate 12",
        station="SYN-CR-B7",
        software="embedstore phantom B",
        modality="CR",
        photometric="MONOCHROME1",
        shape=(352, 320),
        spacing_mm=1.023,
        bits=12,
        window=(2150, 3500),
        kvp=110,
        blur=0.8,
        scatter=0.18,
        noise=0.013,
        gamma=1.12,
        sharpen=0.15,
        collimation=0.8,
    ),
)


def expose(scanner: Scanner, depth: Grid, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Stored values (rows, columns) of one exposure: blur, scatter, quantum noise, automatic density, bits.

    The density is set from each film's own percentiles, as real systems do; it also takes from the mean
    grey most of what it could tell of the findings.
    """
    from scipy.ndimage import gaussian_filter

    sharp = gaussian_filter(depth, scanner.blur)
    veil = _wide_blur(sharp, 12)
    film = sharp * (1 - scanner.scatter) + veil * scanner.scatter
    film = film + scanner.sharpen * (sharp - gaussian_filter(sharp, 3.0))
    dose = scanner.noise * rng.uniform(0.7, 1.5)
    grain = rng.standard_normal(film.shape, dtype=np.float32)
    film = film + np.float32(dose) * gaussian_filter(grain, 0.45) * np.exp(0.9 * np.clip(film, 0, 1.6))
    inner = film[film.shape[0] // 8 : -film.shape[0] // 8 : 3, film.shape[1] // 8 : -film.shape[1] // 8 : 3]
    low, high = np.percentile(inner, (2.0, 97.0)) + rng.normal(0, 0.045, 2)
    tone = np.clip((film - low) / (high - low) * 0.78 + 0.12, 0, 1)
    tone = tone ** np.float32(scanner.gamma * rng.uniform(0.88, 1.14))
    tone = _mark(_collimate(tone, scanner, rng), scanner, rng)
    full = 2**scanner.bits - 1
    stored = np.round(tone * full * np.float32(0.97))
    values: NDArray[np.uint16] = (full - stored if scanner.inverted else stored).astype(np.uint16)
    return values


def _wide_blur(film: Grid, factor: int) -> Grid:
    small = Pillow.fromarray(film).resize(
        (film.shape[1] // factor, film.shape[0] // factor), Pillow.Resampling.BOX
    )
    return np.asarray(small.resize((film.shape[1], film.shape[0]), Pillow.Resampling.BICUBIC))


def _collimate(tone: Grid, scanner: Scanner, rng: np.random.Generator) -> Grid:
    """White borders of random width, where the shutters kept the rays out."""
    cut = (rng.uniform(-0.03, 0.03 * scanner.collimation + 0.012, 4) * tone.shape[0]).astype(int).clip(0)
    kept = tone.copy()
    top, bottom, left, right = cut
    kept[:top], kept[tone.shape[0] - bottom :] = 0.97, 0.97
    kept[:, :left], kept[:, tone.shape[1] - right :] = 0.97, 0.97
    return kept


def _mark(tone: Grid, scanner: Scanner, rng: np.random.Generator) -> Grid:
    """A lead marker at the patient's right shoulder that says what the film is: synthetic, right side."""
    canvas = Pillow.new("L", (tone.shape[1], tone.shape[0]))
    at = (int(tone.shape[1] * rng.uniform(0.03, 0.06)), int(tone.shape[0] * rng.uniform(0.03, 0.06)))
    ImageDraw.Draw(canvas).text(at, "SYN  R", fill=255, font=ImageFont.load_default(size=13))
    marked: Grid = np.maximum(tone, np.asarray(canvas, dtype=np.float32) / np.float32(265))
    return marked
