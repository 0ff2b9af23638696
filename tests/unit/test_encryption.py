"""Payloads under a key: what is written, what is read, and what is refused."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.database.encryption import PLAIN, AesGcm, Locked, cipher_from

KEYS = [bytes([number]) * 32 for number in range(3)]
TEXTS = [b64encode(key).decode() for key in KEYS]


@given(st.binary())
def test_what_is_encrypted_is_read_again_by_whoever_has_the_key(payload: bytes) -> None:
    """Whether it writes now or did once; each time it looks different."""
    old, new = AesGcm(KEYS[:1]), AesGcm([KEYS[1], KEYS[0]])
    assert new.decrypt(old.encrypt(payload)) == new.decrypt(new.encrypt(payload)) == payload
    assert new.encrypt(payload) != new.encrypt(payload)


@given(st.data())
def test_what_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    """One bit behind its mark, or an end that is missing; the error has none of it."""
    cipher = AesGcm(KEYS)
    kept = bytearray(cipher.encrypt(b"call +12125550101"))
    place = data.draw(st.integers(4, len(kept) - 1))
    if data.draw(st.booleans()):
        kept[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del kept[place:]
    with pytest.raises(LedgerError) as refused:
        cipher.decrypt(bytes(kept))
    assert "555" not in str(refused.value)


def test_another_key_is_named_by_its_setting_and_its_id() -> None:
    """So that an operator knows which one to look for."""
    kept = AesGcm(KEYS[:1]).encrypt(b"{}")
    for other in (AesGcm(KEYS[1:]), PLAIN, Locked()):
        with pytest.raises(LedgerError, match=r"ledger\.encryption_key"):
            other.decrypt(kept)


def test_the_id_of_a_key_does_not_give_it_away() -> None:
    """It stands beside what the key protects."""
    name = AesGcm(KEYS[1:2]).key_id
    assert len(name) == 16
    assert name not in KEYS[1].hex()


def test_which_cipher_a_ledger_gets() -> None:
    """In the clear, locked, or under the first key, if the one it was kept under is there."""
    assert cipher_from([], None) is PLAIN
    noted = AesGcm(KEYS[:1]).key_id
    assert isinstance(cipher_from([], noted), Locked)
    assert cipher_from(TEXTS[:1], None).key_id == noted
    assert cipher_from([TEXTS[1], TEXTS[0]], noted).key_id == AesGcm(KEYS[1:]).key_id
    with pytest.raises(LedgerError, match=noted):
        cipher_from(TEXTS[1:], noted)


def test_without_a_key_an_encrypted_ledger_takes_no_plain_text() -> None:
    """What lies there in the clear from before is read."""
    assert Locked().decrypt(b'{"task": 1}') == b'{"task": 1}'
    with pytest.raises(LedgerError):
        Locked().encrypt(b"{}")
