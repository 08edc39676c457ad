"""`python -m gateway doctor`: whether everything that the gateway needs is in order.

A running gateway answers the same, of itself, at `/api/chatkit/checks`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import grpc
import httpx
from pydantic import SecretStr

from gateway.channel import certificates, connector, identity
from gateway.config import Settings
from gateway.errors import OUR_TOKEN, APIError
from gateway.jwks import FETCH_ERRORS, KeySet, open_key_set
from gateway.messages import checks as checks_of
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.errors import details_of
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from runtime.checklist import Check, failed, passed, skipped, warning
from runtime.checklist_report import main as report
from runtime.listening import reachable, state_of
from runtime.redaction import redactor
from runtime.settings import BadSettings, overridden, read
from runtime.transport import is_loopback

MIN_SECRET_BYTES = 32
"""RFC 7518, 3.2."""

_SECONDS = 8.0
_CONNECT_SECONDS = 2.0
_STAND_IN = "stands in for JWT_SECRET, so that the other settings can be looked at"


def main(arguments: Sequence[str]) -> int:
    """Prints the checklist. Returns the exit code."""
    return report(arguments, "python -m gateway doctor", _examine_alone)


async def _examine_alone() -> dict[str, Sequence[Check]]:
    return {"gateway": await examine()}


async def examine() -> list[Check]:
    """Returns all checks of a gateway with the settings of `.env` and the environment.

    Whether one runs or not: it changes nothing.
    """
    has_tokens = True
    try:
        settings = read(Settings)
    except BadSettings as error:
        if {name for name, _ in error.problems} != {"JWT_SECRET"}:
            problems = failed("gateway.settings", "malformed", problems="\n".join(error.lines))
            return [problems, *overrides(), skipped("gateway.rest", "settings")]
        # The first thing that everybody lacks: it is no reason to leave the others in the dark.
        has_tokens = False
        settings = Settings(jwt_secret=SecretStr(_STAND_IN))
    async with open_key_set(settings.jwt_jwks_url) as keys:
        (service, mode), published, listening = await asyncio.gather(
            _service(settings), _published(keys), _listening(settings)
        )
    tokens = token_checks(settings) if has_tokens else [failed("gateway.tokens", "missing")]
    return [
        passed("gateway.settings"),
        *overrides(),
        *tokens,
        *published,
        *browser_checks(settings, mode),
        listening,
        service,
    ]


class Doctor:
    """The checks of a running gateway, of its own settings and keys."""

    def __init__(self, settings: Settings, keys: KeySet | None) -> None:
        self._settings = settings
        self._keys = keys
        self._overrides = overrides()  # once, as the settings were read

    async def report(
        self, diagnose: Callable[[], Awaitable[Sequence[Check]]], *, ask: bool
    ) -> tuple[str | None, list[Check]]:
        """Returns the mode, None where it is not known, and all checks.

        Those of the session service are what `diagnose` asks for. `ask` is to fetch keys, too.
        """
        try:
            of_service, reached = await diagnose(), self._reached()
        except APIError as error:
            of_service, reached = (), self._unreached(error)
        mode = mode_of(of_service)
        return mode, [*of_service, *await self._examine(mode, ask=ask), reached]

    async def _examine(self, mode: str | None, *, ask: bool) -> list[Check]:
        published = [skipped("gateway.jwt_keys", "not_asked")] if self._keys else []
        return [
            passed("gateway.settings"),
            *self._overrides,
            *token_checks(self._settings),
            *(await _published(self._keys) if ask else published),
            *browser_checks(self._settings, mode),
        ]

    def _reached(self) -> Check:
        return passed("gateway.service", target=self._targets())

    def _unreached(self, error: APIError) -> Check:
        """Returns what it means that the session service has not told its checks."""
        cause = "refused" if error.detail == OUR_TOKEN else "silent"
        return failed("gateway.service", cause, target=self._targets(), reason=error.reason)

    def _targets(self) -> str:
        return ", ".join(self._settings.session_service_target)


def mode_of(checks: Sequence[Check]) -> str | None:
    """Returns the mode that a session service says it is in, None where it says none."""
    found = (check.details.get("mode") for check in checks if check.name == "service.settings")
    return next(found, None)


def overrides() -> list[Check]:
    """Returns whether the shell and `.env` agree about the settings of the gateway."""
    names = overridden(Settings)
    if names:
        return [warning("gateway.overrides", "overridden", settings=", ".join(names))]
    return [passed("gateway.overrides")]


def token_checks(settings: Settings) -> list[Check]:
    """Returns what can be told of how tokens are checked without asking their issuer."""
    checks = []
    if secret := settings.jwt_secret:
        size = len(secret.get_secret_value().encode())
        short = warning("gateway.tokens", "short", bytes=size)
        checks.append(passed("gateway.tokens") if size >= MIN_SECRET_BYTES else short)
    if settings.jwt_jwks_url:
        # A secret is one application's; the keys of a login service sign for all of them.
        bound = settings.jwt_audience is not None
        checks.append(passed("gateway.claims") if bound else warning("gateway.claims", "unbound"))
    return checks


def browser_checks(settings: Settings, mode: str | None) -> list[Check]:
    """Returns what decides whether a page may call the gateway, in the mode if it is known."""
    origins = settings.cors_allow_origins
    plain = [origin for origin in origins if origin != "*" and not _is_careful(origin)]
    if not origins:
        cors = warning("gateway.cors", "none")
    elif "*" in origins:
        cors = warning("gateway.cors", "any")
    elif plain:
        cors = warning("gateway.cors", "plain", origins=", ".join(plain))
    else:
        cors = passed("gateway.cors", origins=", ".join(origins))
    checks = [cors]
    public_url = settings.gateway_public_url
    if public_url and not _is_careful(public_url):
        checks.append(warning("gateway.public_url", "plain", url=public_url))
    elif public_url:
        checks.append(passed("gateway.public_url", url=public_url))
    elif mode == "self_hosted":
        # Without it links begin with http://, which a page of an https:// origin may not load.
        secure = next((origin for origin in origins if origin.startswith("https:")), None)
        missing = warning("gateway.public_url", "missing", origin=secure)
        checks.append(missing if secure else passed("gateway.public_url", "as_asked"))
    return checks


def _is_careful(address: str) -> bool:
    url = urlsplit(address)
    return url.scheme == "https" or is_loopback(url.hostname or "")


async def _published(keys: KeySet | None) -> list[Check]:
    if keys is None:
        return []
    try:
        found = await keys.download()
    except FETCH_ERRORS as error:
        said = redactor(())(f"{type(error).__name__}: {error}")
        cause = "unusable" if isinstance(error, ValueError) else "unreachable"
        return [failed("gateway.jwt_keys", cause, url=keys.shown_url, said=said)]
    return [passed("gateway.jwt_keys", url=keys.shown_url, keys=len(found))]


async def _listening(settings: Settings) -> Check:
    address = settings.gateway_listen
    state, said = await asyncio.to_thread(state_of, address)
    if state == "free":
        return passed("gateway.listen", address=address)
    if state == "impossible":
        return failed("gateway.listen", "impossible", address=address, said=said)
    # Without TLS, whose certificates take a while to load; and near, where no proxy is.
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=_SECONDS) as http:
        try:
            answer = await http.get(f"http://{reachable(address)}/healthz")
            ours = answer.json() == {"success": True, "data": {"status": "alive"}}
        except (httpx.HTTPError, ValueError):
            ours = False
    if ours:
        return passed("gateway.listen", "running", address=address)
    return failed("gateway.listen", "taken", address=address)


async def _service(settings: Settings) -> tuple[Check, str | None]:
    """Returns whether the session services take our calls, and in which mode they are."""
    targets = settings.session_service_target
    found = await asyncio.gather(*(_one_service(settings, target) for target in targets))
    mode = next((mode for _, mode in found if mode), None)
    amiss = next((check for check, _ in found if check.state != "passed"), None)
    return amiss or passed("gateway.service", target=", ".join(targets)), mode


async def _one_service(settings: Settings, target: str) -> tuple[Check, str | None]:
    async with _channel(settings, target) as channel:
        try:
            # What known callers alone may ask, as health is for everybody.
            reply = await SessionServiceStub(channel).Diagnose(
                pb.DiagnoseRequest(), timeout=_SECONDS, metadata=identity(settings)
            )
        except grpc.aio.AioRpcError as error:
            return await _unreached(settings, target, error), None
    checks = checks_of(reply)
    check = passed("gateway.service", target=target)
    if amiss := [one.name for one in checks if one.state == "failed"]:
        check = warning("gateway.service", "unwell", target=target, checks=", ".join(amiss))
    return check, mode_of(checks)


@contextlib.asynccontextmanager
async def _channel(settings: Settings, target: str) -> AsyncIterator[grpc.aio.Channel]:
    watched = certificates(settings)
    connect = connector(target.rpartition(":")[0], settings)
    async with connect(target, watched.pem if watched else None) as channel:
        yield channel


async def _unreached(settings: Settings, target: str, error: grpc.aio.AioRpcError) -> Check:
    details = details_of(error)
    if details is not None:
        cause = "refused" if details.metadata.get("cause") == OUR_TOKEN else "silent"
        return failed("gateway.service", cause, target=target, reason=details.reason)
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return failed("gateway.service", "silent", target=target, reason=error.code().name)
    host, _, port = target.rpartition(":")
    said = redactor(())(error.details() or "")
    # gRPC's words are the same for much: whether anybody listens tells more.
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
    except OSError as no_connection:
        if isinstance(no_connection, ConnectionRefusedError) and is_loopback(host):
            return skipped("gateway.service", "not_running", target=target)
        return failed("gateway.service", "unreachable", target=target, said=said)
    cause = "certificate" if settings.session_service_tls_ca else "unencrypted"
    return failed("gateway.service", cause, target=target, said=said)
