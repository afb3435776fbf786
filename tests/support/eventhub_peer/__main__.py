"""The peer as a process, given port, folder, number of partitions; it ends with its standard input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from pathlib import Path

from tests.support.eventhub_peer.faults import Faults
from tests.support.eventhub_peer.hub import Hub
from tests.support.eventhub_peer.service import KEY, Connection, Service

LOOPBACK = "127.0.0.1"


def obey(faults: Faults) -> None:
    """Follow the lines of the parent; when its pipe ends, so does the peer."""
    for line in sys.stdin:
        faults.order(line)
        print("obeyed", line.strip(), flush=True)
    os._exit(0)


async def serve(port: int, folder: Path, partitions: int) -> None:
    """Serve on loopback until killed."""
    faults = Faults()
    hub = Hub("quantum-events", folder / "quantum-events.log", partitions)
    service = Service({hub.name: hub}, faults, KEY)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(service, reader, writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await connection.run()
        connection.end()

    server = await asyncio.start_server(answer, LOOPBACK, port)
    threading.Thread(target=obey, args=(faults,), daemon=True).start()
    print("serving", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
