"""De-identified ingest: what a reading process looks for, and what the recording one lets through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from embedstore.contracts.image import Image
from embedstore.contracts.record import Asset, Report, Skip, Source
from embedstore.privacy.identifiers import NOBODY, Identifiers, identifiers_of
from embedstore.privacy.ocr import OcrUnavailable, available, legible_words
from embedstore.privacy.pixels import Box, Verdict, keep_only, pixel_verdict, plain_verdict
from embedstore.privacy.profile import Profile
from embedstore.readers.tables import Conflict
from embedstore.readers.walk import Unreachable
from embedstore.settings import Limits

if TYPE_CHECKING:
    from embedstore.engine.entries import Entry, Surveyed
    from embedstore.privacy.gate import Gate

STAGE = "privacy"


class Withheld(Exception):
    """An image that may not be seen; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Size of a stored frame, and the part of it that readers show, both as y0, y1, x0, x1."""

    rows: int
    columns: int
    shown: Box


@dataclass(frozen=True, slots=True)
class Sight:
    """How one image may be seen. keep: regions of the stored frame, none for all of it."""

    keep: tuple[Box, ...] = ()
    frame: Frame | None = None
    second_look: bool = False


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file says of persons. verdict: None where its format says nothing of burned-in text."""

    identifiers: Identifiers = NOBODY
    verdict: Verdict | None = None
    frame: Frame | None = None


def examine(source: Source, profile: Profile, limits: Limits) -> Examined:
    """Look through a source that could be described. Raises ReadFailure."""
    from embedstore.readers.dicom_file import parse, plausible  # late: not every process reads DICOM
    from embedstore.readers.dicom_values import integer
    from embedstore.readers.quiet import quiet_pydicom
    from embedstore.readers.ultrasound import picture_region

    with source.open() as stream:
        if not plausible(stream.read(4096)):
            return Examined()
        stream.seek(0)
        header = parse(stream, source.size, limits).header
    with quiet_pydicom():
        verdict = pixel_verdict(header, profile)
        frame = None
        if verdict.keep:
            rows, columns = integer(header, "Rows") or 0, integer(header, "Columns") or 0
            region = picture_region(header, rows, columns)
            whole = (0, 0, columns, rows)
            shown = (region.left, region.top, region.right, region.bottom) if region is not None else whole
            frame = Frame(rows, columns, shown)
        return Examined(identifiers_of(header, profile), verdict, frame)


def see(image: Image, sight: Sight, display: Callable[[], Image]) -> Image:
    """The image as it may be seen. display: gives its display pixels, should they be looked at again.

    Raises Withheld.
    """
    if sight.second_look and available():
        shown = _masked(display(), sight).pixels
        try:
            words = legible_words(np.asarray(shown if shown.ndim == 3 else shown[len(shown) // 2], np.uint8))
        except OcrUnavailable as error:
            raise Withheld(f"a second look was not possible: {error}") from None
        if words:
            raise Withheld("text was read in the image; mask it, and ingest with the option skip-ocr")
    return _masked(image, sight)


def _masked(image: Image, sight: Sight) -> Image:
    if not sight.keep:
        return image
    try:
        return replace(image, pixels=keep_only(image.pixels, _boxes(image.pixels.shape[-3:-1], sight)))
    except ValueError as error:
        raise Withheld(f"it cannot be masked: {error}") from None


def _boxes(size: tuple[int, ...], sight: Sight) -> list[Box]:
    """The regions in the coordinates of what was read: the whole frame, or the part that readers show."""
    frame = sight.frame
    if frame is None:
        raise ValueError("its size is not known")
    left, top, right, bottom = frame.shown
    if size == (frame.rows, frame.columns):
        left, top, right, bottom = 0, 0, frame.columns, frame.rows
    elif size != (bottom - top, right - left):
        raise ValueError("it has another size than its header says")
    moved = (
        (max(x0, left) - left, max(y0, top) - top, min(x1, right) - left, min(y1, bottom) - top)
        for x0, y0, x1, y1 in sight.keep
    )
    return [box for box in moved if box[0] < box[2] and box[1] < box[3]]


class Gatekeeper:
    """Seals what an ingest found before it is recorded, and remembers which names belong to which patient."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._of_patient: dict[str, Identifiers] = {}
        self._of_study: dict[str, Identifiers] = {}
        self._in_study: dict[str, set[str]] = {}

    def learn(self, surveyed: Surveyed, examined: Examined | None) -> None:
        """Remember whom a finding names, without sealing it yet."""
        for entry in surveyed.entries:
            self._remembered(entry.found, (examined or Examined()).identifiers)

    def seal(self, surveyed: Surveyed, examined: Examined | None) -> Surveyed:
        """The same finding with everything behind HMACs; images that may not be seen are withheld."""
        gate, source = self.gate, surveyed.source
        if isinstance(source, Unreachable):
            reason = gate.reason(source.reason, source.path)
            sealed = replace(source, path=gate.name(source.path), reason=reason)
            return replace(surveyed, source=sealed, problem=sealed.reason)
        kept = gate.seal(source)
        problem = surveyed.problem
        return replace(
            surveyed,
            source=kept,
            sha256=None if surveyed.sha256 is None else gate.sha256(surveyed.sha256),
            entries=tuple(self._entry(entry, kept, examined or Examined()) for entry in surveyed.entries),
            skips=tuple(self._skip(skip, kept) for skip in surveyed.skips),
            problem=None if problem is None else gate.reason(problem, source.path),
        )

    def _entry(self, entry: Entry, source: Source, examined: Examined) -> Entry:
        gate, found = self.gate, entry.found
        known = self._remembered(found, examined.identifiers)
        sealed: Asset | Report
        verdict = None
        if isinstance(found, Asset):
            header, part = gate.header(found.header, known, entry.tabled), gate.part(found.part)
            sealed = replace(found, source=source, part=part, header=header)
            verdict = examined.verdict or self._plain_verdict(found)
        else:
            sealed = replace(gate.report(found, known, entry.tabled), source=source)
        return replace(
            entry,
            found=sealed,
            key=(gate.sha256(entry.key[0]), sealed.part),
            conflicts=tuple(self._conflicts(entry, known)),
            read=found if isinstance(found, Asset) else None,
            sight=self._sight(verdict, examined.frame),
            withheld=verdict.reason if verdict is not None and verdict.kind == "quarantine" else None,
        )

    def _plain_verdict(self, found: Asset) -> Verdict:
        if found.reader == "slide":
            return Verdict("safe", "a tile of the scan; label and overview are not read", second_look=False)
        return plain_verdict(found.header.rows, found.header.columns, self.gate.profile)

    def _sight(self, verdict: Verdict | None, frame: Frame | None) -> Sight | None:
        if verdict is None:
            return None
        look = verdict.second_look and not self.gate.profile.skip_ocr
        return Sight(verdict.keep, frame, look) if look or verdict.keep else None

    def _skip(self, skip: Skip, source: Source) -> Skip:
        reason = self.gate.reason(skip.reason, skip.source.path)
        return replace(
            skip, source=source, part=self.gate.part(skip.part) if skip.part else "", reason=reason
        )

    def _conflicts(self, entry: Entry, known: Identifiers) -> list[Conflict]:
        header, found = entry.found.header, []
        for conflict in entry.conflicts:
            kept, other = (
                self.gate.column(header, conflict.field, value, known)
                for value in (conflict.kept, conflict.other)
            )
            if kept is not None and other is not None and kept != other:
                found.append(Conflict(conflict.field, kept, other))
        return found

    def _remembered(self, found: Asset | Report, new: Identifiers) -> Identifiers:
        """All identifiers met so far of whoever the item is about: by patient, and by study.

        A structured report may have no PatientID, or another one than the images of its study.
        """
        header = found.header
        patient, study = header.patient_id, header.study_uid
        own = new | self.gate.identifiers(header)
        people = {patient} - {None} if study is None else self._in_study.setdefault(study, set())
        if patient is not None:
            people.add(patient)
            self._of_patient[patient] = self._of_patient.get(patient, NOBODY) | own
        if study is not None:
            own = self._of_study[study] = self._of_study.get(study, NOBODY) | own
        for one in people:
            own |= self._of_patient.get(str(one), NOBODY)
        return own
