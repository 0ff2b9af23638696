from pathlib import Path

import pytest
from pydantic import SecretStr

from fhir_bridge.errors import SettingsError
from fhir_bridge.network import address, proxy_for
from fhir_bridge.task_api.client import TaskApiClient

KEY = SecretStr("key-that-never-shows")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://api.example", "api-url-insecure"),
        ("http://10.0.0.7", "api-url-insecure"),
        ("http://localhost.example", "api-url-insecure"),
        ("ftp://api.example", "api-url"),
        ("api.example", "api-url"),
        ("", "api-url"),
        ("https://user:secret@api.example", "api-url"),
        ("https://api.example:port", "api-url"),
    ],
)
def test_an_address_that_would_leak_or_cannot_be_is_refused(url: str, code: str) -> None:
    """Plain HTTP carries patient data in the clear everywhere but on loopback."""
    with pytest.raises(SettingsError) as caught:
        TaskApiClient(url, KEY)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "[::1]"])
async def test_plain_http_is_accepted_on_loopback(host: str) -> None:
    """The sandbox speaks plain HTTP."""
    async with TaskApiClient(f"http://{host}:1", KEY):
        pass


@pytest.mark.parametrize("key", ["", "two words", "line\r\nend", "schlüssel"])
def test_a_key_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    """The HTTP library would print it in an error of its own."""
    with pytest.raises(SettingsError) as caught:
        TaskApiClient("https://api.example", SecretStr(key))
    assert caught.value.code == "api-key"
    assert not key or key not in str(caught.value)


def test_a_ca_bundle_that_is_none_is_named(tmp_path: Path) -> None:
    """A wrong path or a file that holds no certificate stops the start, not the first call."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match=path.name):
            TaskApiClient("https://api.example", KEY, ca_bundle=path)


def test_a_proxy_is_used_towards_the_endpoint_but_not_towards_loopback() -> None:
    """The sandbox on this machine is not behind the hospital's proxy."""
    proxy = "http://proxy.example:3128"
    assert proxy_for(address("https://api.example", "api.url", ""), proxy) is not None
    assert proxy_for(address("http://127.0.0.1:8081", "api.url", ""), proxy) is None


def test_a_proxy_that_is_none_is_refused_without_its_password() -> None:
    """A proxy's address may hold a password."""
    with pytest.raises(SettingsError) as caught:
        TaskApiClient("https://api.example", KEY, proxy="ftp://user:secret@proxy.example")
    assert caught.value.code == "proxy"
    assert "secret" not in str(caught.value)
