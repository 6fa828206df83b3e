"""Settings that come from the environment, read once into a frozen record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEFAULT_STORE = Path("embedstore-data")
DEFAULT_ENCODER = "starter"
DEFAULT_CACHE = Path("~/.cache/embedstore").expanduser()


def at_home(path: Path) -> Path:
    """`~` where no shell has put the home: in `--store=~/films`, in a file of variables."""
    try:
        return path.expanduser()
    except RuntimeError:  # no such user, or nobody knows the home
        return path


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader may allocate before it has seen that a file is honest.

    max_pixels: pixels of one decoded image or frame (default as Pillow's own error threshold).
    max_file_bytes: bytes of one file held whole, of one archive member, and of voxels that are unpacked.
      Slides, DICOM objects and plain volumes are read piece by piece and may be larger.
    max_members: members of one archive.
    max_text_chars: characters of one report.
    """

    max_pixels: int = 178_956_970
    max_file_bytes: int = 4 << 30
    max_members: int = 200_000
    max_text_chars: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Process-wide settings.

    store: folder of the store (`EMBEDSTORE_STORE`, default `./embedstore-data`).
    weights: folder searched for pretrained weights (`EMBEDSTORE_WEIGHTS`), or None.
    cache: folder for what can be made again from weights (`EMBEDSTORE_CACHE`, else `embedstore` in
      `XDG_CACHE_HOME` or `~/.cache`).
    reading: "apart" reads files in a process of its own, which is killed when a file makes it hang; "inline"
      (`EMBEDSTORE_READING=inline`) reads in this process, for debuggers and for many small ingests.
    """

    store: Path = DEFAULT_STORE
    weights: Path | None = None
    cache: Path = DEFAULT_CACHE
    reading: Literal["apart", "inline"] = "apart"
    limits: Limits = Limits()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `environ` (default: the process environment); a leading `~` is the home."""
        env = os.environ if environ is None else environ
        weights = env.get("EMBEDSTORE_WEIGHTS")
        caches = env.get("XDG_CACHE_HOME")
        return cls(
            store=at_home(Path(env.get("EMBEDSTORE_STORE") or DEFAULT_STORE)),
            weights=at_home(Path(weights)) if weights else None,
            cache=at_home(
                Path(env.get("EMBEDSTORE_CACHE") or (f"{caches}/embedstore" if caches else DEFAULT_CACHE))
            ),
            reading="inline" if env.get("EMBEDSTORE_READING") == "inline" else "apart",
        )
