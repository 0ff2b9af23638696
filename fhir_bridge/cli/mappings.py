"""`fhir-bridge mappings`: a site's own rules and words, looked at, tried and written; nothing is sent."""

from __future__ import annotations

import click

from fhir_bridge.cli.mapping_codes import import_maps, unmapped
from fhir_bridge.cli.mapping_pairs import test
from fhir_bridge.cli.mapping_profiles import diff, new, show


@click.group()
def mappings() -> None:
    """Look at, try and write a site's own rules and words.

    Sends nothing. docs/site-rules.md shows each of them at work.
    """


for command in (new, show, diff, test, unmapped, import_maps):
    mappings.add_command(command)
