"""What a store has agreed to about an encoder: its licence, and which weights it is known by."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from embedstore.contracts.encoder import EncoderSpec
from embedstore.engine.encoders import doctor, show_encoder
from embedstore.engine.requests import Agreement, EncoderChoice, Pin
from embedstore.errors import Refused
from embedstore.storage.catalog import Catalog
from embedstore.storage.types import now


@dataclass(frozen=True, slots=True)
class Agreements:
    """Kept as notes of the store, by the encoder's name."""

    catalog: Catalog

    def accepted(self, name: str) -> Agreement | None:
        """Who agreed to the encoder's terms, and when; None when nobody did."""
        found = self.catalog.note(f"accepted:{_plugin(name)}")
        return Agreement(**json.loads(found)) if found else None

    def accept(self, name: str, by: str) -> Agreement:
        """Record that its terms are agreed to, and let go of the weights it was known by.

        The next load then takes the weights that are there. Raises UnknownPlugin.
        """
        spec = show_encoder(name)
        where = spec.terms.where if spec.terms else spec.source
        licence = spec.terms.licence if spec.terms else spec.licence
        agreement = Agreement(encoder=_plugin(name), licence=licence, where=where, by=by, when=now())
        self.catalog.set_note(f"accepted:{_plugin(name)}", json.dumps(asdict(agreement)))
        self.catalog.set_note(f"weights:{_plugin(name)}", "[]")
        return agreement

    def require(self, choice: EncoderChoice) -> None:
        """Raises Refused for an encoder whose terms nobody has agreed to in this store."""
        spec = show_encoder(choice.name, choice.profile)
        if spec.terms is None or self.accepted(choice.name) is not None:
            return
        forbids = f", no {spec.terms.forbids}" if spec.terms.forbids else ""
        raise Refused(
            f"encoder '{choice.name}' is under {spec.terms.licence}{forbids} ({spec.terms.where}): "
            f"if you agree for this store, run 'embedstore encoders accept {_plugin(choice.name)}' once"
        )

    def pins(self, name: str) -> tuple[Pin, ...]:
        """The weights it is known by, in the order they were met."""
        found = self.catalog.note(f"weights:{_plugin(name)}")
        return tuple(Pin(**one) for one in json.loads(found)) if found else ()

    def pin(self, choice: EncoderChoice, spec: EncoderSpec) -> str:
        """Remember a loaded encoder's weights by their sha256; empty, or one line when there were others.

        Raises Refused when the file at the same place holds other bytes than it did.
        """
        place, sha256 = _place(choice), spec.weights_sha256
        if place is None or sha256 is None:  # computed, not loaded
            return ""
        pins, plugin = self.pins(choice.name), _plugin(choice.name)
        before = next((pin for pin in pins if pin.place == place), None)
        if before is not None and before.sha256 != sha256:
            raise Refused(
                f"{place} is not what this store first loaded as '{plugin}' (sha256 {before.sha256[:12]} "
                f"then, {sha256[:12]} now): put the old file back, keep the new one elsewhere and give it "
                f"with --weights, or take it from now on with 'embedstore encoders accept {plugin}'"
            )
        if before is None:
            added = (*pins, Pin(place=place, sha256=sha256, when=now()))
            self.catalog.set_note(f"weights:{plugin}", json.dumps([asdict(pin) for pin in added]))
            if pins and all(pin.sha256 != sha256 for pin in pins):
                return (
                    f"{place} holds other weights of '{plugin}' (sha256 {sha256[:12]}) than {pins[-1].place} "
                    f"({pins[-1].sha256[:12]}): their vectors are a space of their own"
                )
        return ""


def _plugin(name: str) -> str:
    """Variants of one plugin share its terms, but `open-clip:A` and `open-clip:B` are different models."""
    return show_encoder(name).name


def _place(choice: EncoderChoice) -> str | None:
    if choice.weights is not None:
        return str(choice.weights.resolve())
    ((_, report),) = doctor((choice.name,))
    return report.path
