"""What `serve` is told: how much it takes, whom it believes, and what each source's webhooks must present."""

from __future__ import annotations

from datetime import timedelta

from pydantic import model_validator

from fhir_bridge.settings import values
from fhir_bridge.settings.table import Table


class ServeSettings(Table):
    """`[serve]`: the door for Subscription webhooks (intake, section 1)."""

    max_body: values.Size = values.size("8MiB")
    body_timeout: values.PositiveDuration = timedelta(seconds=10)
    trusted_proxies: tuple[values.Network, ...] = ()
    poll: values.PositiveDuration = timedelta(seconds=1)


class HeaderCredential(Table):
    """`[sources.NAME.credentials.header]`: a header with a fixed value."""

    name: values.HeaderName
    value: values.Secrets


class BasicCredential(Table):
    """`[sources.NAME.credentials.basic]`: HTTP Basic."""

    user: str
    password: values.Secrets


class HmacCredential(Table):
    """`[sources.NAME.credentials.hmac]`: HMAC-SHA256 of the body as it was sent, in hex or base64, with or
    without `sha256=` before it."""

    secret: values.Secrets
    header: values.HeaderName = "X-Hub-Signature"


class StandardWebhooksCredential(Table):
    """`[sources.NAME.credentials.standard_webhooks]`: https://www.standardwebhooks.com/."""

    secret: values.Secrets
    tolerance: values.PositiveDuration = timedelta(minutes=5)


class ClientCertificateCredential(Table):
    """`[sources.NAME.credentials.client_certificate]`: what a proxy that checked a certificate says of it.

    Counts only from `serve.trusted_proxies`, which must overwrite that header of whoever calls it.
    """

    header: values.HeaderName
    value: values.Secrets


class CredentialSettings(Table):
    """`[sources.NAME.credentials]`: what a webhook must present: all that is set here."""

    bearer: values.Secrets | None = None
    header: HeaderCredential | None = None
    basic: BasicCredential | None = None
    hmac: HmacCredential | None = None
    standard_webhooks: StandardWebhooksCredential | None = None
    client_certificate: ClientCertificateCredential | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The keys that are set, in the manual's order."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one_authorization(self) -> CredentialSettings:
        if self.bearer is not None and self.basic is not None:
            raise ValueError("bearer and basic are the same header: set one of them")
        return self
