"""SMART Backend Services for tests: a token endpoint that checks every assertion, and tokens that end.

Written against the standard, not against our client: https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

Key = RSAKey | ECKey
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class _RefusedError(Exception):
    """An OAuth error code."""


@dataclass
class SmartDouble:
    """An authorization server and the guard of a FHIR server double at `base`.

    `clients` are registered with their public keys by `kid`; a token lives `life` seconds, or until
    `forget_tokens`. `skew` seconds is how far its clock is ahead of ours.
    """

    clients: dict[str, dict[str, Key]] = field(default_factory=dict)
    scopes: Sequence[str] = ("system/*.read", "openid")
    life: float = 300.0
    skew: float = 0.0
    base: str = "/fhir"
    granted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _tokens: dict[str, float] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def register(self, client_id: str, key: Key, kid: str) -> None:
        """Know a client by the public half of its key."""
        public = type(key).import_key(dict(key.as_dict(private=False)))
        self.clients.setdefault(client_id, {})[kid] = public

    def routes(self) -> list[BaseRoute]:
        """What stands beside the FHIR server."""
        return [
            Route(f"{self.base}/.well-known/smart-configuration", self._configuration),
            Route("/oauth/token", self._token, methods=["POST"]),
        ]

    def lets_in(self, request: Request) -> bool:
        """Whether the request has a token that has not ended."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self._tokens.get(token, 0.0) > time.monotonic()

    def forget_tokens(self) -> None:
        """End every token now, as a server that is started anew does."""
        self._tokens.clear()

    async def _configuration(self, request: Request) -> Response:
        return JSONResponse(
            {
                "token_endpoint": f"{request.url.scheme}://{request.url.netloc}/oauth/token",
                "scopes_supported": list(self.scopes),
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
                "capabilities": ["client-confidential-asymmetric", "permission-v1"],
            }
        )

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        try:
            self._check(form, str(request.url))
        except _RefusedError as error:
            self.refused.append(str(error))
            code = str(error).partition(":")[0]
            return JSONResponse({"error": code, "error_description": f"{form}"}, 400)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = time.monotonic() + self.life
        self.granted.append(form["scope"])
        return JSONResponse(
            {"access_token": token, "token_type": "bearer", "expires_in": self.life, "scope": form["scope"]}
        )

    def _check(self, form: dict[str, str], url: str) -> None:
        if form.get("grant_type") != "client_credentials":
            raise _RefusedError("unsupported_grant_type")
        if form.get("client_assertion_type") != ASSERTION:
            raise _RefusedError("invalid_request: client_assertion_type")
        claims = self._verified(form.get("client_assertion", ""))
        now = time.time() + self.skew
        if claims.get("iss") != claims.get("sub") or claims.get("aud") != url:
            raise _RefusedError("invalid_client: iss, sub or aud")
        if not now < claims.get("exp", 0) <= now + 300:
            raise _RefusedError("invalid_grant: exp")
        if not claims.get("jti") or claims["jti"] in self._seen:
            raise _RefusedError("invalid_grant: jti")
        self._seen.add(claims["jti"])
        if unknown := set(form.get("scope", "").split()) - set(self.scopes) or not form.get("scope"):
            raise _RefusedError(f"invalid_scope: {unknown}")

    def _verified(self, assertion: str) -> dict[str, Any]:
        """The claims of an assertion that a registered key has signed."""
        try:
            parts = jwt.decode(assertion, self._key_of, algorithms=["RS384", "ES384"])
        except Exception as error:
            raise _RefusedError(f"invalid_client: {type(error).__name__}") from None
        known = self.clients.get(parts.claims.get("iss", ""), {})
        if parts.header.get("kid") not in known or parts.header.get("typ") != "JWT":
            raise _RefusedError("invalid_client: kid of another client")
        return dict(parts.claims)

    def _key_of(self, header: Any) -> Key:
        kid = header.headers().get("kid")
        for keys in self.clients.values():
            if kid in keys:
                return keys[kid]
        raise ValueError("no such kid")
