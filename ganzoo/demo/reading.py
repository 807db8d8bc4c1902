"""Reading what a client sends, for so long and no longer."""

import io
import socket
import time
from typing import Any


class Until(io.RawIOBase):
    """A connection that is read from until a moment, however little comes at a time.

    A socket's own timeout begins anew with every byte: a client that sends one now and then would be read for ever.
    """

    def __init__(self, connection: socket.socket, seconds: float):
        self.connection = connection
        self.allow(seconds)

    def allow(self, seconds: float) -> None:
        """From now on, so long."""
        self.until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """What has come, at least one byte unless nothing comes any more.

        Raises:
            TimeoutError: the moment has come, or nothing came for as long as the socket waits.
        """
        patience, left = self.connection.gettimeout(), self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request takes too long")
        self.connection.settimeout(left if patience is None else min(left, patience))
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(patience)
