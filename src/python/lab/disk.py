"""The disk of a host: one that can be full, and that loses what was not synced at a power cut.

A sparse file with an ext4 file system, above the base that every host begins with and none changes.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from lab.deadline import wait_for
from lab.programs import run

SIZE = "12G"
"""What a host can hold; the file on this machine takes only what is written."""

RELEASE_SECONDS = 20.0

# Seen only by one host: a namespace that another host's begins with as a copy would hold it longer.
MOUNT = """
mount -o loop "$folder/disk.img" "$folder/disk"
mkdir -p "$folder/disk/upper" "$folder/disk/work"
mount -t overlay overlay "$folder/root" -o \
  "lowerdir=$base,upperdir=$folder/disk/upper,workdir=$folder/disk/work"
"""
"""A part of a shell script, run in the mount namespace of the host alone."""

_BLOCK_BYTES = 4096
_EXT4_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = (2).to_bytes(4, "little")


class Disk:
    """The disk of one host.

    `folder`: holds the file and the folders where it is mounted.
    `keeper`: tells a process that sees it mounted.
    """

    def __init__(self, folder: Path, keeper: Callable[[], int]) -> None:
        self.folder = folder
        self._image = folder / "disk.img"
        self._keeper = keeper

    def make(self) -> None:
        """Makes an empty one."""
        for name in ("disk", "root"):
            (self.folder / name).mkdir(parents=True)
        run(["truncate", f"--size={SIZE}", str(self._image)])
        run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", str(self._image)])

    def cut_power(self) -> None:
        """Lets nothing more reach it from this moment on: what was not synced is lost."""
        descriptor = os.open(self._mounted(), os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, _WITHOUT_FLUSHING)
        finally:
            os.close(descriptor)

    def wait_until_released(self) -> None:
        """Waits until the kernel is done with it: a mount before that would get the same one."""
        wait_for(lambda: not self._is_attached(), RELEASE_SECONDS, f"the release of {self._image}")

    def free(self) -> int:
        """How many bytes can still be written."""
        room = os.statvfs(self._mounted())
        return room.f_bavail * room.f_frsize

    def fill(self, free: int = 0) -> None:
        """Takes all room but `free` bytes. This costs no room here: the blocks stay unwritten."""
        descriptor = os.open(self._mounted() / "ballast", os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            while (room := self.free() - free) >= _BLOCK_BYTES:
                # Some of the room becomes the map of what takes it, so this comes near in steps.
                step = max(room * 9 // 10 // _BLOCK_BYTES * _BLOCK_BYTES, _BLOCK_BYTES)
                os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, step)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Gives the room back that `fill` took."""
        (self._mounted() / "ballast").unlink(missing_ok=True)

    def _mounted(self) -> Path:
        return Path(f"/proc/{self._keeper()}/root{self.folder}/disk")

    def _is_attached(self) -> bool:
        attached = Path("/sys/block").glob("loop*/loop/backing_file")
        return any(_text(path).strip() == str(self._image) for path in attached)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # It was released just now.
