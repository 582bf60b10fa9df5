"""What a load took and no longer needs goes back to the system."""

import os
from pathlib import Path

from api_host.models.memory import give_back

KIBIBYTE = 1024
BLOCK_BYTES = 64 * KIBIBYTE
BLOCKS = 1000


def resident_bytes() -> int:
    _, pages, *_ = Path("/proc/self/statm").read_text().split()
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_what_the_allocator_kept_for_later_is_free_for_others() -> None:
    blocks = [bytearray(os.urandom(KIBIBYTE) * 64) for _ in range(BLOCKS)]
    # The last of them keeps the allocator from giving the others back by itself.
    last = blocks[-1]
    blocks.clear()
    before = resident_bytes()
    give_back()
    assert before - resident_bytes() > BLOCKS * BLOCK_BYTES / 2
    assert len(last) == BLOCK_BYTES
