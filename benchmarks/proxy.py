"""A proxy that counts round trips: how often a client sends something after it was answered."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from urllib.parse import urlsplit


class CountingProxy:
    """Stands before a server, on a port of its own, while it is entered. What is sent in one go is one trip.

    Attributes:
        url: The URL to use instead of the server's.
        trips: Round trips so far, those of connecting included.
        connections: Connections so far.
    """

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self.url = ""
        self.trips = 0
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopped: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stopped is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._server.path}"
        self._ready.set()
        await self._stopped.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        others_reader, others_writer = await asyncio.open_connection(self._server.hostname, self._server.port)
        answered = [True]
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, others_writer, answered, asks=True))
                both.create_task(self._pass(others_reader, writer, answered, asks=False))
        finally:
            writer.close()
            others_writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answered: list[bool], *, asks: bool
    ) -> None:
        try:
            while data := await reader.read(1 << 20):
                if asks and answered[0]:
                    self.trips += 1
                answered[0] = not asks
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):  # the other side has gone first
            writer.close()
