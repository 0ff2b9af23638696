"""The private key that signs for us, from PEM or JWK; the key says which algorithm
(https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html)."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError

_FORM = (
    "make one with `openssl ecparam -name secp384r1 -genkey -noout` (ES384) or "
    "`openssl genrsa 3072` (RS384), and register its public half at the server"
)
_LEAST_BITS = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with its algorithm, RS384 or ES384, and the `kid` by which the server knows it."""

    algorithm: str
    key_id: str
    _key: RSAKey | ECKey = field(repr=False)

    def signed(self, claims: dict[str, str | int]) -> str:
        """A JWT of these claims."""
        header = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"}
        return jwt.encode(header, dict(claims), self._key, algorithms=[self.algorithm])


def signing_key(text: SecretStr, key_id: str | None = None) -> SigningKey:
    """From PEM or JWK. `key_id`: the setting, else the JWK's own `kid`, else the key's thumbprint (RFC 7638).

    Raises SettingsError for what is no private RSA key of 2048 bits or more and none on P-384, never
    showing it.
    """
    key = _imported(text.get_secret_value().strip())
    if key is None or not key.is_private:
        raise SettingsError(
            "client.private_key is no private key in PEM (without a pass phrase) or JWK",
            code="private-key",
            hint=_FORM,
        )
    return SigningKey(_algorithm(key), key_id or key.kid or key.thumbprint(), key)


def _imported(text: str) -> RSAKey | ECKey | None:
    value: str | dict[str, str | list[str]] = text
    if text.startswith("{"):
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError):
            return None
    for kind in (RSAKey, ECKey):
        try:
            return kind.import_key(value)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return None


def _algorithm(key: RSAKey | ECKey) -> str:
    if isinstance(key, RSAKey):
        if key.raw_value.key_size >= _LEAST_BITS:
            return "RS384"
    elif key.curve_name == "P-384":
        return "ES384"
    raise SettingsError(
        "client.private_key: SMART Backend Services take RSA keys of 2048 bits or more, or EC keys on P-384",
        code="private-key",
        hint=_FORM,
    )
