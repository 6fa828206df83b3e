"""Reading as work for a process of its own: describing files, and decoding what they hold.

A decoder that crashes or hangs on a hostile file then takes nothing with it, and Python's lock is not shared
with the forward pass. This module imports no encoder, so that such a process starts quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from embedstore.contracts.image import F32, Image, ImageInput, Intensity
from embedstore.contracts.record import Asset, Cut, Report, Skip, Source
from embedstore.contracts.region import Extent, Region
from embedstore.engine.deidentified import STAGE, Examined, Sight, Withheld, examine, see
from embedstore.errors import EmbedstoreError, ReadFailure
from embedstore.fingerprint import stream_sha256
from embedstore.privacy.profile import Profile
from embedstore.readers.choose import ReaderSet
from embedstore.readers.regions import Misfit, Regions, Unmarked, extent_of
from embedstore.settings import Limits

REGION, MASK = "region", "mask"
Preparation = Callable[[ImageInput], F32]
_BYTES_IN_A_SECOND = 16 << 20
_LONGEST_S = 600.0


def seconds_for(sources: Iterable[Source]) -> float:
    """What going once through these files may take beyond the limit of a task: a second for every 16 MiB.

    They are hashed, and packed ones are unpacked and measured whole before their first slice comes out.
    """
    sizes = {source.path: source.size for source in sources}
    return min(sum(sizes.values()) / _BYTES_IN_A_SECOND, _LONGEST_S)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Sources to be described. sha256: of each one's bytes where it is known already, None: to be found."""

    number: int
    sources: tuple[Source, ...]
    sha256: tuple[str | None, ...]

    @property
    def allowance_s(self) -> float:
        """As every `LongTask` has."""
        return seconds_for(self.sources)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one source holds, or the problem with it. examined: what it says of persons, if asked for."""

    sha256: str | None = None
    found: tuple[Asset | Report | Skip, ...] = ()
    problem: str | None = None
    examined: Examined | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One image to be encoded.

    sight: how it may be seen, None for all of it. region: the part of it that the vector is of, None for the
    whole. parent_range: statistics of its volume for the recipe, see `contracts.image.ImageInput`.
    """

    asset: Asset
    sight: Sight | None = None
    region: Region | None = None
    parent_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Images that are decoded and encoded together: all that crosses to a worker."""

    number: int
    subjects: tuple[Subject, ...]

    @property
    def allowance_s(self) -> float:
        """As every `LongTask` has."""
        return seconds_for(subject.asset.source for subject in self.subjects)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one subject of a task has no vector.

    stage: "read", "privacy", "region" (it has no pixel of it), "mask" (the region cannot be read or does not
    fit), "preprocess" or "encode". plain: of a mask, what a de-identified store is told; see `Misfit`.
    """

    position: int
    stage: str
    reason: str
    plain: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Inputs of the subjects at `positions` of a task: for the network, or images as they were decoded.

    extents: of their regions, None where the whole image is meant.
    """

    positions: tuple[int, ...]
    inputs: tuple[F32, ...] | tuple[ImageInput, ...]
    extents: tuple[Extent | None, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class DescribeWork:
    """From sources to what they hold. profile: they are examined for it as well."""

    limits: Limits
    cut: Cut
    profile: Profile | None = None

    def start(self) -> Describer:
        """Build the readers of this process."""
        return Describer(ReaderSet.installed(self.limits), self)


class Describer:
    """Describes sources from their headers; one bad source is one problem."""

    def __init__(self, readers: ReaderSet, work: DescribeWork) -> None:
        self._readers = readers
        self._work = work

    def prepare(self, look: Look) -> tuple[Seen, ...]:
        """What each source holds, in order."""
        return tuple(
            self._see(source, known) for source, known in zip(look.sources, look.sha256, strict=True)
        )

    def complete(self, prepared: tuple[Seen, ...]) -> tuple[Seen, ...]:
        """As it is."""
        return prepared

    def _see(self, source: Source, sha256: str | None) -> Seen:
        try:
            if sha256 is None:
                with source.open() as stream:
                    sha256 = stream_sha256(stream)
            found = tuple(self._readers.describe(source, self._work.cut))
            profile = self._work.profile
            examined = examine(source, profile, self._work.limits) if profile is not None else None
            return Seen(sha256, found, examined=examined)
        except ReadFailure as failure:
            return Seen(problem=failure.reason)
        except OSError as error:
            return Seen(problem=f"cannot be read: {error.strerror or type(error).__name__}")
        except MemoryError:
            return Seen(problem="too large for this machine's memory")
        except EmbedstoreError:
            raise
        except Exception as error:  # a parser's own message may quote the file: only its kind is kept
            return Seen(problem=f"damaged: its header cannot be read ({type(error).__name__})")


@dataclass(frozen=True)
class DecodeWork:
    """From assets to what is given to an encoder. preparation: its preprocessing, None to leave images as
    they are."""

    limits: Limits
    wants: Intensity
    preparation: Preparation | None = None

    def start(self) -> Decoder:
        """Build the readers of this process."""
        return Decoder(ReaderSet.installed(self.limits), self.wants, self.preparation)


class Decoder:
    """Decodes and preprocesses; one bad asset is one refusal."""

    def __init__(self, readers: ReaderSet, wants: Intensity, preparation: Preparation | None) -> None:
        self._readers = readers
        self._wants = wants
        self._preparation = preparation
        self._regions = Regions(readers)

    def prepare(self, task: Task) -> Prepared:
        """Read, and preprocess where that can be done apart from the network."""
        positions, extents, refusals = list[int](), list[Extent | None](), list[Refusal]()
        inputs = list[F32 | ImageInput]()
        for position, subject in enumerate(task.subjects):
            try:
                given = self._given(subject)
                inputs.append(given if self._preparation is None else self._preparation(given))
                extents.append(None if given.roi is None else extent_of(given.roi, given.image.offset))
                positions.append(position)
            except Withheld as withheld:
                refusals.append(Refusal(position, STAGE, str(withheld)))
            except Unmarked as unmarked:
                refusals.append(Refusal(position, REGION, str(unmarked)))
            except Misfit as misfit:
                refusals.append(Refusal(position, MASK, misfit.reason, misfit.plain))
            except ReadFailure as failure:
                refusals.append(Refusal(position, "read", failure.reason))
            except EmbedstoreError as error:
                refusals.append(Refusal(position, "preprocess", str(error)))
            except MemoryError:
                refusals.append(Refusal(position, "read", "too large for this machine's memory"))
            except Exception as error:  # a decoder's own error may quote the file: only its kind is kept
                refusals.append(Refusal(position, "read", f"unreadable ({type(error).__name__})"))
        return Prepared(tuple(positions), tuple(inputs), tuple(extents), tuple(refusals))  # type: ignore[arg-type]

    def _given(self, subject: Subject) -> ImageInput:
        image = self._seen(subject.asset, subject.sight)
        roi = None
        if subject.region is not None:
            roi = self._regions.mask(subject.region, subject.asset, image)
        return ImageInput(image, roi, subject.parent_range)

    def _seen(self, asset: Asset, sight: Sight | None) -> Image:
        image = self._readers.read(asset, self._wants)
        if sight is None:
            return image
        return see(
            image, sight, lambda: image if self._wants == "display" else self._readers.read(asset, "display")
        )

    def complete(self, prepared: Prepared) -> Prepared:
        """As it is: the forward pass is another's."""
        return prepared
