"""`python -m session_service doctor`: whether everything that the service needs is in order.

A running service answers the same by the RPC Diagnose, of itself as it is.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import grpc

from runtime.checklist import Check, after, failed, passed, skipped, warning
from runtime.checklist_report import main as report
from runtime.listening import state_of
from runtime.redaction import redactor
from runtime.settings import BadSettings, overridden, read
from session_service.agent_builder import Today, utc_today
from session_service.circuit import Circuit, patience_seconds
from session_service.config import Settings
from session_service.errors import Unavailable
from session_service.healthcheck import serves
from session_service.openai_api import ChatKitAPI
from session_service.openai_checks import ORDER, OpenAIChecks
from session_service.openai_client import open_client
from session_service.stores.base import Store
from session_service.stores.inspection import Inspection, check_folder, existing_folder, inspect

_LOW_BYTES = 1024**3
_SHARED_SECONDS = 2.0
"""How long what is on this machine is believed, however many ask."""
_OPENAI_SHARED_SECONDS = 10.0
"""The same of OpenAI, where each look costs a session."""

T = TypeVar("T")


def main(arguments: Sequence[str]) -> int:
    """Prints the checklist. Returns the exit code."""
    return report(arguments, "python -m session_service doctor", _examine_alone)


async def _examine_alone() -> dict[str, Sequence[Check]]:
    return {"session_service": await examine()}


async def examine(today: Today = utc_today) -> list[Check]:
    """Returns all checks of a service with the settings of `.env` and the environment.

    Whether one runs or not: it changes nothing. What a service needs at OpenAI is looked at by
    asking for a session once, and cancelling it.
    """
    try:
        settings = read(Settings)
    except BadSettings as error:
        problems = failed("service.settings", "malformed", problems="\n".join(error.lines))
        return [problems, *overrides(), skipped("service.rest", "settings")]
    async with open_client(settings.openai_base_url) as client:
        circuit = Circuit("diagnosis", patience_seconds(settings.chatkit_timeout_seconds))
        key = settings.openai_api_key
        api = ChatKitAPI(
            client,
            circuit,
            api_key=key.get_secret_value().strip() if key else None,
            workflow_id=settings.openai_chatkit_workflow_id,
            file_upload="file_upload" in settings.chatkit_tools,
            today=today,
        )
        openai = OpenAIChecks(settings, api, today)
        asked, database, local, listening = await asyncio.gather(
            openai.ask(),
            inspect(settings.database_url),
            asyncio.to_thread(_local, settings),
            asyncio.to_thread(_listening, settings),
        )
    return [
        passed("service.settings", mode=settings.chatkit_mode),
        *overrides(),
        *_in_order(openai.configured(), asked),
        *_database(settings, database),
        *local,
        listening,
    ]


class Doctor:
    """The checks of a running service, of its own store and API.

    What one caller learns is told to all who ask meanwhile, and shortly after: nobody can use up a
    quota by asking often.
    """

    def __init__(self, settings: Settings, store: Store, openai: OpenAIChecks) -> None:
        self._settings = settings
        self._store = store
        self._openai = openai
        self._here = _Shared(self._look_here, _SHARED_SECONDS)
        self._there = _Shared(openai.ask, _OPENAI_SHARED_SECONDS)

    async def examine(self, *, ask_openai: bool) -> list[Check]:
        """Returns all checks; those that take a call to OpenAI as skipped, unless it is asked."""
        here = self._here.result()
        there = await self._there.result() if ask_openai else self._openai.unasked()
        return [
            passed("service.settings", mode=self._settings.chatkit_mode),
            *overrides(),
            *_in_order(self._openai.configured(), there),
            *await here,
        ]

    async def _look_here(self) -> list[Check]:
        local = asyncio.create_task(asyncio.to_thread(_local, self._settings))
        try:
            await self._store.check()
        except Unavailable:
            database = [
                failed("database.usable", "unusable", database=_shown(self._settings)),
                after("database.migrated", "database.usable"),
            ]
        else:
            database = [passed("database.usable"), passed("database.migrated")]
        return [*database, *await local]


class _Shared(Generic[T]):
    """Work whose result is everybody's while it is done, and for some time after."""

    def __init__(self, work: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._work = work
        self._seconds = seconds
        self._task: asyncio.Task[T] | None = None
        self._until = 0.0

    def result(self) -> "asyncio.Future[T]":
        """Returns the result to come, or the last. It is looked for even if its caller leaves."""
        now = time.monotonic()
        if self._task is None or (self._task.done() and now >= self._until):
            self._task = asyncio.create_task(self._run())
        return asyncio.shield(self._task)

    async def _run(self) -> T:
        try:
            return await self._work()
        finally:
            self._until = time.monotonic() + self._seconds


def overrides() -> list[Check]:
    """Returns whether the shell and `.env` agree about the settings of the service."""
    names = overridden(Settings)
    if names:
        return [warning("service.overrides", "overridden", settings=", ".join(names))]
    return [passed("service.overrides")]


def _in_order(configured: Sequence[Check], asked: Sequence[Check]) -> list[Check]:
    """Returns the checks in the order in which they are to be mended."""
    order = ("openai.key", *ORDER, "agent_builder", "clock")
    return sorted((*configured, *asked), key=lambda check: order.index(check.name))


def _database(settings: Settings, found: Inspection) -> list[Check]:
    database = _shown(settings)
    if found.problem:
        said = redactor(())(found.said)
        return [
            failed("database.usable", found.problem, database=database, said=said),
            after("database.migrated", "database.usable"),
        ]
    versions = {"schema": found.schema, "known": found.known}
    if found.schema > found.known:
        migrated = failed("database.migrated", "newer", database=database, **versions)
    elif found.schema == 0:
        migrated = passed("database.migrated", "new")
    elif found.schema < found.known:
        migrated = warning("database.migrated", "older", database=database, **versions)
    else:
        migrated = passed("database.migrated")
    return [passed("database.usable"), migrated]


def _shown(settings: Settings) -> str:
    return redactor(())(settings.database_url)


def _local(settings: Settings) -> list[Check]:
    """Returns the checks of this machine's disks."""
    checks = []
    folders = []
    if settings.database_url.startswith("sqlite:///"):
        folders.append(Path(settings.database_url.removeprefix("sqlite:///")).parent)
    if settings.chatkit_mode == "self_hosted":
        folder = settings.chatkit_attachments_dir
        folders.append(folder)
        try:
            check_folder(folder)
            checks.append(passed("attachments.writable"))
        except OSError as error:
            said = error.strerror or str(error)
            checks.append(failed("attachments.writable", "unwritable", folder=folder, said=said))
    return [*checks, *_disk(folders)]


def _disk(folders: Sequence[Path]) -> list[Check]:
    if not folders:
        return []
    free, folder = min((shutil.disk_usage(existing_folder(one)).free, one) for one in folders)
    if free >= _LOW_BYTES:
        return [passed("disk")]
    return [warning("disk", "low", folder=folder, megabytes=free // 1024**2)]


def _listening(settings: Settings) -> Check:
    address = settings.session_service_listen
    state, said = state_of(address)
    if state == "free":
        return passed("service.listen", address=address)
    if state == "impossible":
        return failed("service.listen", "impossible", address=address, said=said)
    certificate, key = settings.session_service_tls_cert, settings.session_service_tls_key
    mutual = settings.session_service_tls_client_ca is not None
    pair = (certificate, key) if mutual and certificate and key else None
    try:
        ours = serves(
            address,
            encrypted=certificate is not None,
            pair=pair,
            service="chatkit.v1.SessionService",
        )
    except (grpc.RpcError, OSError):  # it speaks another language, or does not know that name
        return failed("service.listen", "taken", address=address)
    if not ours:
        return failed("service.listen", "unhealthy", address=address)
    return passed("service.listen", "running", address=address)
