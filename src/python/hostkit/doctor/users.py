"""The users of this machine, as a doctor names them."""

import pwd


def user_name(uid: int) -> str:
    """The name of a user, if it has one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
