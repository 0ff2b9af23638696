"""`fhir-bridge worker`: a dispatcher that ends gracefully when it is told to (delivery, "Operating it")."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

from fhir_bridge.dispatch.dispatcher import DRAIN, FOR_EVER, Dispatcher, Until


async def work(dispatcher: Dispatcher, *, drain: bool = False) -> None:
    """Run until SIGTERM or SIGINT, or, to `drain`, until nothing is due within a minute.

    On a signal what is in flight is finished and nothing more is claimed. Raises LedgerError.
    """
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        await dispatcher.run(stop, Until(drained=DRAIN) if drain else FOR_EVER)


@contextlib.contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT set `stop` while inside; a second SIGINT interrupts as usual."""
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
