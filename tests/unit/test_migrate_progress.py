"""What is said of how far a stage of a migration is, by a clock of the test's own."""

from __future__ import annotations

from fhir_bridge.cli.migrate_progress import WINDOW, Stage


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stage(total: int, *, is_bytes: bool = True) -> tuple[Stage, Clock]:
    """A stage that has just begun."""
    clock = Clock()
    return Stage("reading", total, is_bytes=is_bytes, clock=clock), clock


def test_the_time_to_go_is_by_what_the_stage_has_done_so_far() -> None:
    """None while nothing is done; a lump that is done at one moment is no rate of gigabytes a second."""
    reading, clock = stage(80_000_000)
    assert str(reading) == "0 %, 0.0 of 80.0 MB"
    clock.now += 4
    reading.done = 20_000_000
    assert str(reading) == "25 %, 20.0 of 80.0 MB, 5.0 MB/s, 0:00:12 left"
    clock.now += 2
    reading.tick()
    assert str(reading) == "25 %, 20.0 of 80.0 MB, 3.3 MB/s, 0:00:18 left"


def test_it_ends_at_a_hundred_percent() -> None:
    """Also of nothing at all."""
    reading, clock = stage(1_500)
    clock.now += 1
    reading.done = 1_500
    assert str(reading) == "100 %, 1.5 of 1.5 kB, 1.5 kB/s, 0:00:00 left"
    assert str(stage(0)[0]) == "100 %, 0 of 0 bytes"


def test_what_was_fast_long_ago_does_not_count() -> None:
    """What a killed run had read is there at once: the time to go is by the last minutes."""
    reading, clock = stage(10_000)
    reading.done = 5_000
    for _ in range(int(WINDOW) + 5):
        clock.now += 1
        reading.done += 1
        reading.tick()
    assert str(reading).endswith("1.0 bytes/s, 1:20:15 left")


def test_calls_are_counted_in_calls() -> None:
    """By the minute where they are few; where nothing is due it says what is waited for."""
    sending, clock = stage(1_200, is_bytes=False)
    clock.now += 60
    sending.done = 20
    assert str(sending) == "1 %, 20 of 1,200, 20/min, 0:59:00 left"
    sending.waits_for = "held back: paused"
    assert str(sending) == "1 %, 20 of 1,200, held back: paused"
