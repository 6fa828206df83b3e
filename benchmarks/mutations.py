"""Damaged files, read in processes that can be killed: a read, a failure or a skip, and nothing else.

    python benchmarks/mutations.py [FOLDER ...] [--mutations 2000] [--seed 1] [--keep DIR]

Seeds are valid files of every format and syntax (benchmarks/valid_files.py) and the files up to 300 kB under
FOLDER; all of them, and those in a folder called "broken", are also read as they are. Each file is walked,
described and read (first, middle and last item) in a worker with RLIMIT_AS; it has 10 seconds. --keep writes
every file that did something else to DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 10.0
ADDRESS_SPACE = 4 << 30
RESIDENT_MB = 1024
_SMALL = 300_000
_EXTREMES = tuple(
    number.to_bytes(4, "little")
    for number in (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 1, 0xFFFFFFFE, 0x100, 0xFFFF)
)
_VR = re.compile(rb"(?:AE|AS|CS|DA|DS|IS|LO|OB|OW|PN|SH|SQ|TM|UI|UL|UN|US)")
_SIZES = re.compile(  # Rows, Columns, Frames, Samples, Bits, and the length of items and pixel data
    rb"\x28\x00(?:\x10|\x11|\x08|\x02|\x00)[\x00\x01]|\x00\x28(?:\x00|\x01)[\x10\x11\x08\x02\x00]"
    rb"|\xfe\xff\x00\xe0|\xe0\x7f\x10\x00|IHDR|SOI|\xff[\xc0-\xcf]|\xff\x51|\xff\x0a|II\*\x00|PK\x01\x02|PK\x05\x06"
)


def mutate(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """A damaged copy: flips, extremes, cuts, splices, lengths and sizes that lie."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        out = bytearray(chance.choice(_WAYS)(out, chance, others)) or bytearray(b"\0")
    return bytes(out)


def _flips(out: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    for _ in range(chance.choice((1, 3, 20, 200))):
        out[_place(out, chance)] ^= 1 << chance.randrange(8)
    return out


def _extreme(out: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    at = _place(out, chance)
    value = chance.choice(_EXTREMES)[: chance.choice((1, 2, 4))]
    out[at : at + len(value)] = value
    return out


def _cut(out: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    return out[: chance.randrange(1, len(out) + 1)]


def _hole(out: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    at = _place(out, chance)
    del out[at : at + chance.choice((1, 2, 8, 100, 3000))]
    return out


def _splice(out: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    other = chance.choice(others)
    start, length = chance.randrange(len(other)), chance.choice((4, 40, 400, 4000))
    at = _place(out, chance)
    end = at + (length if chance.random() < 0.5 else 0)
    out[at:end] = other[start : start + length]
    return out


def _length(out: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    """The length behind a value representation."""
    return _behind(_VR, 2, out, chance)


def _size(out: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    """The number behind a tag or marker that says how large something is."""
    return _behind(_SIZES, 12, out, chance)


def _behind(marks: re.Pattern[bytes], reach: int, out: bytearray, chance: random.Random) -> bytearray:
    found = [match.end() for match in marks.finditer(bytes(out[:20_000]))]
    if found:
        at = chance.choice(found) + chance.randrange(reach)
        value = chance.choice(_EXTREMES)[: chance.choice((1, 2, 4))]
        if at + len(value) <= len(out):
            out[at : at + len(value)] = value
    return out


def _place(out: bytearray, chance: random.Random) -> int:
    return chance.randrange(min(len(out), 2000) if chance.random() < 0.7 else len(out))


_WAYS = (_flips, _flips, _extreme, _extreme, _cut, _hole, _splice, _length, _length, _size, _size)


@dataclass(slots=True)
class Tally:
    """What became of the files. findings: whatever was neither a read, a failure nor a skip."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mb: float = 0.0

    def add(self, name: str, answer: dict[str, object], seconds: float) -> bool:
        outcome = str(answer["outcome"])
        self.outcomes[outcome] += 1
        self.slowest_s = max(self.slowest_s, seconds)
        self.peak_mb = max(self.peak_mb, float(str(answer.get("peak_mb", 0))))
        if outcome == "failure":
            self.reasons[str(answer["detail"])] += 1
        if outcome in ("read", "failure", "skip", "nothing"):
            return True
        self.findings.append({"name": name, "outcome": outcome, "detail": str(answer["detail"])})
        return False


class Worker:
    """One process that reads files by name; it is killed and replaced when it hangs or dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = -1

    def ask(self, path: Path) -> dict[str, object]:
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n".encode())
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        if not ready:
            self.stop()
            return {"outcome": "hang", "detail": f"no answer in {SECONDS:.0f} s"}
        line = process.stdout.readline()
        if not line:
            process.wait()
            self._process = None
            return {"outcome": "crash", "detail": f"exit status {process.returncode}"}
        return dict(json.loads(line))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self.restarts += 1
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
            assert self._process.stdout is not None
            self._process.stdout.readline()  # imports done
        return self._process


def serve() -> None:
    """The worker: a path a line in, a JSON object a line out."""
    from embedstore.errors import ReadFailure
    from embedstore.readers.choose import ReaderSet

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what decoders print must not be taken for an answer
    readers = ReaderSet.installed()
    out.write("ready\n")
    out.flush()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for line in sys.stdin:
        try:
            answer = _read(readers, Path(line.rstrip("\n")))
        except ReadFailure as failure:
            answer = {"outcome": "failure", "detail": failure.reason}
        except BaseException as error:
            answer = {
                "outcome": "exception",
                "detail": f"{type(error).__module__}.{type(error).__name__}: {error}"[:300],
            }
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if peak > RESIDENT_MB and answer["outcome"] in ("read", "failure", "skip", "nothing"):
            answer = {"outcome": "memory", "detail": f"{peak:.0f} MB resident"}
        out.write(json.dumps({**answer, "peak_mb": round(peak)}) + "\n")
        out.flush()
        if peak > RESIDENT_MB:
            os._exit(0)


def _read(readers: object, path: Path) -> dict[str, object]:
    """Walk, describe and read a file as ingest does; the first trouble is the answer."""
    from embedstore.contracts.record import Asset, Skip
    from embedstore.readers.choose import ReaderSet
    from embedstore.readers.walk import Unreachable, walk

    assert isinstance(readers, ReaderSet)
    outcome, detail = "nothing", ""
    for source in list(walk([path])):
        if isinstance(source, Unreachable):
            outcome, detail = "failure", source.reason
            continue
        found = list(readers.describe(source))
        if outcome == "nothing" and any(isinstance(item, Skip) for item in found):
            outcome = "skip"
        assets = [item for item in found if isinstance(item, Asset)]
        for number in sorted({0, len(assets) // 2, len(assets) - 1} if assets else set()):
            _check(readers.read(assets[number]).pixels)
            readers.read(assets[number], "raw")
            outcome = "read"
    return {"outcome": outcome, "detail": detail}


def _check(pixels: object) -> None:
    import numpy as np

    assert isinstance(pixels, np.ndarray)
    if pixels.ndim not in (3, 4) or pixels.dtype != np.uint8 or pixels.size == 0:
        raise TypeError(f"not display pixels: {pixels.shape} {pixels.dtype}")


def seeds(folders: list[Path]) -> dict[str, bytes]:
    from valid_files import all_files

    found = all_files()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "broken" not in path.parts and 0 < path.stat().st_size <= _SMALL:
                found[f"{path.parent.name}+{path.name}"] = path.read_bytes()
    return found


def cases(folders: list[Path], mutations: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """(label, file name, content): seeds, broken files as they are, mutations evenly over the seeds."""
    whole = seeds(folders)
    for name, data in whole.items():
        yield f"valid+{name}", name.rpartition("+")[2], data
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "broken" in path.parts:
                yield f"broken+{path.name}", path.name, path.read_bytes()
    names, others = list(whole), list(whole.values())
    for number in range(mutations):
        name = names[number % len(names)]
        chance = random.Random(f"{seed}/{name}/{number}")
        yield f"{number:06}+{name}", name.rpartition("+")[2], mutate(whole[name], chance, others)


def run(folders: list[Path], mutations: int, seed: int, keep: Path | None = None) -> Tally:
    """Every case through a worker; the files lie in a temporary folder under their seed's name."""
    tally, worker = Tally(), Worker()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            for name, called, data in cases(folders, mutations, seed):
                path = Path(scratch) / called
                path.write_bytes(data)
                started = time.perf_counter()
                fine = tally.add(name, worker.ask(path), time.perf_counter() - started)
                if not fine and keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / name).write_bytes(data)
                path.unlink()
        finally:
            worker.stop()
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve()
        return
    started = time.perf_counter()
    tally = run(args.folders, args.mutations, args.seed, args.keep)
    print(
        json.dumps(
            {
                "mutations": args.mutations,
                "files": sum(tally.outcomes.values()),
                "seconds": round(time.perf_counter() - started, 1),
                "limits": {
                    "seconds": SECONDS,
                    "address_space_mb": ADDRESS_SPACE >> 20,
                    "resident_mb": RESIDENT_MB,
                },
                "outcomes": dict(tally.outcomes.most_common()),
                "slowest_s": round(tally.slowest_s, 2),
                "peak_mb": tally.peak_mb,
                "reasons": dict(tally.reasons.most_common(40)),
                "findings": tally.findings,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
