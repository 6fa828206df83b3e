"""The secret behind pseudonyms: whoever holds it can recompute them, nobody else can reverse them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import config
from pydicom.uid import UID

from embedstore.errors import BadInputFile, NotFound, UsageError

_MARK = "embedstore-privacy-key-1"
_SECRET_BYTES = 32
_UID_ROOT = "2.25."
_SHIFT_DAYS = 3650


def is_registered(uid: str) -> bool:
    """Whether the standard registers this very UID (PS3.6 Annex A): its root alone may hide anything."""
    return bool(UID(uid, validation_mode=config.IGNORE).type)


@dataclass(frozen=True, slots=True)
class Key:
    """HMAC-SHA256 under one secret; each purpose has a domain of its own, so tokens of two never meet.

    The secret is in no repr, comparison, message or log.
    """

    _secret: bytes = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self._secret) < _SECRET_BYTES:
            raise UsageError(f"a privacy key needs a secret of {_SECRET_BYTES} bytes or more")

    @classmethod
    def create(cls, path: Path) -> Key:
        """Make a new key file that only its owner may read. Raises UsageError when the file is there."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        try:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise UsageError(f"{path} is there already; a key is never overwritten") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be made: {error.strerror}") from None
        with os.fdopen(opened, "w", encoding="ascii") as stream:
            stream.write(f"{_MARK}\n{secret.hex()}\n")
            stream.flush()
            os.fsync(stream.fileno())
        return cls(secret)

    @classmethod
    def load(cls, path: Path) -> Key:
        """Read a key file. Raises NotFound, BadInputFile (no key, or others may read it)."""
        try:
            with path.open("rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                text = stream.read(4096).decode("ascii", "replace")
        except FileNotFoundError:
            raise NotFound(f"{path}: no such key; make one with: embedstore privacy key {path}") from None
        except OSError as error:
            raise BadInputFile(f"{path}: {error.strerror}") from None
        if os.name == "posix" and mode & 0o077:
            raise BadInputFile(f"{path}: others may read this key; run: chmod 600 {path}")
        lines = text.split()
        if len(lines) != 2 or lines[0] != _MARK:
            raise BadInputFile(f"{path}: not a privacy key; make one with: embedstore privacy key FILE")
        try:
            secret = bytes.fromhex(lines[1])
        except ValueError:
            raise BadInputFile(f"{path}: the key is damaged; restore it from a backup") from None
        if len(secret) < _SECRET_BYTES:
            raise BadInputFile(f"{path}: the key is cut short; restore it from a backup")
        return cls(secret)

    def digest(self, purpose: str, *values: str) -> bytes:
        """32 bytes; values are length-prefixed, so ("a", "bc") and ("ab", "c") differ."""
        found = hmac.new(self._secret, purpose.encode(), hashlib.sha256)
        for value in values:
            data = value.encode("utf-8", "surrogateescape")
            found.update(len(data).to_bytes(8, "big") + data)
        return found.digest()

    def token(self, purpose: str, *values: str, length: int = 16) -> str:
        """A pseudonym of `length` (at most 52) characters out of A-Z and 2-7: 5 bits each."""
        return base64.b32encode(self.digest(purpose, *values)).decode("ascii")[:length]

    def hex(self, purpose: str, *values: str) -> str:
        """64 lower-case hex digits, in place of a sha256."""
        return self.digest(purpose, *values).hex()

    def number(self, purpose: str, *values: str) -> int:
        """An integer of 62 bits."""
        return int.from_bytes(self.digest(purpose, *values)[:8], "big") >> 2

    def uid(self, uid: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) in place of one; those the standard registers (PS3.6 Annex A) stay."""
        plain = uid.strip("\x00 ")
        if not plain or is_registered(plain):
            return plain
        digest = bytearray(self.digest("uid", plain)[:16])
        digest[6] = digest[6] & 0x0F | 0x80  # UUID version 8 (RFC 9562 5.8), variant 10
        digest[8] = digest[8] & 0x3F | 0x80
        return f"{_UID_ROOT}{int.from_bytes(digest, 'big')}"

    def shift_days(self, patient: str) -> int:
        """Days by which all dates of a patient move back: 1 to 3,650."""
        return 1 + self.number("date shift", patient) % _SHIFT_DAYS

    @property
    def fingerprint(self) -> str:
        """What tells two keys apart without saying anything about either."""
        return self.token("fingerprint", length=26)
