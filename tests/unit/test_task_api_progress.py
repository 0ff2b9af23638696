"""When it is proved that no byte of a request has left (delivery, "Which outcome means what")."""

import pytest

from fhir_bridge.task_api.transport import Progress, Stage

BEFORE = [Stage.POOL, Stage.CONNECT, Stage.TLS, Stage.PROXY]
AFTER = [Stage.REQUEST, Stage.ANSWER]


@pytest.mark.parametrize("stage", BEFORE)
def test_nothing_has_left_while_the_way_is_prepared(stage: Stage) -> None:
    """A place, a connection, a handshake, a tunnel: none of them carries anything of the request."""
    progress = Progress()
    progress.reach(stage)
    assert (progress.stage, progress.before_first_byte) == (stage, True)


@pytest.mark.parametrize("later", [*BEFORE, *AFTER])
@pytest.mark.parametrize("written", AFTER)
def test_after_a_byte_there_is_no_way_back(written: Stage, later: Stage) -> None:
    """Whatever is reported after it, be it a second try by somebody's mistake."""
    progress = Progress()
    progress.reach(written)
    progress.reach(later)
    assert progress.stage in AFTER
    assert not progress.before_first_byte


def test_a_transport_that_does_not_report_proves_nothing() -> None:
    """Some other transport, put in one day, can cost an in-doubt but not a second call."""
    assert not Progress().before_first_byte
