"""Reading as work for a process of its own: describing files, and decoding what they hold.

A decoder that crashes or hangs on a hostile file then takes nothing with it, and Python's lock is not shared
with the forward pass. This module imports no encoder, so that such a process starts quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embedstore.contracts.image import F32, Image, ImageInput, Intensity
from embedstore.contracts.record import Asset, Cut, Report, Skip, Source
from embedstore.errors import EmbedstoreError, ReadFailure
from embedstore.fingerprint import stream_sha256
from embedstore.readers.choose import ReaderSet
from embedstore.settings import Limits

Preparation = Callable[[ImageInput], F32]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Sources to be described. sha256: of each one's bytes where it is known already, None: to be found."""

    number: int
    sources: tuple[Source, ...]
    sha256: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one source holds, or the problem with it."""

    sha256: str | None = None
    found: tuple[Asset | Report | Skip, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Images that are decoded and encoded together: all that crosses to a worker."""

    number: int
    assets: tuple[Asset, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one asset of a task has no vector. stage: "read", "preprocess" or "encode"."""

    position: int
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Inputs of the assets at `positions` of a task: for the network, or images as they were decoded."""

    positions: tuple[int, ...]
    inputs: tuple[F32, ...] | tuple[Image, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class DescribeWork:
    """From sources to what they hold."""

    limits: Limits
    cut: Cut

    def start(self) -> Describer:
        """Build the readers of this process."""
        return Describer(ReaderSet.installed(self.limits), self.cut)


class Describer:
    """Describes sources from their headers; one bad source is one problem."""

    def __init__(self, readers: ReaderSet, cut: Cut) -> None:
        self._readers = readers
        self._cut = cut

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
            return Seen(sha256, tuple(self._readers.describe(source, self._cut)))
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

    def prepare(self, task: Task) -> Prepared:
        """Read, and preprocess where that can be done apart from the network."""
        positions, inputs, refusals = list[int](), list[F32 | Image](), list[Refusal]()
        for position, asset in enumerate(task.assets):
            try:
                image = self._readers.read(asset, self._wants)
                inputs.append(image if self._preparation is None else self._preparation(ImageInput(image)))
                positions.append(position)
            except ReadFailure as failure:
                refusals.append(Refusal(position, "read", failure.reason))
            except EmbedstoreError as error:
                refusals.append(Refusal(position, "preprocess", str(error)))
            except MemoryError:
                refusals.append(Refusal(position, "read", "too large for this machine's memory"))
            except Exception as error:  # a decoder's own error may quote the file: only its kind is kept
                refusals.append(Refusal(position, "read", f"unreadable ({type(error).__name__})"))
        return Prepared(tuple(positions), tuple(inputs), tuple(refusals))  # type: ignore[arg-type]

    def complete(self, prepared: Prepared) -> Prepared:
        """As it is: the forward pass is another's."""
        return prepared
