"""What a server is to present to us, as it is told in a Subscription: our credentials as headers."""

from __future__ import annotations

from fhir_bridge.settings.tables import CredentialSettings, SourceSettings


def channel_headers(credentials: CredentialSettings | None) -> tuple[tuple[str, str], ...]:
    """The headers that carry a source's credentials, (name, value); none for what no header can say."""
    if credentials is None or credentials.bearer is None:
        return ()
    return (("Authorization", f"Bearer {credentials.bearer.get_secret_value()}"),)


def signing_secret(settings: SourceSettings) -> str | None:
    """The secret that Medplum is to sign with; other servers have no place for one."""
    return None
