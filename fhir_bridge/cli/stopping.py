"""A graceful end: the first SIGINT, SIGTERM or SIGHUP stops the claiming, what is in flight is finished."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import click

INTERRUPTED = 130


def stop_signals() -> tuple[signal.Signals, ...]:
    """Those that ask for an end; SIGHUP, of a terminal that is closed, unless `nohup` has it ignored."""
    hangup = (signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else ()
    return (signal.SIGINT, signal.SIGTERM, *hangup)


@dataclass(slots=True)
class Stop:
    """Set by a signal. `exit_code`: 130 after SIGINT, 0 after another (a service stopped), else None."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    exit_code: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Within the running event loop. A second signal ends at once: what is in flight is then in doubt."""
    stop, loop, signals = Stop(), asyncio.get_running_loop(), stop_signals()

    def on_signal(number: signal.Signals) -> None:
        stop.event.set()
        stop.exit_code = INTERRUPTED if number is signal.SIGINT else 0
        loop.remove_signal_handler(number)
        # Not by click, which would write past a bar that is shown meanwhile, into its line.
        with suppress(OSError):  # a terminal that is closed
            print(
                "stopping: what is in flight is finished, nothing more is sent", file=sys.stderr, flush=True
            )

    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextmanager
def stopped_at_once(told: str) -> Iterator[None]:
    """SIGTERM, and SIGHUP of a terminal that is closed, end what uses processes as Ctrl-C does: at once, with
    its processes, exit code 130. What to do next is `told`."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # Also of Ctrl-C: asyncio's own handler only cancels, and one that comes at a task's end would be lost.
    before = {number: signal.signal(number, interrupt) for number in stop_signals()}
    try:
        yield
    except KeyboardInterrupt:
        click.echo(told, err=True)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def cancelled_by_signals() -> Iterator[Stop]:
    """Within the running event loop: a signal to stop cancels this task, for work that may stop anywhere."""
    stop, loop, task = Stop(), asyncio.get_running_loop(), asyncio.current_task()
    signals = stop_signals()
    assert task is not None

    def on_signal() -> None:
        stop.event.set()
        stop.exit_code = INTERRUPTED
        task.cancel()

    for number in signals:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
