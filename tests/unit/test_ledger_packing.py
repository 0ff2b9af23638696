"""How a decision's JSON is kept."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.ledger.database.packing import WORTH_PACKING, packed, unpacked


@given(st.one_of(st.binary(max_size=40), st.binary(min_size=WORTH_PACKING, max_size=2 * WORTH_PACKING)))
def test_what_was_packed_is_read_as_it_was(told: bytes) -> None:
    """Whatever it is, short or long."""
    content = b"{" + told
    assert unpacked(packed(content)) == content


def test_what_says_the_same_again_and_again_takes_less_room() -> None:
    """A lineage does; what an earlier release kept as it was is read as well."""
    told = json.dumps([{"resource": f"Patient/p{number}", "path": "Patient.name"} for number in range(50)])
    assert len(packed(told.encode())) < len(told) / 3
    assert unpacked(told.encode()) == told.encode()
