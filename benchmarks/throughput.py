"""Images a second from files to committed vectors, beside the bare forward pass and beside what others do.

    python benchmarks/throughput.py [--images 160] [--threads 2] [--encoder vit] [--repeats 1] [--peer VENV]
        [--prepare] [--keep FOLDER] [--only PATTERN]

One checkpoint (open_clip's ViT-B/32, weights from a seed), one number of threads, the same images as DICOM
and as JPEG: the forward pass on tensors that are in memory; `ingest`; the loop one writes without embedstore
(torch's DataLoader with one worker process, the same preprocessing, vectors into a list); the forward pass of
open_clip's own module; forward pass and ingest by ONNX Runtime in fp32 and in int8; and whole commands, their
start included: `embedstore ingest` and `clip-retrieval inference`, which has a virtual environment of its own
(--peer; made when it is not there, with setuptools<81). The forward pass is measured again before and after
everything else, and a ratio is to the mean of those two. --encoder NAME: another encoder, without runtimes
and commands. --prepare draws, exports and ends; with --keep, what is prepared is used again. Rates are told
on stderr as they come.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from clip_retrieval_peer import Absent, Peer

from embedstore.contracts.encoder import StagedEncoder
from embedstore.contracts.image import F32, Image, ImageInput
from embedstore.contracts.record import Asset
from embedstore.engine.encoders import EncoderPool
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.readers.choose import ReaderSet
from embedstore.readers.walk import Unreachable, walk

MODEL = "ViT-B-32"
VIT = f"open-clip:{MODEL}/laion2b_s34b_b79k"  # whose preprocessing it is
CHECKED = 64  # images that an int8 store is checked on before it is measured
BETWEEN = 32  # images of the forward pass before and after each measurement


@dataclass(frozen=True)
class Films:
    """The same films twice, and a few others."""

    dicom: Path
    jpeg: Path
    others: Path

    @classmethod
    def draw(cls, folder: Path, images: int) -> Films:
        from PIL import Image as Picture

        from embedstore.demo.cohort import build_cohort

        films = cls(folder / "dicom", folder / "jpeg", folder / "others")
        if films.others.exists():
            return films
        for place in (films.dicom, films.jpeg, films.others):
            place.mkdir()
        build_cohort(folder / "cohort", patients=images + CHECKED)
        readers = ReaderSet.installed()
        for number, asset in zip(range(images + CHECKED), assets(folder / "cohort"), strict=False):
            if number < images:
                Path(asset.source.path).rename(films.dicom / f"{number}.dcm")
                asset = next(assets(films.dicom / f"{number}.dcm"))
            pixels = readers.read(asset, "display").pixels[..., 0]
            place = films.jpeg if number < images else films.others
            Picture.fromarray(pixels).convert("RGB").save(place / f"{number}.jpg", quality=90)
        return films


def assets(folder: Path) -> Iterator[Asset]:
    readers = ReaderSet.installed()
    for source in walk([folder]):
        if not isinstance(source, Unreachable):
            yield from (found for found in readers.describe(source) if isinstance(found, Asset))


def prepared(encoder: StagedEncoder, folder: Path) -> F32:
    readers = ReaderSet.installed()
    return np.stack([encoder.prepare_image(ImageInput(readers.read(a, "display"))) for a in assets(folder)])


def forward(encoder: StagedEncoder | Direct, tensors: F32) -> float:
    started = time.perf_counter()
    for first in range(0, len(tensors), encoder.batch_size):
        encoder.forward_images(tensors[first : first + encoder.batch_size])
    return len(tensors) / (time.perf_counter() - started)


def ingest(pool: EncoderPool, choice: EncoderChoice, folder: Path, scratch: Path, others: Path) -> float:
    """As ingest reports it: from the first file to the last commit. int8 into a store that was checked.

    pool: has the encoder loaded already, as the forward pass it is compared with has.
    """
    with Store.create(scratch) as store:
        store._workspace.encoders._loaded.update(pool._loaded)
        if choice.precision == "int8":
            store.ingest(IngestRequest(paths=(others,), encoder=choice))
        return store.ingest(IngestRequest(paths=(folder,), encoder=choice)).images_per_s


class Files:
    """What a DataLoader reads: preprocessed pictures."""

    def __init__(self, paths: list[Path], preparation: Callable[[ImageInput], F32]) -> None:
        self.paths = paths
        self.preparation = preparation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> F32:
        from PIL import Image as Picture

        pixels = np.asarray(Picture.open(self.paths[number]).convert("RGB"))
        return self.preparation(ImageInput(Image(pixels, "display")))


def loop(encoder: StagedEncoder, folder: Path) -> float:
    from torch.utils.data import DataLoader

    started = time.perf_counter()
    files = Files(sorted(folder.iterdir()), encoder.preparation)
    batches = DataLoader(files, batch_size=encoder.batch_size, num_workers=1)
    vectors = [encoder.forward_images(batch.numpy()) for batch in batches]
    return sum(map(len, vectors)) / (time.perf_counter() - started)


def command(choice: EncoderChoice, folder: Path, scratch: Path) -> float:
    """The whole command, by the clock."""
    asked = ["--encoder", choice.name, "--weights", str(choice.weights), "--threads", str(choice.threads)]
    started = time.perf_counter()
    for words in (["init"], ["ingest", str(folder), *asked]):
        program = Path(sys.executable).with_name("embedstore")
        subprocess.run([program, *words, "--store", str(scratch), "--json"], check=True, capture_output=True)
    return sum(1 for _ in folder.iterdir()) / (time.perf_counter() - started)


class Direct:
    """The same checkpoint's image tower as open_clip runs it, for comparison."""

    def __init__(self, weights: Path, threads: int, batch_size: int) -> None:
        import open_clip
        import torch

        torch.set_num_threads(threads)
        self.batch_size = batch_size
        self._torch = torch
        self._tower = open_clip.create_model(MODEL, pretrained=str(weights)).visual.eval()

    def forward_images(self, batch: F32) -> F32:
        with self._torch.inference_mode():
            found: F32 = self._tower(self._torch.from_numpy(batch)).numpy()
            return found


def vit_weights(folder: Path) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder / "vit_b_32.safetensors"
    if path.exists():
        return path
    state = open_clip.create_model(MODEL).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


class Rounds:
    """Rates by name, each with its ratio to the forward pass before and after it."""

    def __init__(self, encoder: StagedEncoder, tensors: F32) -> None:
        self._encoder, self._tensors = encoder, tensors[:BETWEEN]
        self._last = forward(encoder, self._tensors)
        self.rates: dict[str, list[float]] = {"forward": []}
        self.ratios: dict[str, list[float]] = {}
        self.absent: dict[str, str] = {}

    def take(self, name: str, measure: Callable[[], float]) -> None:
        try:
            rate = measure()
        except Absent as error:
            self.absent[name] = str(error)
            return
        now = forward(self._encoder, self._tensors)
        self.rates.setdefault(name, []).append(rate)
        self.ratios.setdefault(name, []).append(2 * rate / (self._last + now))
        self.rates["forward"].append(now)
        sys.stderr.write(f"{rate:8.2f} images/s, {self.ratios[name][-1]:.3f} of the forward pass: {name}\n")
        self._last = now

    def document(self) -> dict[str, object]:
        rows = {
            name: {
                "images_per_s": round(statistics.median(rates), 2),
                "of_forward": [round(one, 3) for one in self.ratios.get(name, [])],
            }
            for name, rates in self.rates.items()
        }
        return {"rows": rows, "absent": self.absent}


@dataclass(frozen=True)
class Bench:
    """What is measured with what."""

    films: Films
    choice: EncoderChoice
    pool: EncoderPool
    encoder: StagedEncoder
    tensors: F32
    others: dict[str, EncoderChoice]
    peer: Peer | None

    @classmethod
    def build(cls, args: argparse.Namespace, place: Path) -> Bench:
        films, vit = Films.draw(place, args.images), args.encoder == "vit"
        weights = vit_weights(place) if vit else None
        choice = EncoderChoice(name=VIT if vit else args.encoder, weights=weights, threads=args.threads)
        pool = EncoderPool()
        encoder = pool.get(choice)
        assert isinstance(encoder, StagedEncoder)
        others = {
            "ONNX fp32": replace(choice, runtime="onnx"),
            "ONNX int8": replace(choice, precision="int8"),
        }
        peer = Peer(args.peer, MODEL, weights, args.threads, encoder.batch_size) if vit else None
        tensors = prepared(encoder, films.jpeg)
        return cls(films, choice, pool, encoder, tensors, others if vit else {}, peer)

    def routes(self, at: Path) -> Iterator[tuple[str, Callable[[], float]]]:
        """Each measurement by its name, in folders of its own below `at`."""
        jpeg, dicom, spare = self.films.jpeg, self.films.dicom, self.films.others
        yield "ingest, JPEG", partial(ingest, self.pool, self.choice, jpeg, at / "jpeg", spare)
        yield "ingest, DICOM", partial(ingest, self.pool, self.choice, dicom, at / "dicom", spare)
        yield "DataLoader loop, JPEG", partial(loop, self.encoder, jpeg)
        if self.choice.weights is not None:
            direct = Direct(self.choice.weights, self.choice.threads, self.encoder.batch_size)
            forward(direct, self.tensors[:BETWEEN])
            yield "forward, open_clip itself", partial(forward, direct, self.tensors)
        for name, choice in self.others.items():
            loaded = self.pool.get(choice)  # exported before it is measured
            assert isinstance(loaded, StagedEncoder)
            forward(loaded, self.tensors[:BETWEEN])
            yield f"forward, {name}", partial(forward, loaded, self.tensors)
            yield f"ingest, JPEG, {name}", partial(ingest, self.pool, choice, jpeg, at / name, spare)
        if self.peer is not None:
            yield "command embedstore ingest, JPEG", partial(command, self.choice, jpeg, at / "command")
            yield "command clip-retrieval inference, JPEG", partial(self.peer.run, jpeg, at / "peer")


def measure(args: argparse.Namespace, place: Path) -> dict[str, object]:
    bench = Bench.build(args, place)
    if args.prepare:
        return {"prepared": [name for name, _ in bench.routes(place)]}
    forward(bench.encoder, bench.tensors[:BETWEEN])
    rounds = Rounds(bench.encoder, bench.tensors)
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as at:
            for name, route in bench.routes(Path(at)):
                if re.search(args.only, name):
                    rounds.take(name, route)
    return {
        "encoder": bench.choice.name,
        "cores": os.cpu_count(),
        "threads": args.threads,
        "batch": bench.encoder.batch_size,
        "images": len(bench.tensors),
        **rounds.document(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encoder", default="vit", help="vit: open_clip's ViT-B/32; else a name")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peer", type=Path, help="virtual environment with clip-retrieval")
    parser.add_argument("--only", default="", help="measurements whose name matches this pattern")
    parser.add_argument("--prepare", action="store_true", help="draw and export, measure nothing")
    parser.add_argument("--keep", type=Path, help="folder for images, weights and graphs, used again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = args.keep or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        os.environ["EMBEDSTORE_CACHE"] = str((place / "cache").absolute())
        print(json.dumps(measure(args, place.absolute()), indent=1))


if __name__ == "__main__":
    main()
