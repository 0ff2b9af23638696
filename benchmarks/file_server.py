"""A server that answers every GET with the same NDJSON, in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class _Connection(asyncio.Protocol):
    """HTTP/1.1 as far as the clients here speak it: GETs without a body, one at a time."""

    def __init__(self, answer: bytes) -> None:
        self._answer, self._received = answer, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            self._received = b""
            self._transport.write(self._answer)


async def _serve(body: bytes) -> None:
    head = (
        b'HTTP/1.1 200 OK\r\nContent-Type: application/fhir+ndjson\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n'
    )
    answer = head % len(body) + body
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def file_server(file: Path) -> Iterator[str]:
    """Runs it; gives its address."""
    command = [sys.executable, "-m", "benchmarks.file_server", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]).read_bytes()))
