"""clip-retrieval's inference as a command in an environment of its own, for `throughput.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("clip-retrieval", "setuptools<81")  # it imports pkg_resources, which later ones do not have


class Absent(Exception):
    """It cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """environment: a virtual environment, made here when it does not exist; None leaves it out."""

    environment: Path | None
    model: str
    weights: Path | None
    threads: int
    batch: int

    def run(self, folder: Path, scratch: Path) -> float:
        """Images a second of the whole command, its start included. Raises Absent."""
        program = self._installed()
        line = [
            str(program),
            "inference",
            f"--input_dataset={folder}",
            f"--output_folder={scratch}",
            f"--clip_model=open_clip:{self.model}/{self.weights}",
            f"--batch_size={self.batch}",
            "--num_prepro_workers=1",
            "--enable_text=False",
        ]
        own = {"OMP_NUM_THREADS": str(self.threads), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        started = time.perf_counter()
        ran = subprocess.run(line, env={**os.environ, **own}, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        rows = _rows(scratch)
        images = sum(1 for _ in folder.iterdir())
        if ran.returncode or rows != images:
            raise Absent(f"clip-retrieval gave {rows} of {images} vectors: {ran.stderr.strip()[-200:]}")
        return rows / seconds

    def _installed(self) -> Path:
        if self.environment is None:
            raise Absent("no --peer VENV was named")
        program = self.environment / "bin" / "clip-retrieval"
        if not program.exists():
            try:
                subprocess.run([sys.executable, "-m", "venv", str(self.environment)], check=True)
                pip = [str(self.environment / "bin" / "pip"), "install", "--quiet", *PACKAGES]
                subprocess.run(pip, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise Absent(f"clip-retrieval cannot be installed here: {error}") from error
        return program.absolute()


def _rows(scratch: Path) -> int:
    import numpy as np

    return sum(len(np.load(path, mmap_mode="r")) for path in scratch.glob("img_emb/*.npy"))
