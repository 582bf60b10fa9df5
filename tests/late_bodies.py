"""Requests that are refused by their head, and whose bodies come after the answer."""

import socket
from http.client import HTTPConnection, HTTPResponse

SECONDS = 60


def begun(port: int, path: str, length: int) -> tuple[HTTPConnection, HTTPResponse]:
    """A connection on which a body of so many bytes was told of, and the whole answer to that."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    return connection, answer


def told_without_an_end(port: int, path: str, sent: int) -> bytes:
    """All that is answered to a body of which so many bytes are sent, and which has no end."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
        client.sendall(head.encode())
        told = client.recv(65536)
        for _ in range(sent // 1000):
            client.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")
        while more := client.recv(65536):
            told += more
    return told
