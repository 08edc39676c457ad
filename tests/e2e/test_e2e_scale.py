"""Three session services on one PostgreSQL and two gateways: replaced, killed, without database."""

from dataclasses import replace
from pathlib import Path

from tests.chaos.faults import FAULTS, Fault, Plan
from tests.chaos.play import play
from tests.chaos.stage import SETTINGS, open_stages

PLAN = Plan(
    rounds=1, hold_seconds=0.5, rest_seconds=0.1, per_second=20, chats_per_second=0, patience=10
)

BUSY = replace(PLAN, per_second=40)
"""So that whoever is killed certainly has something in flight."""


def fault(name: str) -> Fault:
    (found,) = [fault for fault in FAULTS if fault.name == name]
    return found


async def test_replacing_everything_fails_no_request_and_a_death_only_what_was_in_flight(
    tmp_path: Path,
) -> None:
    async with open_stages(tmp_path, SETTINGS) as stages:
        replaced = await play(fault("rolling restart"), stages, PLAN)
        assert replaced.broken == []
        assert replaced.succeeded == replaced.requests

        without_database = await play(fault("PostgreSQL restarts"), stages, PLAN)
        assert without_database.broken == []
        assert without_database.answered == without_database.requests
        assert 0 < without_database.succeeded < without_database.requests

        killed = await play(fault("one of three killed"), stages, BUSY)
        assert killed.broken == []
        assert killed.answered == killed.requests
        assert 0 < killed.succeeded < killed.requests
