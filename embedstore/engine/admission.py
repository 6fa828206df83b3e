"""Whether an ingest may write into a store, and through which gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embedstore.engine.deidentified import Gatekeeper
from embedstore.engine.requests import IngestRequest
from embedstore.errors import Refused, UsageError
from embedstore.privacy.key import Key
from embedstore.privacy.profile import Profile
from embedstore.storage.catalog import Catalog

if TYPE_CHECKING:
    from embedstore.privacy.gate import Gate

DEIDENTIFIED = "deidentified"
_KEY = "privacy_key"


def keeper_for(catalog: Catalog, request: IngestRequest) -> Gatekeeper | None:
    """The gatekeeper of an ingest, None for one that is not de-identified.

    Raises Refused when the store takes only de-identified items, or was filled under another key; UsageError
    for half a request; NotFound and BadInputFile for the key.
    """
    if request.deidentify is None:
        if request.key is not None or request.keep:
            raise UsageError("--key and --keep belong to --deidentify PROFILE")
        if catalog.note(DEIDENTIFIED) is not None:
            raise Refused(
                "this store takes only de-identified items; add --deidentify PROFILE --key FILE "
                "('embedstore privacy key FILE' makes a key)"
            )
        return None
    if request.key is None:
        raise UsageError("--deidentify needs --key FILE; 'embedstore privacy key FILE' makes one")
    gate = gate_of(catalog, request.key, Profile.parse(request.deidentify), frozenset(request.keep))
    if catalog.note(_KEY) is None:
        catalog.set_note(_KEY, gate.key.fingerprint)
    return Gatekeeper(gate)


def gate_of(
    catalog: Catalog, key_file: Path, profile: Profile | None = None, kept: frozenset[str] = frozenset()
) -> Gate:
    """The gate of a store under a key. Raises Refused when the store was filled under another."""
    from embedstore.privacy.gate import Gate  # late: it brings pydicom

    key = Key.load(key_file)
    if catalog.note(_KEY) not in (None, key.fingerprint):
        raise Refused(
            "this store was filled under another privacy key: the same patient would get two pseudonyms; "
            "use that key, or a new store"
        )
    return Gate(profile or Profile(), key, kept)


def provenance_of(keeper: Gatekeeper | None, request: IngestRequest) -> dict[str, object]:
    """What a run records of its site and its profile."""
    if keeper is None:
        return {"site": request.site}
    site = None if request.site is None else keeper.gate.site(request.site)
    return {"site": site, "deidentify": str(keeper.gate.profile), "keep": sorted(keeper.gate.kept)}
