"""Structs that more than one thread may read."""

from typing import TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def worked_out(struct: type[S]) -> type[S]:
    """Has msgspec work out now how a struct is read, as it is defined.

    Version 0.22 otherwise does so when one is read first, and ends the process by SIGSEGV if two
    threads are the first at once.
    """
    msgspec.json.Decoder(struct)
    return struct
