"""HTTP/2, as far as a server's stream must be known to put a word of one's own into it."""

HEAD_BYTES = 9
HEADERS, GOAWAY, CONTINUATION = 1, 7, 9
END_HEADERS = 4
MOST_STREAMS = 2**31 - 1

FAREWELL = (
    (8).to_bytes(3, "big")
    + bytes([GOAWAY, 0])
    + bytes(4)
    + MOST_STREAMS.to_bytes(4, "big")
    + bytes(4)
)
"""Asks a client to make no further calls on this connection; those under way are answered."""


class Frames:
    """The frames that a server has sent so far, given as they come."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._may_follow = False

    def add(self, data: bytes) -> None:
        """Goes on by what the server sends next."""
        place, size = 0, len(data)
        while place < size:
            if self._left:
                passed = min(self._left, size - place)
                self._left -= passed
            else:
                passed = HEAD_BYTES - len(self._head)
                self._begin(data[place : place + passed])
            place += passed

    def _begin(self, part: bytes) -> None:
        self._head += part
        if len(self._head) < HEAD_BYTES:
            return
        head, self._head = self._head, b""
        self._left = int.from_bytes(head[:3], "big")
        # Nothing may stand between the parts of one block of headers.
        is_block = head[3] in (HEADERS, CONTINUATION)
        self._may_follow = not is_block or bool(head[4] & END_HEADERS)

    @property
    def are_whole(self) -> bool:
        """Whether another frame may follow here; the very first is always the server's own."""
        return self._may_follow and not self._left and not self._head
