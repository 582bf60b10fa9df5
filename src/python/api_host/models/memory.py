"""The memory of this process: what a load took and no longer needs goes back to the system."""

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Of glibc's alone.


def give_back() -> None:
    """Frees what the allocator keeps for later: after a large forest, that is twice its size."""
    if _trim is not None:
        _trim(0)
