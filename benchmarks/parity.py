"""How far the encoder plugins are from the reference implementations, on every case and profile.

    python benchmarks/parity.py [--write docs/parity.json]

Needs nothing but the repository: checkpoints and images are drawn from seeds, the reference's answers are
stored (tests/data/parity). Figures are the largest absolute difference of a preprocessed value, and the
largest of a vector's values relative to the root mean square of the reference's; minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from embedstore.discovery import ENCODERS, find_plugin
from tests.parity import SUBJECTS, Off, Subject, build, network, preprocessing, vectors


def measure(subject: Subject, folder: Path) -> dict[str, object]:
    case, factory = build(subject, folder), find_plugin(ENCODERS, subject.encoder).load()
    prepared = [preprocessing(case, factory, profile) for profile in subject.profiles]
    networks = [off for profile in case.networks() for off in network(case, factory, profile)]
    found = [off for profile in subject.profiles for off in vectors(case, factory, profile)]
    return {
        "case": subject.case,
        "reference": case.reference,
        "profiles": list(subject.profiles),
        "preprocessing": figures(prepared),
        "network": figures(networks),
        "vectors": figures(found),
        "inside": all(off.off <= off.allowed for off in (*prepared, *networks, *found)),
    }


def figures(offs: list[Off]) -> dict[str, object]:
    return {
        "largest": rounded(max(off.off for off in offs)),
        "allowed": max(off.allowed for off in offs),
        "each": {off.what: rounded(off.off) for off in offs},
    }


def rounded(value: float) -> float:
    return float(f"{value:.2g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="write the document there as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: measure(subject, Path(folder) / name) for name, subject in SUBJECTS.items()}
    libraries = {
        name: version(name) for name in ("torch", "timm", "transformers", "numpy", "scipy", "pillow")
    }
    text = json.dumps({"libraries": libraries, "encoders": cases}, indent=1) + "\n"
    if args.write:
        args.write.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
