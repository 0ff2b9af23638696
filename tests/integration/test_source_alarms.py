"""What `/metrics` says of the sources themselves: the alarms of `fhir-bridge sources`, without a name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_bridge.app import doors
from fhir_bridge.app.subscribing import source_reports
from fhir_bridge.http_server.serving import Listening
from fhir_bridge.ledger.sources.watched import Gap, Sweep
from fhir_bridge.ledger.store import open_ledger
from fhir_bridge.settings import Loaded, Settings
from tests.integration.webhook import DESTINATION

LONG_AGO = datetime.now(UTC) - timedelta(days=2)


def settings() -> Settings:
    """Two hospitals that should be heard of every hour, day and night, and one that tells nothing."""
    telling: dict[str, Any] = {
        "credentials": {"bearer": "token"},
        "subscription": {"silence_alarm": "1h", "clinic_hours": "00:00-24:00"},
    }
    quiet = {"credentials": {"bearer": "token"}}
    return Settings.model_validate(
        {"sources": {"saint-marigold": telling, "saint-tansy": telling, "files": quiet}}
    )


def gauges(text: str) -> dict[str, float]:
    """The alarms and what is missed, as Prometheus reads them."""
    wanted = ("fhir_bridge_source_alarms{", "fhir_bridge_events_missed ")
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(wanted)]
    return {name: float(value) for name, _, value in lines}


async def test_alarms_of_the_sources_are_counted_by_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that fell silent, a subscription that was switched off, a search that fails, events that were
    skipped: over a socket, without a source's name; and gone when they are over."""
    monkeypatch.setattr("fhir_bridge.webhook.app.ALARMS_EVERY", 0.0)
    loaded = Loaded(settings(), {})
    async with await open_ledger(tmp_path / "l.db", **DESTINATION) as ledger:
        at = Listening("127.0.0.1", 0)
        async with (
            doors.webhook_of(loaded, ledger, at, insecure=False, came=lambda: None) as url,
            httpx.AsyncClient(trust_env=False, verify=False) as client,
        ):
            assert gauges((await client.get(f"{url}/metrics")).text) == {"fhir_bridge_events_missed": 0}
            heard = {"state": "active", "since": LONG_AGO, "last_heard_at": LONG_AGO}
            gap = Gap(7, 9, LONG_AGO)
            for source in ("saint-marigold", "saint-tansy"):
                await ledger.change_watched(source, "Subscription/s", lambda was: replace(was, **heard))
            await ledger.change_watched(
                "saint-tansy", "Subscription/s", lambda was: replace(was, state="off", gaps=(gap,))
            )
            failed = Sweep("saint-tansy", "Appointment?", LONG_AGO, error="forbidden", failing_since=LONG_AGO)
            await ledger.record_sweep(failed)
            told = await client.get(f"{url}/metrics")
            assert gauges(told.text) == {
                'fhir_bridge_source_alarms{code="silent"}': 2,
                'fhir_bridge_source_alarms{code="subscription-off"}': 1,
                'fhir_bridge_source_alarms{code="events-missing"}': 1,
                'fhir_bridge_source_alarms{code="search-fails"}': 1,
                "fhir_bridge_events_missed": 3,
            }
            assert "marigold" not in told.text
            assert "Subscription/s" not in told.text
            reports = await source_reports(loaded, ledger)
            assert sum(len(each.alarms) for each in reports) == 5, "as `sources` counts them"
            now = {"state": "active", "last_heard_at": datetime.now(UTC)}
            await ledger.change_watched("saint-marigold", "Subscription/s", lambda was: replace(was, **now))
            after = gauges((await client.get(f"{url}/metrics")).text)
            assert after['fhir_bridge_source_alarms{code="silent"}'] == 1
