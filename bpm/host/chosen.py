"""What the caller chooses, or else the environment: the BOSH root, and the user."""

from __future__ import annotations

import os
import posixpath

from bpm.errors import HostError, describe_errno
from bpm.layout import DEFAULT_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.plan import User


def find_root(root: str | None = None) -> str:
    """The BOSH root as a clean absolute path: the one given, ``$BPM_BOSH_ROOT``, or ``/var/vcap``.

    Raises:
        HostError: It is no directory that can be read.
    """
    path = root or os.environ.get("BPM_BOSH_ROOT") or DEFAULT_ROOT
    advice = "$BPM_BOSH_ROOT names the BOSH root"
    if not path.startswith("/"):
        raise HostError(f"the BOSH root {path!r} is not an absolute path; {advice}")
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except ValueError:
        raise HostError(f"the BOSH root {path!r} is not a path; {advice}") from None
    except OSError as error:
        raise HostError(f"cannot use the BOSH root {path}: {describe_errno(error.errno or 0)}; {advice}") from error
    return _clean(path)


def find_user(user: str | User | None = None) -> User:
    """Who unprivileged processes run as: the user given, ``$BPM_USER``, or ``vcap``.

    Raises:
        HostError: This machine does not know that user.
    """
    from bpm.plan import User

    if isinstance(user, User):
        return user
    import pwd

    name = user or os.environ.get("BPM_USER") or User().name
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        advice = "create that user, or name another one in $BPM_USER"
        raise HostError(f"this machine has no user {name!r}, whom processes run as: {advice}") from None
    return User(name, entry.pw_uid, entry.pw_gid)


def _clean(path: str) -> str:
    # POSIX leaves a second leading slash its meaning, path_resolution(7) does not.
    return "/" + posixpath.normpath(path).lstrip("/")
