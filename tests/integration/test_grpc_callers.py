"""Who may call the session service, over TLS, with a certificate or a token, and what it is called
in the log; over real sockets with real certificates.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr
from structlog.testing import capture_logs

from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.errors import details_of
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from runtime import log as logs
from session_service.server import Server, serve
from tests.support import refused, settings_for
from tests.tls_support import Authority, Identity, for_service

GATEWAYS, REPORTS = "the-token-of-the-gateway", "the-token-of-the-reports"
NOWHERE = "http://127.0.0.1:1/v1"
Metadata: TypeAlias = tuple[tuple[str, str], ...]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.asynccontextmanager
async def service(directory: Path, **settings: Any) -> AsyncIterator[Server]:
    async with serve(settings_for(directory, NOWHERE, **settings)) as server:
        yield server


def tokens(*entries: str) -> Mapping[str, Any]:
    return {"session_service_token": tuple(map(SecretStr, entries))}


def bearing(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def credentials(authority: Authority, identity: Identity | None = None) -> grpc.ChannelCredentials:
    key = identity.key.read_bytes() if identity else None
    certificate = identity.certificate.read_bytes() if identity else None
    return grpc.ssl_channel_credentials(authority.file.read_bytes(), key, certificate)


@contextlib.asynccontextmanager
async def channel_to(
    server: Server, credentials: grpc.ChannelCredentials | None = None, agent: str = ""
) -> AsyncIterator[grpc.aio.Channel]:
    # With a connection of its own: gRPC shares those of one process.
    options: list[tuple[str, str | int]] = [("grpc.use_local_subchannel_pool", 1)]
    if agent:
        options.append(("grpc.primary_user_agent", agent))
    target = f"127.0.0.1:{server.port}"
    if credentials is None:
        channel = grpc.aio.insecure_channel(target, options)
    else:
        channel = grpc.aio.secure_channel(target, credentials, options)
    async with channel:
        yield channel


async def ask(channel: grpc.aio.Channel, metadata: Metadata = ()) -> pb.GetStatsResponse:
    call = SessionServiceStub(channel).GetStats(
        pb.GetStatsRequest(user_id="7"), timeout=10, metadata=metadata
    )
    return await call


async def health(channel: grpc.aio.Channel) -> int:
    stub = cast(Any, health_pb2_grpc).HealthStub(channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)).status)


async def reflect(channel: grpc.aio.Channel, metadata: Metadata = ()) -> list[Any]:
    stub = cast(Any, reflection_pb2_grpc).ServerReflectionStub(channel)
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    call = stub.ServerReflectionInfo(iter(requests), timeout=10, metadata=metadata)
    return [answer async for answer in call]


@contextlib.contextmanager
def not_reached(said: str) -> Any:
    """The block must fail to make a connection, for that reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert said in (caught.value.details() or "")


async def test_who_trusts_the_authority_is_served_over_tls(
    tmp_path: Path, authority: Authority
) -> None:
    settings = for_service(authority.service())
    async with (
        service(tmp_path, **settings) as server,
        channel_to(server, credentials(authority)) as channel,
    ):
        await ask(channel)
        assert await reflect(channel)
        assert await health(channel) == health_pb2.HealthCheckResponse.SERVING


async def test_over_tls_the_wrong_service_is_not_trusted(
    tmp_path: Path, authority: Authority
) -> None:
    settings = for_service(authority.service())
    stranger = Authority(tmp_path, "stranger")
    async with (
        service(tmp_path, **settings) as server,
        channel_to(server, credentials(stranger)) as channel,
    ):
        with not_reached("CERTIFICATE_VERIFY_FAILED"):
            await ask(channel)


async def test_a_name_that_is_not_in_the_certificate_is_not_trusted(
    tmp_path: Path, authority: Authority
) -> None:
    settings = for_service(authority.identity("service", "another.example.com"))
    async with (
        service(tmp_path, **settings) as server,
        channel_to(server, credentials(authority)) as channel,
    ):
        with not_reached("127.0.0.1"):
            await ask(channel)


async def test_where_there_is_tls_nobody_is_served_in_the_clear(
    tmp_path: Path, authority: Authority
) -> None:
    settings = for_service(authority.service())
    async with service(tmp_path, **settings) as server, channel_to(server) as channel:
        for call in (ask, health, reflect):
            with not_reached(""):
                await call(channel)


async def test_mutual_tls_lets_in_who_has_a_certificate_of_that_authority(
    tmp_path: Path, authority: Authority
) -> None:
    settings = for_service(authority.service(), clients=authority)
    gateway = authority.identity("gateway", "gateway.example.com")
    async with (
        service(tmp_path, **settings) as server,
        channel_to(server, credentials(authority, gateway)) as channel,
    ):
        await ask(channel)
        assert await health(channel) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("which", ["none", "a stranger's", "an expired one"])
async def test_mutual_tls_keeps_out_who_has_no_such_certificate(
    which: str, tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "stranger").mkdir()
    identities = {
        "none": None,
        "a stranger's": Authority(tmp_path / "stranger").identity("gateway", "gateway"),
        "an expired one": authority.identity("gateway", "gateway", expired=True),
    }
    settings = for_service(authority.service(), clients=authority)
    async with (
        service(tmp_path, **settings) as server,
        channel_to(server, credentials(authority, identities[which])) as channel,
    ):
        for call in (ask, health, reflect):
            with not_reached(""):
                await call(channel)


async def test_a_token_is_needed_for_everything_but_health(tmp_path: Path) -> None:
    async with (
        service(tmp_path, **tokens(GATEWAYS)) as server,
        channel_to(server) as channel,
    ):
        for metadata in (
            (),
            bearing(REPORTS),
            bearing(GATEWAYS[:-1]),
            bearing(f"{GATEWAYS}x"),
            bearing(""),
            bearing(f"gateway:{GATEWAYS}"),
            (("authorization", GATEWAYS),),
            (("authorization", f"Basic {GATEWAYS}"),),
            (("x-authorization", f"Bearer {GATEWAYS}"),),
        ):
            for call in (ask, reflect):
                with refused("UNAUTHENTICATED") as refusal:
                    await call(channel, metadata)
                assert refusal.details.metadata == {"cause": "service_token"}
        assert await health(channel) == health_pb2.HealthCheckResponse.SERVING
        await ask(channel, bearing(GATEWAYS))
        await ask(channel, (("authorization", f"bearer {GATEWAYS}"),))
        assert await reflect(channel, bearing(GATEWAYS))


async def test_tokens_are_rotated_by_having_two_for_a_while(tmp_path: Path) -> None:
    old, new = f"old-{GATEWAYS}", f"new-{GATEWAYS}"
    for known, good, bad in (
        ((old,), (old,), (new,)),
        ((new, old), (old, new), ()),
        ((new,), (new,), (old,)),
    ):
        async with service(tmp_path, **tokens(*known)) as server, channel_to(server) as channel:
            for token in good:
                await ask(channel, bearing(token))
            for token in bad:
                with refused("UNAUTHENTICATED"):
                    await ask(channel, bearing(token))


async def test_a_certificate_does_not_replace_the_token(
    tmp_path: Path, authority: Authority
) -> None:
    settings = {**for_service(authority.service(), clients=authority), **tokens(GATEWAYS)}
    gateway = authority.identity("gateway", "gateway")
    async with (
        service(tmp_path, **settings) as server,
        channel_to(server, credentials(authority, gateway)) as channel,
    ):
        with refused("UNAUTHENTICATED"):
            await ask(channel)
        await ask(channel, bearing(GATEWAYS))


@pytest.mark.parametrize(
    ("names", "caller"),
    [
        (("gateway.example.com",), "gateway.example.com"),
        (("10.0.0.7", "gateway.example.com", "other.example.com"), "gateway.example.com"),
        (("10.0.0.7",), "a-machine"),
        (("x" * 60 + ".example.com",), "x" * 60 + ".exa"),
        (("*.gateways.example.com",), "*.gateways.example.com"),
    ],
)
async def test_a_caller_is_called_as_its_certificate_says(
    names: tuple[str, ...], caller: str, tmp_path: Path, authority: Authority
) -> None:
    settings = {
        **for_service(authority.service(), clients=authority),
        **tokens(f"token-s:{GATEWAYS}"),
    }
    identity = authority.identity("caller", *names)
    async with (
        service(tmp_path, **settings) as server,
        channel_to(server, credentials(authority, identity)) as channel,
    ):
        assert await name_of_who(channel, bearing(GATEWAYS)) == caller


@pytest.mark.parametrize(
    ("token", "agent", "caller"),
    [
        (GATEWAYS, "something-else", "gateway"),
        (REPORTS, "gateway", "reports"),
        ("a-token-without-a-name", "gateway", "gateway (unverified)"),
        ("a-token-without-a-name", "", "grpc-python-asyncio (unverified)"),
        ("a-token-without-a-name", "<script>\t\x7f{}", "_script_____ (unverified)"),
        ("a-token-without-a-name", "a" * 100, "a" * 64 + " (unverified)"),
    ],
)
async def test_a_caller_is_called_as_its_token_or_else_as_it_claims(
    token: str, agent: str, caller: str, tmp_path: Path
) -> None:
    known = tokens(f"gateway:{GATEWAYS}", f"reports:{REPORTS}", "a-token-without-a-name")
    async with service(tmp_path, **known) as server, channel_to(server, agent=agent) as channel:
        assert await name_of_who(channel, bearing(token)) == caller


async def test_on_this_machine_a_caller_is_called_as_it_claims(tmp_path: Path) -> None:
    async with service(tmp_path) as server, channel_to(server, agent="gateway/1.2") as channel:
        assert await name_of_who(channel) == "gateway (unverified)"


async def name_of_who(channel: grpc.aio.Channel, metadata: Metadata = ()) -> str:
    """Returns what every log line of a call calls its caller."""
    names = set()

    def note(_: Any, __: str, event: Any) -> Any:
        names.add(logs.caller.get(""))
        return event

    with capture_logs(processors=[note]) as captured:
        await ask(channel, metadata)
    assert "rpc" in {line["event"] for line in captured}
    (name,) = names
    return name


async def test_who_is_refused_is_logged_without_what_it_sent(tmp_path: Path) -> None:
    async with (
        service(tmp_path, **tokens(GATEWAYS)) as server,
        channel_to(server, agent="stranger") as channel,
    ):
        with capture_logs() as captured, pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, bearing(REPORTS))
        assert [line["outcome"] for line in captured if line["event"] == "rpc"] == [
            "UNAUTHENTICATED"
        ]
        (warning,) = [line for line in captured if line["event"] == "caller refused"]
        assert warning["peer"].startswith("ipv4:127.0.0.1:")
        for text in (str(captured), caught.value.details(), str(details_of(caught.value))):
            assert REPORTS not in str(text)
            assert GATEWAYS not in str(text)
