"""One network by torch, by ONNX Runtime and in int8: images a second, and how far the vectors are apart.

A ViT-B/32 with random weights (their values do not matter for speed) on prepared images. Rounds are
interleaved, so that a neighbour's load falls on all alike; rates are medians. The vectors are of the pictures
in `--images FOLDER`, else of made ones. Prints JSON.

    python benchmarks/precision.py [--images FOLDER] [--model NAME] [--threads 2] [--rounds 7] [--bf16]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from embedstore_timm import factory
from PIL import Image as PilImage
from timm.models import save_for_hf

from embedstore.contracts.encoder import LoadRequest, StagedEncoder
from embedstore.contracts.image import F32, Image, ImageInput
from embedstore.engine.precision import IMAGES, agreement

SUFFIXES = (".png", ".jpg", ".jpeg")
ROUTES = {
    "torch_fp32": {},
    "onnx_fp32": {"runtime": "onnx"},
    "onnx_int8": {"precision": "int8"},
    "torch_bf16": {"precision": "bf16"},
}


def pictures(folder: Path | None) -> list[ImageInput]:
    """Up to 256 of the folder, or made ones: blocks of colour under a gradient."""
    if folder is None:
        rng = np.random.default_rng(0)
        blocks = [(rng.random((8, 8, 3)) ** rng.uniform(0.3, 3) * 255).astype(np.uint8) for _ in range(64)]
        shown = [
            PilImage.fromarray(block).resize((256, 256), PilImage.Resampling.BICUBIC) for block in blocks
        ]
    else:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:IMAGES]
        shown = [PilImage.open(path).convert("RGB") for path in paths]
    return [ImageInput(Image(np.asarray(one), "display")) for one in shown]


def measure(encoders: dict[str, StagedEncoder], batch: F32, rounds: int) -> dict[str, float]:
    """Median images a second of each, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds + 1):
        for name, encoder in encoders.items():
            started = time.perf_counter()
            encoder.forward_images(batch)
            seconds[name].append(time.perf_counter() - started)
    return {name: len(batch) / float(np.median(taken[1:])) for name, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--model", default="vit_base_patch32_224")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bf16", action="store_true", help="measure bf16 by torch as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        torch.manual_seed(0)
        folder = Path(place) / "model"
        save_for_hf(timm.create_model(args.model, pretrained=False), folder, safe_serialization=True)
        routes = {name: how for name, how in ROUTES.items() if name != "torch_bf16" or args.bf16}
        encoders, opened = {}, {}
        for name, how in routes.items():
            started = time.perf_counter()
            request = LoadRequest(threads=args.threads, cache=Path(place) / "cache", **how)
            encoders[name] = factory.load(f"timm:{folder}", request)
            opened[name] = round(time.perf_counter() - started, 2)
        prepared = np.stack([encoders["torch_fp32"].prepare_image(image) for image in pictures(args.images)])
        rates = measure(encoders, np.resize(prepared, (args.batch, *prepared.shape[1:])), args.rounds)
        size = args.batch
        vectors = {
            name: np.concatenate(
                [one.forward_images(prepared[i : i + size]) for i in range(0, len(prepared), size)]
            )
            for name, one in encoders.items()
        }
    exact = vectors["torch_fp32"]
    found = {}
    for name in routes:
        cosine, overlap = agreement(exact, vectors[name])
        found[name] = {
            "images_per_s": round(rates[name], 2),
            "times_torch_fp32": round(rates[name] / rates["torch_fp32"], 3),
            "centred_cosine": round(cosine, 6),
            "top_10_overlap": round(overlap, 4),
            "largest_difference": float(np.abs(vectors[name] - exact).max()),
            "seconds_to_load": opened[name],
        }
    print(
        json.dumps(
            {
                "model": args.model,
                "threads": args.threads,
                "batch": args.batch,
                "images": len(prepared),
                "routes": found,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
