"""Which two letters are a country, by the list that comes with the time zones."""

from __future__ import annotations

from importlib.resources import files


def is_country(code: str) -> bool:
    """Whether `code` is an ISO 3166-1 alpha-2 code in capitals."""
    lines = (files("tzdata") / "zoneinfo" / "iso3166.tab").read_text(encoding="utf-8").splitlines()
    return code in {line.split("\t")[0] for line in lines if not line.startswith("#")}
