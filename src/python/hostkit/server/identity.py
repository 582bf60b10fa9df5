"""The host's own user, as whom root touches the host's data: it may hold traps for root."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Identity:
    """A user.

    `user`, `group`: its numbers.
    """

    user: int
    group: int

    @classmethod
    def of_host(cls, host: str) -> Self:
        """The host's user where root asks and there is one; else whoever asks."""
        if os.geteuid() == 0:
            try:
                entry = pwd.getpwnam(host)
            except KeyError:
                pass  # Not installed here: there is no other user to be.
            else:
                return cls(entry.pw_uid, entry.pw_gid)
        return cls(os.geteuid(), os.getegid())

    def own(self, path: Path) -> None:
        """Makes a file or folder this user's, if it is not already.

        A service may not even ask for that: its filter of system calls has no `chown`.
        """
        state = path.stat(follow_symlinks=False)
        if (state.st_uid, state.st_gid) != (self.user, self.group):
            os.chown(path, self.user, self.group, follow_symlinks=False)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Lets this process have no more rights than this user, until the end of the block."""
        before = Identity(os.geteuid(), os.getegid())
        if before == self:
            yield
            return
        groups = os.getgroups()
        os.setgroups([self.group])
        os.setegid(self.group)
        os.seteuid(self.user)
        try:
            yield
        finally:
            os.seteuid(before.user)
            os.setegid(before.group)
            os.setgroups(groups)
