"""Files that are not what their name says, made from a good checkpoint; none of them may be loaded.

Each maker is given a good file and a path to write to, and says by a regular expression what the refusal has
to name. Plugin tests take them all.
"""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Payload:
    """Unpickling this would create a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def witness(out: Path) -> Path:
    """What a payload beside `out` would have left."""
    return out.with_suffix(".ran")


def _code(good: Path, out: Path) -> None:
    torch.save({"model": Payload(witness(out)), "teacher": {}}, out)


def _code_of_old(good: Path, out: Path) -> None:
    torch.save({"model": Payload(witness(out))}, out, _use_new_zipfile_serialization=False)


def _bare_pickle(good: Path, out: Path) -> None:
    out.write_bytes(pickle.dumps(Payload(witness(out))))


def _packed(good: Path, out: Path) -> None:
    with (
        zipfile.ZipFile(good) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped,
    ):
        for name in source.namelist()[:20]:
            zipped.writestr(name, source.read(name))


def _bomb(good: Path, out: Path) -> None:
    """200 MB of zeros in 0.2 MB."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        zipped.writestr("archive/data.pkl", b"\0" * (200 << 20))


def _program(good: Path, out: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the format deprecated
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(out))


def _safetensors(good: Path, out: Path) -> None:
    from safetensors.torch import save_file

    save_file({"cls_token": torch.zeros(1, 1, 64)}, out)


def _other_zip(good: Path, out: Path) -> None:
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")


def _text(content: bytes) -> Callable[[Path, Path], None]:
    return lambda good, out: out.write_bytes(content) and None


def _cut(share: float) -> Callable[[Path, Path], None]:
    def write(good: Path, out: Path) -> None:
        data = good.read_bytes()
        out.write_bytes(data[: int(len(data) * share) + 1])

    return write


def _other_model(good: Path, out: Path) -> None:
    names = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight")
    torch.save({name: torch.zeros(4) for name in names}, out)


WRONG_FILES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "empty": (_text(b""), "it is empty"),
    "web page": (_text(b"<!doctype html><title>Access to this model is restricted"), "a web page"),
    "error in JSON": (_text(b'{"error": "gated"}'), "a web page"),
    "LFS pointer": (_text(b"version https://git-lfs.github.com/spec/v1\noid sha256:00"), "Git LFS pointer"),
    "text": (_text(b"hello"), "truncated, or no PyTorch checkpoint"),
    "code": (_code, "could run code"),
    "code, old format": (_code_of_old, "could run code"),
    "bare pickle": (_bare_pickle, "could run code|no PyTorch checkpoint"),
    "packed": (_packed, "a packed archive"),
    "bomb": (_bomb, r"a packed archive, .*: 209715200 bytes"),
    "program": (_program, "TorchScript"),
    "safetensors": (_safetensors, "a safetensors file"),
    "office document": (_other_zip, "no PyTorch checkpoint in it"),
    "a list": (lambda good, out: torch.save([torch.zeros(1)], out), "found list"),
    "another model": (_other_model, "expected .*found"),
    **{
        f"cut at {share:g}": (_cut(share), "truncated|damaged zip")
        for share in (1e-6, 1e-4, 0.01, 0.5, 0.999)
    },
}


def change(good: Path, out: Path, under: str | None, how: Callable[[dict[str, Any]], object]) -> None:
    """Write a copy whose tensors `how` has changed; `under` is their key at the top level."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(good, weights_only=True, mmap=True)
    how(content[under] if under else content)
    torch.save(content, out)


def laid_out(state: dict[str, Any]) -> None:
    """A tensor of a few bytes as one of a terabyte."""
    key = next(name for name, value in state.items() if value.ndim > 1)
    state[key] = torch.zeros(1).expand(1 << 19, 1 << 19)


def prefixed(state: dict[str, Any]) -> None:
    """Every name behind `module.`, as DistributedDataParallel writes it."""
    for name in list(state):
        state[f"module.{name}"] = state.pop(name)


def lacking(name: str) -> Callable[[dict[str, Any]], object]:
    """Without one tensor."""
    return lambda state: state.pop(name)


def renamed(name: str, other: str) -> Callable[[dict[str, Any]], object]:
    """One tensor under another name."""
    return lambda state: state.update({other: state.pop(name)})


def more(name: str) -> Callable[[dict[str, Any]], object]:
    """A tensor that no official file has."""
    return lambda state: state.update({name: torch.zeros(3)})


def wider(name: str) -> Callable[[dict[str, Any]], object]:
    """One tensor of twice the values."""
    return lambda state: state.update({name: torch.cat([state[name], state[name]])})
