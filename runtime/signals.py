"""SIGTERM and SIGINT ask a process to stop; asked twice, it does the same, and it does stop."""

import asyncio
import contextlib
import faulthandler
import signal
from collections.abc import Iterator
from types import FrameType

HARD_STOP_SECONDS = 26.0
"""When a process that was asked to stop ends, come what may: after the grace of what has begun."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether somebody has asked this process to stop, from the first moment on."""

    def __init__(self, hard_stop_seconds: float) -> None:
        self._hard_stop_seconds = hard_stop_seconds
        self._asked = False
        self._event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def wait(self) -> None:
        """Waits until somebody has."""
        self._loop = asyncio.get_running_loop()
        if self._asked:  # before there was a loop to tell
            self._event.set()
        await self._event.wait()

    def ask(self, _: int, __: FrameType | None) -> None:
        """The signal handler."""
        if not self._asked:
            # A disk that hangs holds up threads, and a thread the end of the process. Whoever looks
            # into it finds on stderr what each of them was doing.
            faulthandler.dump_traceback_later(self._hard_stop_seconds, exit=True)
        self._asked = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)


@contextlib.contextmanager
def stop_request(hard_stop_seconds: float = HARD_STOP_SECONDS) -> Iterator[StopRequest]:
    """Takes the signals within the block, and ignores them after it: the process is at its end.

    That ends with exit code 1 where it takes longer than `hard_stop_seconds` after the signal.

    An event loop's own signal handlers are no help here: when it closes, it restores the default,
    and the next signal would end the process with an error.
    """
    request = StopRequest(hard_stop_seconds)
    for number in _SIGNALS:
        signal.signal(number, request.ask)
    try:
        yield request
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
