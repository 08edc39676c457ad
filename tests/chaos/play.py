"""Plays one fault under load, asks again for what was acknowledged, and judges what came of it."""

import asyncio

from tests.chaos.faults import Fault, Plan
from tests.chaos.load import open_load
from tests.chaos.stage import Stages
from tests.chaos.verdict import Row, judge


async def play(fault: Fault, stages: Stages, plan: Plan) -> Row:
    """Opens the fault's stage where it is not open yet; leaves it as it was."""
    stage = await stages.get(fault.stage)
    chats = plan.chats_per_second if stage.is_self_hosted else 0
    name = fault.name.replace(" ", "-").replace(",", "")
    urls = [gateway.url for gateway in stage.gateways]
    async with open_load(urls, name, plan.per_second, chats) as load:
        load.start()
        await load.recovered()  # the first answer of a process takes longer than all others
        load.recoveries.clear()
        await asyncio.sleep(plan.rest_seconds)
        broken = await fault.play(stage, load, plan)
        await asyncio.sleep(plan.rest_seconds)
        await load.stop()
        outcomes = list(load.outcomes)
        lost = [*await load.lost(), *await stage.reconcile()]
    return judge(
        fault.name,
        fault.promise,
        outcomes,
        load.recoveries,
        lost,
        others=broken,
        notes=load.notes,
        late_seconds=load.latest_seconds,
        patience=plan.patience,
    )
