"""How many files and connections this process may have open."""

import contextlib
import resource

_ENOUGH = 65_536
"""More than one event loop can serve; each idle connection takes some 10 KB."""


def raise_open_files_limit() -> int:
    """Raises the soft limit as far as is allowed and of use, and returns it.

    What shells and service managers give is often 1,024, for the sake of programs that use
    select(2); the hard limit is what the administrator means.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower one that it keeps secret
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft
