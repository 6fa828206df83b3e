"""Weights on disk, for plugins: where a checkpoint is looked for, whether it is one, and what to say to a
person who has none. The libraries that read it stay in the plugins: nothing heavy is imported here."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

from embedstore.contracts.encoder import LoadRequest, WeightsReport
from embedstore.errors import EmbedstoreError, Refused, UsageError, WeightsMissing
from embedstore.fingerprint import file_sha256

_TORCH = (b"PK\x03\x04", b"\x80\x02")  # torch.save since 1.6 writes a zip archive, before that a pickle
_BROKEN = "it is truncated, or no PyTorch checkpoint"
_DAMAGED = "a damaged zip archive; download it again"
_OBJECT = re.compile(r"GLOBAL (\S+)")  # where torch names the class it did not construct
_SHOWN = 4
_LARGEST_TABLE = 64 << 20  # bytes of the pickle that names the tensors; MedSAM2's has 0.1 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """A checkpoint that its authors publish.

    files: its names, the current one first. obtain: how to get it, the words after "is not on this machine:".
    repository: on the Hugging Face hub, whose local cache is looked into; "" when it is not there. gated:
    whether its terms have to be accepted first.
    """

    files: tuple[str, ...]
    obtain: str
    repository: str = ""
    gated: bool = False

    def places(self, request: LoadRequest) -> Iterator[Path]:
        """Where the file may lie, in order: what was named (a file is meant alone), the weights folder, the
        hub's cache."""
        if request.weights is not None and not request.weights.is_dir():
            yield request.weights
            return
        for folder in (request.weights, request.weights_folder):
            if folder is not None:
                yield from (folder / file for file in self.files)
        if request.weights is None and self.repository:
            yield from hub_snapshots(self.repository, self.files[0])

    def _searched(self, request: LoadRequest) -> tuple[str, ...]:
        """The places in words: the hub's cache is named even when it has no such repository."""
        places = [str(path) for path in self.places(request)]
        if request.weights is None and self.repository:
            places.append(str(_hub_folder(self.repository) / "*" / self.files[0]))
        return tuple(places)

    def report(self, request: LoadRequest, hint: str = "") -> WeightsReport:
        """Whether the file is here and looks like a PyTorch checkpoint; nothing is loaded.

        hint: ends the remedy for a file that is missing.
        """
        searched = self._searched(request)
        path = next((path for path in self.places(request) if path.is_file()), None)
        if path is None:
            remedy = self._remedy(request, hint)
            return WeightsReport(state="missing", remedy=remedy, searched=searched, files=self.files)
        wrong = unlike_a_checkpoint(path, self.gated)
        state: Literal["present", "unusable"] = "unusable" if wrong else "present"
        return WeightsReport(state=state, path=str(path), remedy=wrong, searched=searched, files=self.files)

    def require(self, request: LoadRequest, hint: str = "") -> Path:
        """The file to load. Raises WeightsMissing, which says what to fetch and where to put it."""
        path = next((path for path in self.places(request) if path.is_file()), None)
        if path is None:
            raise WeightsMissing(self._remedy(request, hint))
        return path

    def is_here(self, request: LoadRequest) -> bool:
        """Whether a file stands in one of the places."""
        return any(path.is_file() for path in self.places(request))

    def _remedy(self, request: LoadRequest, hint: str) -> str:
        file = self.files[0]
        if request.weights is not None and not request.weights.exists():
            return f"no such weights: {request.weights}; give the path of {file}"
        return (
            f"{file} is not on this machine: {self.obtain} and put it into the folder that "
            f"EMBEDSTORE_WEIGHTS names, or give its path with --weights"
            f"{', or leave it in the Hugging Face cache' if self.repository else ''}{hint}"
        )


def hub_snapshots(repository: str, file: str) -> list[Path]:
    """The copies of a repository's file in the local cache of the Hugging Face hub; no network."""
    return sorted(_hub_folder(repository).glob(f"*/{file}"))


def _hub_folder(repository: str) -> Path:
    """Where the hub's own library keeps copies: HF_HUB_CACHE, else `hub` in HF_HOME or the user's cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{caches}/huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    return cache / f"models--{repository.replace('/', '--')}" / "snapshots"


def not_downloaded(path: Path, gated: bool = False) -> str:
    """Empty, or one line that says what came in place of the weights: nothing, a web page, a pointer."""
    try:
        with path.open("rb") as stream:
            found = _came_instead(stream.read(256))
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if found == "a web page":
        remedy = "the terms have to be accepted before the download" if gated else "download the file itself"
        return f"{path} is a web page, not a checkpoint: {remedy}"
    if found == "a Git LFS pointer":
        return f"{path} is a Git LFS pointer, not a checkpoint; download the file itself"
    return f"{path} is empty; download it again" if found else ""


def _came_instead(head: bytes) -> str:
    if not head:
        return "empty"
    if head.lstrip().startswith((b"<", b"{")):
        return "a web page"
    return "a Git LFS pointer" if head.startswith(b"version https://git-lfs") else ""


def unlike_a_checkpoint(path: Path, gated: bool = False) -> str:
    """Empty, or one line that says why the file cannot be a PyTorch checkpoint; its first bytes are read."""
    wrong = not_downloaded(path, gated)
    if wrong:
        return wrong
    with path.open("rb") as stream:
        if stream.read(len(_TORCH[0])).startswith(_TORCH):
            return ""
    return f"{path} is not a PyTorch checkpoint; download it again"


def read_checkpoint(path: Path, load: Callable[[bool], Any], refused: Callable[[str], Refused]) -> Any:
    """What `load(mmap)` gives of a PyTorch file, its failures in plain words.

    load: the plugin's call of torch.load with weights_only=True; it is told whether the file can be mapped
    into memory. refused: makes the error of a reason. Raises WeightsMissing (cannot be read), and what
    `refused` made.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(256)
            archive = zipfile.is_zipfile(stream)
    except zipfile.BadZipFile:  # an archive of several disks
        raise refused(f"it is {_DAMAGED}") from None
    except OSError as error:
        raise WeightsMissing(f"{path} cannot be read ({error.strerror})") from error
    wrong = _came_instead(head) or (_wrong_archive(path) if archive else _other_format(head))
    if wrong:
        raise refused(f"it is {wrong}")
    try:
        return load(archive)
    except UnpicklingError as error:
        if not archive and not head.startswith(b"\x80"):
            raise refused(_BROKEN) from error
        named = _OBJECT.search(str(error))
        found = f"Python objects ({named[1]})" if named else "Python objects"
        raise refused(f"expected tensors only, found {found}, which could run code") from error
    except Exception as error:  # a damaged or hostile file makes torch.load raise anything at all
        raise refused(_BROKEN) from error


def _other_format(head: bytes) -> str:
    return "a safetensors file" if head[8:9] == b"{" else ""


def _wrong_archive(path: Path) -> str:
    """Empty, or what a zip archive is that torch.save did not write; nothing is unpacked.

    torch.save stores without compression, so that an honest archive's members are no larger than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return _DAMAGED
    if any("/code/" in member.filename for member in members):
        return "a TorchScript archive: a program, which is not run"
    size, declared = path.stat().st_size, sum(member.file_size for member in members)
    if declared > size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        return f"a packed archive, not one of torch.save: {declared} bytes in a file of {size}"
    tables = [member.file_size for member in members if member.filename.endswith("data.pkl")]
    if len(tables) != 1:
        return "a zip archive with no PyTorch checkpoint in it"
    return "a list of names larger than any checkpoint's" if tables[0] > _LARGEST_TABLE else ""


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file whose pages are in use. stamp: its inode, size and time when they were mapped.

    Whoever rewrites it in its place changes the vectors; replacing it by another file does not.
    """

    path: Path
    stamp: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path) -> MappedFile:
        """The file as it is now."""
        return cls(path, _stamp(path))

    def check(self) -> None:
        """Raises EmbedstoreError once the bytes may be others."""
        try:
            now = _stamp(self.path)
        except OSError:  # its name is gone, the pages are not
            return
        if now[0] == self.stamp[0] and now != self.stamp:
            raise EmbedstoreError(f"{self.path} was changed while its weights were in use; run this again")


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def check_sizes(path: Path, tensors: Iterable[Any], refused: Callable[[str], Refused]) -> None:
    """Raise what `refused` makes when torch tensors claim more values than the file has room for.

    A few bytes can be laid out as a tensor of any shape; copying it would fill the memory.
    """
    declared = sum(int(one.numel()) * int(one.element_size()) for one in tensors)
    size = path.stat().st_size
    if declared > size:
        raise refused(f"its tensors claim {declared} bytes, the file has {size}")


def only_fp32(name: str, request: LoadRequest) -> None:
    """For an encoder that computes in fp32 and by its own library only. Raises UsageError."""
    if request.precision != "fp32":
        raise UsageError(f"encoder '{name}' computes in fp32, not in {request.precision}")
    if request.runtime != "torch":
        raise UsageError(f"encoder '{name}' has no other runtime; leave --runtime {request.runtime} out")


def require_trust(path: Path, trust: str | None, instead: str) -> None:
    """A file that is a program is run only when its sha256 was typed by who reviewed it.

    instead: what would not need that, the words after "or". Raises Refused with the sha256 to type.
    """
    sha256 = file_sha256(path)
    if trust == sha256:
        return
    other = f"--trust-code names another file (sha256 {trust[:12]}...): " if trust else ""
    raise Refused(
        f"{path} is a program, not only weights: {other}review it and add --trust-code {sha256}, or {instead}"
    )


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive; its list of members is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def some(keys: Iterable[object]) -> str:
    """The first few of many names, for a message."""
    names = [str(key) for key in keys]
    shown = ", ".join(names[:_SHOWN]) or "nothing"
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
