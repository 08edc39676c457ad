"""The faults, and what is promised while they last: one function each, one table of all.

A function plays its fault on a stage under load, ends it, and waits for the recovery. It returns
what it found broken that no request can tell.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from signal import SIGCONT, SIGSTOP

import httpx

from tests.bench.processes import CannotRun
from tests.chaos import disturbances, storage
from tests.chaos.client import CLOSED, ERROR_EVENT, REFUSED
from tests.chaos.flood import flood
from tests.chaos.load import Load
from tests.chaos.stage import TIMEOUT_SECONDS, Restartable, Stage
from tests.chaos.verdict import BUSY_SECONDS, Promise

_NOTICE_SECONDS = 0.5
"""In that time a gateway certainly hears that a service is gone."""
_HEALTH_SECONDS = 60.0
"""In that time health certainly follows the database: services look every five seconds."""
_IN_A_ROW = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    """Of what is done again and again."""
    hold_seconds: float
    """How long a fault lasts."""
    rest_seconds: float
    """Before it, after it, and between the rounds."""
    per_second: float
    chats_per_second: float
    patience: float
    """How many times as long as promised everything may take: figures are for a quiet machine."""


Play = Callable[[Stage, Load, Plan], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table."""

    name: str
    stage: str
    play: Play
    promise: Promise
    quick: bool = True
    """Whether it is part of the short form."""


# Our own processes


async def kill(stage: Stage, load: Load, plan: Plan, *, process: str) -> Sequence[str]:
    """SIGKILL, again and again; a supervisor starts it again at once."""
    victim = _process(stage, process)
    for _ in range(plan.rounds):
        await victim.kill()
        await victim.start()
        await load.recovered()
        await asyncio.sleep(plan.rest_seconds)
    return ()


async def terminate(stage: Stage, load: Load, plan: Plan, *, process: str) -> Sequence[str]:
    """SIGTERM under load: what has begun is answered, the exit code is 0."""
    victim = _process(stage, process)
    broken: list[str] = []
    if not stage.is_self_hosted:  # so that there is much in flight; answers take long anyway
        await stage.fail(operation="sessions.create", kind="delay", delay_seconds=0.5)
        await asyncio.sleep(plan.rest_seconds)
    for _ in range(plan.rounds):
        code = await victim.terminate()
        if code != 0:
            broken.append(f"SIGTERM ended the {process} with {code}, promised 0")
        await victim.start()
        await load.recovered()
        await asyncio.sleep(plan.rest_seconds)
    await stage.heal()
    return [*broken, *_begun_and_not_answered(victim, load, process)]


def _begun_and_not_answered(victim: Restartable, load: Load, process: str) -> list[str]:
    """Compares what clients saw with what the process has logged: a line for each request."""
    log = victim.output
    if process == "gateway":
        failed = [one for one in load.outcomes if not one.answered and one.request_id in log]
    else:
        done = set(re.findall(r'"outcome":"OK".*"request_id":"(\w+)"', log))
        failed = [one for one in load.outcomes if not one.succeeded and one.request_id in done]
    return [f"begun by the {process}, and then {one.kind}: {one.said}" for one in failed[:3]]


async def kill_one_of_three(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    """Only what was in flight on the service that was killed fails."""
    victim = stage.services[0]
    await stage.fail(operation="sessions.create", kind="delay", delay_seconds=1)
    await asyncio.sleep(1 + plan.rest_seconds)  # from then on there is always something in flight
    killed: list[float] = []
    for _ in range(plan.rounds):
        killed.append(time.monotonic())
        await victim.kill()
        await load.recovered()
        await asyncio.sleep(plan.hold_seconds / 2)
        await victim.start()
        await asyncio.sleep(plan.rest_seconds)
    await stage.heal()
    elsewhere = [
        outcome
        for outcome in load.outcomes
        if not outcome.succeeded
        and not any(outcome.began < at + _NOTICE_SECONDS and outcome.ended > at for at in killed)
    ]
    return [f"failed though others were there: {one.kind}: {one.said}" for one in elsewhere[:3]]


async def roll(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    """SIGTERM for all processes, one after the other, as an upgrade does it: nobody notices.

    As in Kubernetes, a gateway gets no more requests before it is told, and its successor none
    before it is ready.
    """
    # So that there is much in flight.
    await stage.fail(operation="sessions.create", kind="delay", delay_seconds=0.3)
    await asyncio.sleep(plan.rest_seconds)
    codes = []
    for service in stage.services:
        codes.append(await service.terminate())
        await service.start()
        await load.recovered()
    for gateway in stage.gateways:
        with load.client.balancer.without(gateway.url):
            # Once these are answered, it has also read what was sent to it before.
            await _until(gateway, is_ready=True)
            codes.append(await gateway.terminate())
            await gateway.start()
            await _until(gateway, is_ready=True)
        await load.recovered()
    await stage.heal()
    return [] if not any(codes) else [f"SIGTERM ended processes with {codes}, promised 0"]


async def restart_postgres(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    """First as for an upgrade, in no time; then it is killed, and away until health says so."""
    assert stage.postgres is not None
    await stage.postgres.restart()
    await load.recovered()
    await asyncio.sleep(plan.rest_seconds)
    await stage.postgres.kill()
    try:
        for gateway in stage.gateways:
            await _until(gateway, is_ready=False)
    finally:
        await stage.postgres.start()
    await load.recovered()
    for gateway in stage.gateways:
        await _until(gateway, is_ready=True)
    return ()


async def _until(gateway: Restartable, *, is_ready: bool) -> None:
    """Waits until a gateway says that it is, or is not, several times in a row: it asks another
    service each time."""
    async with (
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, verify=False) as http,
        asyncio.timeout(_HEALTH_SECONDS),
    ):
        seen = 0
        while seen < _IN_A_ROW:
            answer = await http.get("/readyz")
            seen = seen + 1 if (answer.status_code == 200) is is_ready else 0
            await asyncio.sleep(0.02)


# The upstream


async def refuse(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    """Nobody listens at OpenAI's address."""
    await stage.openai.kill()
    await asyncio.sleep(plan.hold_seconds)
    await stage.openai.start()
    await load.recovered()
    return ()


async def answer_503(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    await stage.fail(kind="status", status=503)
    await asyncio.sleep(plan.hold_seconds)
    await stage.heal()
    await load.recovered()
    return ()


async def stall(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    """OpenAI takes requests and says nothing, beyond our deadline."""
    stage.openai.send(SIGSTOP)
    try:
        await asyncio.sleep(TIMEOUT_SECONDS + plan.hold_seconds)
    finally:
        stage.openai.send(SIGCONT)
    await load.recovered()
    return ()


async def slow(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    await stage.fail(operation="sessions.create", kind="delay", delay_seconds=2)
    await asyncio.sleep(2 + plan.hold_seconds)
    await stage.heal()
    await load.recovered()
    return ()


# The network between the gateway and the service


async def cut(stage: Stage, load: Load, plan: Plan, *, how: str) -> Sequence[str]:
    assert stage.proxy is not None
    for _ in range(plan.rounds):
        getattr(stage.proxy, how)()
        await asyncio.sleep(plan.hold_seconds / 2)
        stage.proxy.heal()
        await load.recovered()
        await asyncio.sleep(plan.rest_seconds)
    return ()


# Storage


async def lock(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    """Another process holds the database's write lock."""
    assert stage.database is not None
    async with storage.locked(stage.database):
        await asyncio.sleep(plan.hold_seconds)
    await load.recovered()
    return ()


async def fill_disk(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    """No file of the service may grow."""
    assert stage.database is not None
    with storage.full_disk(stage.services[0].pid, stage.database):
        await asyncio.sleep(plan.hold_seconds)
    await load.recovered()
    return ()


# Clients


async def disturb(
    stage: Stage, load: Load, plan: Plan, *, by: Sequence[disturbances.Disturbance]
) -> Sequence[str]:
    """Others do what they should not, meanwhile; nobody else is to notice."""
    end = time.monotonic() + plan.hold_seconds
    async with asyncio.TaskGroup() as group:
        for disturbance in by:
            group.create_task(disturbances.repeat(disturbance, stage, end))
    await load.recovered()
    return ()


async def overload(stage: Stage, load: Load, plan: Plan) -> Sequence[str]:
    """Three times as many requests as can be answered, whatever becomes of those before."""
    is_busy = load.latest_seconds > BUSY_SECONDS  # before the flood, which makes it so
    try:
        seen = await flood(stage, plan.hold_seconds)
    except CannotRun as error:
        return [f"the flood: {error}"]
    load.notes.append(str(seen))
    await load.recovered()
    return seen.broken(plan.patience, judges_times=not is_busy)


def _process(stage: Stage, name: str) -> Restartable:
    return stage.gateway if name == "gateway" else stage.services[0]


_GONE = frozenset(("UNAVAILABLE",))
_BROKEN_OFF = frozenset(("UNAVAILABLE", ERROR_EVENT))
_NOT_BEGUN = frozenset((REFUSED, CLOSED))
"""What the gateway has begun and not answered, the fault finds by itself: it is in its log."""
_UPSTREAM = frozenset(("UPSTREAM_UNAVAILABLE",))
_LATE = frozenset(("UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"))

FAULTS = (
    Fault(
        "service killed",
        "hosted",
        partial(kill, process="service"),
        Promise(_GONE),
    ),
    Fault(
        "gateway killed",
        "hosted",
        partial(kill, process="gateway"),
        Promise(cuts_connections=True),
    ),
    Fault(
        "service terminated",
        "hosted",
        partial(terminate, process="service"),
        Promise(_GONE),
    ),
    Fault(
        "gateway terminated",
        "hosted",
        partial(terminate, process="gateway"),
        Promise(_NOT_BEGUN),
    ),
    Fault("upstream refuses", "hosted", refuse, Promise(_LATE, recovery_seconds=5)),
    Fault(
        "upstream answers 503",
        "hosted",
        answer_503,
        Promise(_UPSTREAM, recovery_seconds=5),
        quick=False,
    ),
    Fault(
        "upstream stalls",
        "hosted",
        stall,
        Promise(_LATE, recovery_seconds=5),
        quick=False,
    ),
    Fault("upstream takes 2 s", "hosted", slow, Promise(), quick=False),
    Fault("database locked", "hosted", lock, Promise(_GONE)),
    Fault("disk full", "hosted", fill_disk, Promise(_GONE)),
    Fault(
        "clients vanish",
        "hosted",
        partial(disturb, by=(disturbances.leave_early,)),
        Promise(),
    ),
    Fault(
        "garbage",
        "hosted",
        partial(disturb, by=disturbances.GARBAGE),
        Promise(),
    ),
    Fault("overload", "hosted", overload, Promise(), quick=False),
    Fault("network reset", "proxied", partial(cut, how="reset"), Promise(_GONE)),
    Fault(
        "network half-closed",
        "proxied",
        partial(cut, how="half_close"),
        Promise(_GONE),
        quick=False,
    ),
    Fault(
        "network stalls",
        "proxied",
        partial(cut, how="stall"),
        Promise(),
        quick=False,
    ),
    Fault("rolling restart", "scaled", roll, Promise(), quick=False),
    Fault("one of three killed", "scaled", kill_one_of_three, Promise(_GONE), quick=False),
    Fault("PostgreSQL restarts", "scaled", restart_postgres, Promise(_GONE), quick=False),
    Fault(
        "service killed, chats",
        "self_hosted",
        partial(kill, process="service"),
        Promise(_BROKEN_OFF),
    ),
    Fault(
        "gateway killed, chats",
        "self_hosted",
        partial(kill, process="gateway"),
        Promise(cuts_connections=True),
        quick=False,
    ),
    Fault(
        "service terminated, chats",
        "self_hosted",
        partial(terminate, process="service"),
        Promise(_GONE),
        quick=False,
    ),
    Fault(
        "gateway terminated, chats",
        "self_hosted",
        partial(terminate, process="gateway"),
        Promise(_NOT_BEGUN),
        quick=False,
    ),
    Fault(
        "readers vanish or dawdle",
        "self_hosted",
        partial(disturb, by=(disturbances.leave_stream, disturbances.read_slowly)),
        Promise(),
    ),
)
