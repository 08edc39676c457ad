"""Whether session services still answer: who says nothing is asked, and left if that goes on.

A process that is stopped, or behind a network that loses everything, keeps its connection: gRPC's
own keepalive finds that out after half a minute.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from gateway.call_stream import CallStream

_BEAT_SECONDS = 0.2
"""A service is silent within four of them, where calls wait for it; an idle one is asked at every
fifth."""
_LOST_BEATS = 25
"""After five seconds, in which others answered, it is not just busy."""

log = structlog.get_logger()


class Heartbeat:
    """Run by one background task, `run`.

    Nobody is left where nobody else answers: then all are busy, or the network is ours. And what
    was not heard while our own event loop stood still says nothing of the others.
    """

    def __init__(self, streams: Callable[[], Mapping[str, CallStream]]) -> None:
        """`streams` returns those that there are, by address."""
        self._streams = streams
        self._silent: set[str] = set()
        """Those that the log says are."""

    async def run(self) -> None:
        """Looks five times a second, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _BEAT_SECONDS
            await asyncio.sleep(_BEAT_SECONDS)
            if loop.time() < due + _BEAT_SECONDS / 2:
                self.beat()

    def beat(self) -> None:
        """Looks once. A single service is not even asked: there is nobody to leave it for."""
        streams = self._streams()
        if len(streams) < 2:
            return
        for stream in streams.values():
            stream.beat()
        self._tell(streams)
        if not any(stream.answers for stream in streams.values()):
            return
        for stream in streams.values():
            if stream.is_silent:
                stream.left_beats += 1
                if stream.left_beats < _LOST_BEATS:
                    stream.release()
                else:
                    stream.lose()

    def _tell(self, streams: Mapping[str, CallStream]) -> None:
        for address, stream in streams.items():
            if stream.is_silent and address not in self._silent:
                self._silent.add(address)
                log.warning("session service does not answer", address=address)
            elif stream.answers and address in self._silent:
                self._silent.remove(address)
                log.info("session service answers again", address=address)
        self._silent &= streams.keys()
