"""What the watch over an event loop tells: the delay to who admits work, the rest to the log."""

import asyncio
import os
import time

from structlog.testing import capture_logs

from runtime.admission import Admission
from runtime.event_loop import watching
from tests.support import eventually


async def test_vitals_are_what_a_leak_or_an_overload_shows_in() -> None:
    with capture_logs() as logged:
        async with watching(Admission(), vitals_seconds=0.2):
            await asyncio.sleep(0)  # so that it begins
            time.sleep(0.1)  # noqa: ASYNC251 - a late loop is what is to be seen

            async def is_logged() -> bool:
                return bool(logged)

            await eventually(is_logged)
    vitals = logged[0]
    assert (vitals["event"], vitals["log_level"]) == ("vitals", "debug")
    assert vitals["lag_max_ms"] >= vitals["lag_p50_ms"] >= 0
    assert vitals["lag_max_ms"] > 50
    assert vitals["tasks"] >= 2
    assert abs(vitals["open_files"] - len(os.listdir("/proc/self/fd"))) < 20
    assert vitals["rss_mib"] > 10


async def test_a_delay_elsewhere_counts_as_one_here() -> None:
    admission = Admission(few=0)
    async with watching(admission, lambda now: 10.0):

        async def refuses() -> bool:
            return not admission.admits(1)

        await eventually(refuses)
