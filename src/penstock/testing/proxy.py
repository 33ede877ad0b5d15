"""A TCP proxy that stands before a broker and mistreats what passes: cuts it at any byte, holds it up, refuses it.

Runs on threads of its own, so that blocking and asynchronous clients can be tested alike.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK: Final = 65_536
# Closing with this set sends a reset instead of a polite end.
_RESET: Final = struct.pack("ii", 1, 0)
_CONNECT_S: Final = 5.0


class ChaosProxy:
    """Passes bytes on until it is told otherwise.

    Args:
        url: The broker's URL; ``url`` of the proxy is the same one through the proxy.

    Attributes:
        url: What clients connect to.
        cut: Set when a cut that was asked for has been made.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._listener = socket.create_server(("127.0.0.1", 0))
        user = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        self.url: str = urlunsplit(parts._replace(netloc=f"{user[0]}{user[1]}127.0.0.1:{port}"))
        self.cut: threading.Event = threading.Event()
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._left: dict[bool, int | None] = {True: None, False: None}
        self._passed = {True: 0, False: 0}
        self._reset = False
        self._refusing = False
        self._open = True
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="chaos-accept", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        with contextlib.suppress(OSError):  # wakes the thread that waits in accept()
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        self._flows.set()

    # --- what to do to those who pass

    def cut_after(self, count: int, *, replies: bool, reset: bool = False) -> None:
        """Cuts one connection, once: the one that carries the byte after ``count`` more of them, over all connections.

        Args:
            count: Bytes that still pass. With 0 not one does: the cut comes as soon as there is something to send.
            replies: Counts what the broker sends, else what clients send.
            reset: Ends the connection towards the client with a reset, else as if the other side had closed it.
        """
        with self._lock:
            self.cut.clear()
            self._left = {replies: count, not replies: None}
            self._reset = reset

    def forget_cut(self) -> bool:
        """Takes back a cut that has not been made; says whether there was one."""
        with self._lock:
            waiting = any(left is not None for left in self._left.values())
            self._left = {True: None, False: None}
            return waiting

    def stall(self) -> None:
        """Holds everything up: connections stay open, nothing passes."""
        self._flows.clear()

    def flow(self) -> None:
        """Lets everything pass again."""
        self._flows.set()

    def refuse(self, refusing: bool = True) -> None:
        """Closes whatever connects from now on."""
        self._refusing = refusing

    def cut_all(self) -> None:
        """Cuts every connection."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._sever(pair)

    def passed(self, *, replies: bool) -> int:
        """Bytes that have passed so far in one direction."""
        with self._lock:
            return self._passed[replies]

    # --- the threads

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target, timeout=_CONNECT_S)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for replies in (True, False):
                threading.Thread(
                    target=self._pump, args=(pair, replies), name="chaos-pump", daemon=True
                ).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket], replies: bool) -> None:
        source, sink = (pair[1], pair[0]) if replies else pair
        try:
            while data := source.recv(_CHUNK):
                self._flows.wait()
                passing, last = self._take(data, replies)
                if passing:
                    sink.sendall(passing)
                if last:
                    self._sever(pair, reset=self._reset)
                    self.cut.set()
                    return
        except OSError:  # the other pump, or an end, has closed it
            pass
        self._sever(pair)

    def _take(self, data: bytes, replies: bool) -> tuple[bytes, bool]:
        """What of ``data`` may pass, and whether the connection ends with it."""
        with self._lock:
            left = self._left[replies]
            last = left is not None and len(data) > left
            if last:
                data = data[:left]
                self._left[replies] = None
            elif left is not None:
                self._left[replies] = left - len(data)
            self._passed[replies] += len(data)
            return data, last

    def _sever(self, pair: tuple[socket.socket, socket.socket], reset: bool = False) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                if reset and end is pair[0]:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    end.shutdown(
                        socket.SHUT_RD
                    )  # wakes the thread that reads from it, and tells the client nothing
                else:
                    end.shutdown(socket.SHUT_RDWR)
            end.close()
