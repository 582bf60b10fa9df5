"""Messages of HTTP/1.1 mean to this host what they mean to h11, which is written in Python."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from api_host.http.messages import Messages, Pairs

MOST = 16 * 1024

GET = b"GET / HTTP/1.1\r\nHost: api\r\n\r\n"
POST = b"POST /v2 HTTP/1.1\r\nHost: api\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /v2?a=b HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\nAccept:  a, b \r\n\r\n"
    b"5;x=y\r\nhello\r\n1\r\n \r\n0\r\nLast: no\r\n\r\n"
)
OLD = b"POST / HTTP/1.0\r\nContent-Length: 2\r\nX-Text: \xe9\r\n\r\nok"
UPGRADE = b"POST / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\nHost: api\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: api\r\nConnection: a, Close\r\n\r\n"

STRAY = re.compile(r"no request line received|illegal request line: bytearray\(b'(\\r|[A-Z]+  )")
"""What h11 says of line breaks before a request and of spaces before its target.

They are to be passed over (section 2.2) or may be (section 3).
"""

MUTATIONS = [
    b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b"\xff", b"Host: b\r\n", b"0",
    b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b" x: y\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"HTTP/2.0", b"HTTP/0.9", b"CONNECT",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"-1", GET,
]  # fmt: skip
"""What is put somewhere in a good request."""

Seen: TypeAlias = list[tuple[Any, ...]]
Connection: TypeAlias = "Messages | h11.Connection"


@dataclass
class Story:
    """What a server learned of what arrived."""

    requests: Seen = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    ended: int = 0
    refusal: str | None = None


def listen(connection: Connection, pieces: Sequence[bytes]) -> Story:
    """Answers each request as soon as it is whole."""
    story = Story()
    for piece in pieces:
        try:
            connection.receive_data(piece)
            while is_more(connection, story):
                pass
        except h11.ProtocolError as error:
            story.refusal = str(error)
        if story.refusal or connection.our_state is h11.MUST_CLOSE:
            break
    return story


def is_more(connection: Connection, story: Story) -> bool:
    match connection.next_event():
        case h11.Request() as request:
            headers = list(request.headers)
            story.requests.append((request.method, request.target, headers, request.http_version))
            story.bodies.append(b"")
        case h11.Data() as data:
            story.bodies[-1] += data.data
        case h11.EndOfMessage():
            story.ended += 1
            return is_answered(connection)
        case _:
            return False
    return True


def is_answered(connection: Connection) -> bool:
    """Whether another request may follow the answer."""
    head_of(connection, 200, [(b"content-length", b"0")])
    end_of(connection)
    if connection.our_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True


def head_of(connection: Connection, status: int, headers: Pairs) -> bytes:
    if isinstance(connection, Messages):
        return connection.head(status, headers)
    return connection.send(h11.Response(headers=headers, status_code=status)) or b""


def part_of(connection: Connection, part: bytes) -> bytes:
    if isinstance(connection, Messages):
        return connection.body(part)
    return connection.send(h11.Data(data=part)) or b""


def end_of(connection: Connection) -> bytes:
    if isinstance(connection, Messages):
        return connection.end()
    return connection.send(h11.EndOfMessage()) or b""


def in_pieces(text: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({cut % (len(text) + 1) for cut in cuts} | {len(text)})
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    text = b"".join(draw(st.lists(st.sampled_from([GET, POST, CHUNKED, OLD, CLOSE]), min_size=1)))
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(text)))
        end = begin + draw(st.integers(0, 3))
        text = text[:begin] + draw(st.sampled_from(MUTATIONS)) + text[end:]
    return text


@given(conversations(), st.lists(st.integers(0, 1000), max_size=5))
@example(POST.replace(b"hello", b"hello" + GET), [])
@example(POST.replace(b"Content", b"Content-Length: 4\r\nContent"), [])
@example(CHUNKED.replace(b"Accept", b"Content-Length: 9\r\nAccept"), [])
@example(UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + GET, [])
@example(UPGRADE + b"Content-Length: 0\r\n\r\n" + GET, [])
@example(UPGRADE + b"Content-Length: 5\r\n\r\nhello" + GET, [90])
@example(UPGRADE + b"\r\n" + GET, [])
def test_what_is_taken_means_what_it_means_to_h11(text: bytes, cuts: list[int]) -> None:
    pieces = in_pieces(text, cuts)
    ours = listen(Messages(MOST), pieces)
    theirs = listen(h11.Connection(h11.SERVER, MOST), pieces)
    for each in zip(ours.requests, theirs.requests, strict=False):
        assert each[0] == each[1]
    ended = min(ours.ended, theirs.ended)
    assert ours.bodies[:ended] == theirs.bodies[:ended]
    if not STRAY.match(theirs.refusal or ""):
        assert len(ours.requests) <= len(theirs.requests)
        assert ours.ended <= theirs.ended
    if not (ours.refusal or theirs.refusal):
        assert ours == theirs


@given(
    st.lists(st.sampled_from([GET, POST, CHUNKED, OLD]), min_size=1, max_size=4),
    st.lists(st.integers(0, 1000), max_size=9),
)
def test_good_requests_are_all_taken(requests: list[bytes], cuts: list[int]) -> None:
    pieces = in_pieces(b"".join(requests), cuts)
    ours = listen(Messages(MOST), pieces)
    assert not ours.refusal
    assert ours == listen(h11.Connection(h11.SERVER, MOST), pieces)


ASKS = (
    GET,
    GET.replace(b"GET", b"HEAD"),
    CLOSE,
    OLD,
)
PARTS = st.lists(st.sampled_from([b"", b"a", b"hello"]), max_size=3)


@given(
    st.sampled_from(ASKS),
    st.sampled_from([200, 204, 304, 404, 500]),
    st.none() | st.integers(0, 6),
    st.sampled_from([[], [(b"connection", b"close")], [(b"X-Case", b"kept \xe9")]]),
    PARTS,
)
def test_an_answer_is_sent_as_h11_would(
    ask: bytes, status: int, length: int | None, headers: Pairs, parts: list[bytes]
) -> None:
    lengths = [] if length is None else [(b"content-length", b"%d" % length)]
    head = [*headers, *lengths]
    ours, theirs = Messages(MOST), h11.Connection(h11.SERVER, MOST)
    assert sent(ours, ask, status, [*head], parts) == sent(theirs, ask, status, [*head], parts)


def sent(
    connection: Connection, ask: bytes, status: int, headers: Pairs, parts: list[bytes]
) -> Any:
    """The lines of the head, the body, and what becomes of the connection."""
    connection.receive_data(ask)
    while not isinstance(connection.next_event(), h11.EndOfMessage):
        pass
    lines = sorted(head_of(connection, status, headers).lower().split(b"\r\n"))
    body = b""
    try:
        for part in parts:
            body += part_of(connection, part)
        body += end_of(connection)
    except h11.LocalProtocolError:
        return lines, body, "refused"
    return lines, body, connection.our_state
