"""The session services that there are, a connection to each, and which of them a call goes to.

gRPC's own balancing chooses per call of gRPC's; our unary calls travel on one stream for each
service, so we choose. Each stream is kept open: a service that dies, drains or comes back is known
at once, and a call that was not begun anywhere is made somewhere else.

Calls with the same affinity go to the same service, whichever gateway makes them, by rendezvous
hashing: a service that comes or goes moves no calls but its own
(https://www.eecs.umich.edu/techreports/cse/96/CSE-TR-316-96.pdf).
"""

import asyncio
import contextlib
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from gateway.call_stream import CallError, CallStream
from gateway.channel import Connect, Metadata, certificates, connector, identity, rpc_hop
from gateway.config import Settings
from gateway.heartbeat import Heartbeat
from protos.chatkit.v1 import call_stream_service_pb2 as pb
from protos.chatkit.v1 import session_service_pb2
from protos.chatkit.v1.call_stream_service_pb2_grpc import CallStreamServiceStub
from protos.chatkit.v1.errors import details_of
from runtime import hops, tls

_RETRY_SECONDS = 0.1
"""Between two attempts to open a stream; gRPC itself connects less often."""
_REFUSED_SECONDS = 2.0
"""The same where the service has refused us: each attempt is a line in its log."""
_PATIENCE_SECONDS = 0.7
"""How long a call waits for a service where there is none, as while one is restarted; longer than
gRPC waits between attempts to connect, so that one that has just come is found."""
_STREAM_SECONDS = 1800.0
"""How long a stream is used: the service lets connections live for an hour."""
_LOOK_SECONDS = 2.0
"""How often names are resolved and certificates looked at."""
_RESOLVE_SECONDS = 5.0

log = structlog.get_logger()

_AFFINITIES: Mapping[str, Callable[[Any], str]] = {
    # Where it meets others of the same secret, which share one call to OpenAI. Secrets pass through
    # nothing that replicas share.
    "/chatkit.v1.SessionService/RefreshSession": lambda request: request.client_secret,
}
"""By method: what requests have in common that are to go to the same service."""

Build: TypeAlias = Callable[[grpc.aio.Channel], Any]


class Connection:
    """A channel to one service, and the stream of the unary calls to it."""

    def __init__(
        self, channel: grpc.aio.Channel, metadata: Metadata, tell: Callable[[], None]
    ) -> None:
        """Calls `tell` whenever calls are taken that were not before, and when a stream ended."""
        self._channel = channel
        self._tell = tell
        self._metadata = metadata
        self._methods: dict[Build, Any] = {}
        self._carry = CallStreamServiceStub(channel).Carry
        self._retired = False
        self._reading: set[asyncio.Task[CallError]] = set()
        self.stream = self._open()
        self.end = CallError(grpc.StatusCode.UNAVAILABLE, "Not connected")
        """Of the stream before, and the reason why there is none."""
        self.keeping = asyncio.create_task(self._keep())
        """Goes on until it is retired and has ended."""

    def method(self, build: Build) -> Any:
        """Returns a method of gRPC's on this channel, made once."""
        if build not in self._methods:
            self._methods[build] = build(self._channel)
        return self._methods[build]

    def retire(self) -> None:
        """Takes no more calls. Those that there are end by themselves, and with them the channel,
        as nothing refers to it any more."""
        self._retired = True
        self.stream.retire()

    async def close(self) -> None:
        """Ends everything at once."""
        tasks = {self.keeping, *self._reading}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._channel.close()

    def _open(self) -> CallStream:
        stream = CallStream(
            lambda requests: self._carry(requests, metadata=self._metadata), self._tell
        )
        self._read = asyncio.create_task(stream.read())
        self._reading.add(self._read)
        self._read.add_done_callback(self._reading.discard)
        return stream

    async def _keep(self) -> None:
        while not self._retired:
            await asyncio.wait((self._read,), timeout=_STREAM_SECONDS)
            if self._read.done():
                self.end = self._read.result()
                self._tell()
                pause = _RETRY_SECONDS if self.end.is_broken else _REFUSED_SECONDS
                await asyncio.sleep(pause * random.uniform(0.5, 1))
            if not self._retired:
                self.stream.retire()
                self.stream = self._open()


class Replicas:
    """What stubs take for a channel: each call goes to one of the services."""

    def __init__(
        self,
        targets: Sequence[tuple[str, int, Connect]],
        watched: tls.Watched | None,
        metadata: Metadata,
    ) -> None:
        self._targets = targets
        self._watched = watched
        self._metadata = metadata
        self._connections: dict[str, Connection] = {}
        self._leaving: set[Connection] = set()
        self._changed = asyncio.Event()
        self._turn = 0
        self._heartbeat = Heartbeat(
            lambda: {address: one.stream for address, one in self._connections.items()}
        )

    @property
    def channel(self) -> grpc.aio.Channel:
        """For calls that go by themselves."""
        return cast(grpc.aio.Channel, self)  # stubs ask a channel for nothing but these methods

    @property
    def carried(self) -> grpc.aio.Channel:
        """For unary calls of SessionService, which travel together."""
        return cast(grpc.aio.Channel, _Carried(self))

    @property
    def streams(self) -> list[CallStream]:
        """One for each service that there is."""
        return [connection.stream for connection in self._connections.values()]

    def unary_unary(self, method: str, **options: Any) -> Any:
        return self._method(lambda channel: channel.unary_unary(method, **options))

    def unary_stream(self, method: str, **options: Any) -> Any:
        return self._method(lambda channel: channel.unary_stream(method, **options))

    def stream_unary(self, method: str, **options: Any) -> Any:
        return self._method(lambda channel: channel.stream_unary(method, **options))

    def _method(self, build: Build) -> Any:
        def call(*request: Any, timeout: float, metadata: Metadata = ()) -> Any:
            # Where none is alive, gRPC says why.
            connection = self._next() or next(iter(self._connections.values()))
            method = connection.method(build)
            metadata = (*metadata, *hops.context().items(), *self._metadata)
            return method(*request, timeout=timeout, metadata=metadata)

        return call

    async def alive(self) -> bool:
        """Tells whether a service is there that takes calls; waits for one as a unary call does."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _PATIENCE_SECONDS
        while not any(one.stream.takes_calls for one in self._connections.values()):
            if not await self._something_changes(give_up):
                return False
        return True

    async def carry(
        self, message: pb.Call, timeout_seconds: float, *, safe: bool, affinity: str = ""
    ) -> bytes:
        """Makes a unary call, again where that can do no harm. Raises CallError.

        `safe` is whether it may be made twice, as it changes nothing the second time. Calls of the
        same `affinity` go to the same service, as long as that answers.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        give_up = deadline - timeout_seconds + min(_PATIENCE_SECONDS, timeout_seconds)
        while True:
            if connection := self._next(affinity):
                try:
                    return await connection.stream.call(message, deadline, safe=safe)
                except CallError as error:
                    if not (error.not_begun or (safe and error.is_broken)):
                        raise
                    hops.event("made again")
            elif not await self._something_changes(give_up):
                raise next(iter(self._connections.values())).end.again(not_begun=True)

    async def _something_changes(self, until: float) -> bool:
        """Waits for a service to come or go. Returns False where none does until then, or where
        all refuse us, as that is not going to change soon."""
        if not any(one.end.is_broken for one in self._connections.values()):
            return False
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _next(self, affinity: str = "") -> Connection | None:
        """Returns one that takes calls, another each time or that of the affinity; None where there
        is none."""
        every = self._connections
        alive = [address for address, one in every.items() if one.stream.answers]
        # Where all are silent they may be busy, and nobody is better.
        alive = alive or [address for address, one in every.items() if one.stream.takes_calls]
        if not alive:
            return None
        if affinity:
            return every[_highest_weight(affinity, alive)]
        self._turn += 1
        return every[alive[self._turn % len(alive)]]

    def _tell(self) -> None:
        self._changed.set()
        self._changed.clear()

    async def listen(self) -> None:
        """Notices services that fall silent, for ever."""
        await self._heartbeat.run()

    async def follow(self) -> None:
        """Follows names and certificates, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            renewed = self._watched is not None and self._watched.renewed() is not None
            if renewed or any(_is_name(host) for host, _, _ in self._targets):
                try:
                    await self.look(anew=renewed)
                except Exception:  # as it is the last time that anybody looks
                    log.exception("defect", method="look")

    async def look(self, *, anew: bool = False) -> None:
        """Connects to where the names lead now, and leaves where they do not lead any more.

        `anew` replaces the connections that there are, too.
        """
        found: dict[str, Connect] = {}
        for host, port, connect in self._targets:
            try:
                found |= dict.fromkeys(await _addresses(host, port), connect)
            except (OSError, TimeoutError):
                # What was there may still be: a name server that is down is no reason to leave. And
                # where nothing was, gRPC tells every caller that the name leads nowhere.
                found |= dict.fromkeys(self._connections or (f"{host}:{port}",), connect)
        for address in list(self._connections):
            if anew or address not in found:
                self._leave(self._connections.pop(address))
        pem = self._watched.pem if self._watched else None
        for address, connect in found.items():
            if address not in self._connections:
                self._connections[address] = Connection(
                    connect(address, pem), self._metadata, self._tell
                )

    def _leave(self, connection: Connection) -> None:
        self._leaving.add(connection)
        connection.keeping.add_done_callback(lambda _: self._leaving.discard(connection))
        connection.retire()

    async def close(self) -> None:
        """Ends all calls at once, those on connections that are being left, too."""
        connections = (*self._connections.values(), *self._leaving)
        await asyncio.gather(*(one.close() for one in connections))


class _Carried:
    """What stubs whose calls travel together take for a channel."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool = False,
    ) -> Any:
        """Returns what a stub calls. It raises AioRpcError, as that of gRPC's own channel does."""
        safe = _descriptor(method).GetOptions().idempotency_level != (
            MethodOptions.IDEMPOTENCY_UNKNOWN
        )

        affinity = _AFFINITIES.get(method, lambda _: "")

        async def call(
            request: Any,
            *,
            timeout: float,  # noqa: ASYNC109  # as gRPC's own
            metadata: Metadata = (),
        ) -> Any:
            with rpc_hop(method) as hop:
                message = pb.Call(
                    method=method,
                    request=request_serializer(request),
                    metadata={**dict(metadata), **hops.context()},
                )
                try:
                    response = await self._replicas.carry(
                        message, timeout, safe=safe, affinity=affinity(request)
                    )
                except CallError as error:
                    details = details_of(error)
                    hop.error = details.reason if details else error.code().name
                    raise
                return response_deserializer(response)

        return call

    def unary_stream(self, method: str, **options: Any) -> Any:
        """Returns what a stub calls; a stream of answers goes by itself."""
        return self._replicas.unary_stream(method, **options)


@contextlib.asynccontextmanager
async def open_replicas(settings: Settings) -> AsyncIterator[Replicas]:
    """Connects to all services, until the block ends. Raises ValueError for bad certificates."""
    targets = []
    for target in settings.session_service_target:
        host, _, port = target.rpartition(":")
        targets.append((host, int(port), connector(host, settings)))
    replicas = Replicas(targets, certificates(settings), identity(settings))
    await replicas.look()
    tasks = (asyncio.create_task(replicas.follow()), asyncio.create_task(replicas.listen()))
    try:
        yield replicas
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await replicas.close()


def _highest_weight(affinity: str, addresses: Sequence[str]) -> str:
    key = hashlib.sha256(affinity.encode()).digest()
    return max(addresses, key=lambda address: hashlib.sha256(key + address.encode()).digest())


def _descriptor(method: str) -> MethodDescriptor:
    service, _, name = method.rpartition("/")
    services = session_service_pb2.DESCRIPTOR.services_by_name
    return services[service.rpartition(".")[2]].methods_by_name[name]


async def _addresses(host: str, port: int) -> list[str]:
    """Raises OSError or TimeoutError."""
    if not _is_name(host):
        return [f"{host}:{port}"]
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_RESOLVE_SECONDS):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = {sockaddr[0] for *_, sockaddr in found}
    return [f"[{one}]:{port}" if ":" in str(one) else f"{one}:{port}" for one in addresses]


def _is_name(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host.strip("[]"))
            return False
    return True
