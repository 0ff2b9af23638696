"""Anything may be sent: never a 5xx for it, and never a 2xx without a row."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.webhook import webhook

PIECES = st.sampled_from(
    [
        *(b'{"resourceType":"Bundle","type":"history","entry":[', b'{"resource":', b'"id":"a1"', b"]", b","),
        *(b'{"resourceType":"Appointment",', b'"eventNumber":', b"9" * 400, b"1e999", b"-0", b"{}", b"null"),
        *(b"[" * 3000, b"}" * 9, b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"\\ud800"'),
        *(b"<x/>", b"PK\x03\x04", b"\x1f\x8b\x08"),
    ]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceType", "entry", "type", "parameter", "id"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.lists(PIECES, max_size=8).map(b"".join),
    JSON.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps({"resourceType": "Bundle", "entry": value}).encode("utf-16")),
)
ENCODED = st.tuples(BODIES, st.sampled_from(["", "gzip", "gzip-cut", "gzip-lie", "deflate", "GZIP "]))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=st.lists(ENCODED, min_size=40, max_size=40))
def test_whatever_is_sent_is_kept_or_refused(tmp_path_factory: Any, sent: list[tuple[bytes, str]]) -> None:
    """Truncated, huge, nested, in wrong encodings, packed and broken: 200 with its row, or 4xx without."""
    asyncio.run(_sent(tmp_path_factory.mktemp("fuzz") / "l.db", sent))


async def _sent(location: Path, sent: list[tuple[bytes, str]]) -> None:
    async with webhook(location, max_body="64KiB") as door:
        taken = []
        for body, encoding in sent:
            raw, headers = body, {}
            if encoding:
                headers = {"Content-Encoding": encoding.partition("-")[0].strip()}
                packed = gzip.compress(body)
                raw = {"gzip-cut": packed[:-4], "gzip-lie": body}.get(encoding, packed)
            answer = await door.send(raw, **headers)
            assert answer.status_code == 200 or 400 <= answer.status_code < 500, (answer.status_code, body)
            assert answer.json()["resourceType"] == "OperationOutcome"
            if answer.status_code == 200:
                taken.append(body)
        assert [each.body for each in await door.kept()] == taken
