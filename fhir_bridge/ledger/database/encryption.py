"""Payload columns at rest: AES-256-GCM, each value under a fresh nonce and with the id of its key (delivery,
"Operating it").

A value that was written before encryption was switched on is read as it is. What is compared, such as
fingerprints and lanes, is made of the plain text and the ledger's salt, so that nonces disturb nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64decode
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect

from fhir_bridge.errors import LedgerError

SETTING = "ledger.encryption_key"

# No payload begins so: each is JSON or words of an endpoint.
_MARK = b"\0FB1"
_KEY_ID = 8
_NONCE = 12
_HEAD = len(_MARK) + _KEY_ID + _NONCE


class Cipher(Protocol):
    """How a ledger keeps its payloads."""

    @property
    def key_id(self) -> str | None:
        """The key that writes, by a name that does not give it away; None where none does."""
        ...

    @property
    def head(self) -> bytes:
        """How everything begins that is kept under the key that writes; empty where none does."""
        ...

    def encrypt(self, payload: bytes) -> bytes:
        """What is kept of a payload. Raises LedgerError where it must not be kept in the clear."""
        ...

    def decrypt(self, kept: bytes) -> bytes:
        """The payload that is kept. Raises LedgerError naming the setting where its key is not there."""
        ...


class Plain:
    """Payloads as they are: no key is set, and none was."""

    key_id: str | None = None
    head = b""

    def encrypt(self, payload: bytes) -> bytes:
        """The payload itself."""
        return payload

    def decrypt(self, kept: bytes) -> bytes:
        """The payload itself, unless a key wrote it."""
        if kept.startswith(_MARK):
            raise _missing(None)
        return kept


class Locked(Plain):
    """A ledger whose payloads are encrypted, opened without the key: neither read nor written."""

    def encrypt(self, payload: bytes) -> bytes:
        """Raises LedgerError: patient data must not lie in the clear beside what is encrypted."""
        raise _missing(None)


class AesGcm:
    """The first of `keys` (32 bytes each) writes, all of them read."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._ciphers = {_id_of(key): AESGCM(key) for key in keys}
        self._writes = _id_of(keys[0])

    @property
    def key_id(self) -> str:
        """The key that writes."""
        return self._writes.hex()

    @property
    def head(self) -> bytes:
        """See Cipher."""
        return _MARK + self._writes

    @property
    def key_ids(self) -> frozenset[str]:
        """All the keys."""
        return frozenset(name.hex() for name in self._ciphers)

    def encrypt(self, payload: bytes) -> bytes:
        """Mark, key id, nonce, ciphertext and tag."""
        nonce = secrets.token_bytes(_NONCE)
        return (
            _MARK + self._writes + nonce + self._ciphers[self._writes].encrypt(nonce, payload, self._writes)
        )

    def decrypt(self, kept: bytes) -> bytes:
        """The payload, or LedgerError where its key is not among ours or somebody changed it."""
        from cryptography.exceptions import InvalidTag

        if not kept.startswith(_MARK):
            return kept
        name, nonce = kept[len(_MARK) : len(_MARK) + _KEY_ID], kept[_HEAD - _NONCE : _HEAD]
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise _missing(name.hex())
        try:
            return cipher.decrypt(nonce, kept[_HEAD:], name)
        except (InvalidTag, ValueError):  # the latter for one that was cut short
            raise LedgerError(
                "a payload of the ledger was changed after it was written, or is damaged",
                code="ledger-payload-damaged",
                hint="Restore the ledger from a copy, and find out who wrote to it.",
            ) from None


PLAIN = Plain()
_ciphers: WeakKeyDictionary[Dialect, Cipher] = WeakKeyDictionary()


def cipher_of(dialect: Dialect) -> Cipher:
    """How the ledger behind this engine keeps its payloads: each engine has a dialect of its own."""
    return _ciphers.get(dialect, PLAIN)


def use(dialect: Dialect, cipher: Cipher) -> None:
    """From now on the engine of this dialect keeps its payloads so."""
    _ciphers[dialect] = cipher


def cipher_from(keys: Sequence[str], kept_under: str | None) -> Cipher:
    """The cipher of these keys (base64, the one that writes first) for a ledger whose payloads were last
    written under the key with that id; None: in the clear.

    Raises LedgerError where a key is set but that one is not among them.
    """
    if not keys:
        return PLAIN if kept_under is None else Locked()
    cipher = AesGcm([b64decode(key) for key in keys])
    if kept_under is not None and kept_under not in cipher.key_ids:
        raise _missing(kept_under)
    return cipher


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"fhir-bridge key id\0" + key).digest()[:_KEY_ID]


def _missing(key_id: str | None) -> LedgerError:
    which = f"key {key_id}" if key_id else "a key"
    return LedgerError(
        f"payloads of this ledger are encrypted under {which}, which is not set: {SETTING}",
        code="ledger-key-missing",
        hint=f"Set {SETTING} to the key it was written with, or name that one in ledger.old_encryption_keys.",
    )
