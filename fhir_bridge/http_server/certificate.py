"""The certificate by which a server speaks https, and what is wrong with one that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from fhir_bridge.errors import SettingsError

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"


class _PassphraseError(Exception):
    """The key is encrypted, and nobody is there to be asked."""


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What uvicorn needs to speak TLS 1.2 and newer. Raises SettingsError that says which file is wrong, and
    how it is put right."""
    _demand(certificate, _CERTIFICATE, "certificate", "openssl x509 -inform der -in FILE -out chain.pem")
    _demand(key, _KEY, "private key", "openssl pkey -inform der -in FILE -out key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, _no_passphrase)
    except _PassphraseError:
        _refuse(
            f"the key {key} is under a passphrase, and a server has nobody to ask for it",
            f"openssl pkey -in {key} -out plain.pem takes it off; let nobody but the server's user read that",
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            _refuse(
                f"the key {key} is not that of the first certificate in {certificate}",
                "the server's own certificate stands first in --tls-cert, the issuers' after it",
            )
        _refuse(
            f"the certificate {certificate} or its key {key} is damaged: {error.reason or 'not read'}",
            f"openssl x509 -in {certificate} -noout and openssl pkey -in {key} -noout say which of them",
        )
    return context


def _demand(file: Path, mark: bytes, what: str, conversion: str) -> None:
    try:
        content = file.read_bytes()
    except OSError as error:
        _refuse(
            f"the {what} {file} cannot be read: {error.strerror}",
            "the user that fhir-bridge runs as must be able to read it",
        )
    if mark not in content:
        _refuse(f"{file} holds no {what} in PEM", f"from DER: {conversion}")


def _no_passphrase() -> str:
    # Without this OpenSSL asks on the terminal, and a service waits there for ever.
    raise _PassphraseError


def _refuse(what: str, hint: str) -> NoReturn:
    raise SettingsError(what, code="certificate", hint=hint)
