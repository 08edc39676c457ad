"""Watches the event loop of a process: how late it is, for `admission` and for the log."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from statistics import median

import structlog

from runtime.admission import Admission

_LOOK_SECONDS = 0.02
_REFUSALS_SECONDS = 1.0
_VITALS_SECONDS = 10.0
_PROC = Path("/proc/self")

log = structlog.get_logger()


def _no_delay(_: float) -> float:
    return 0.0


def _nobody_is_told(_: float) -> None:
    pass


@contextlib.asynccontextmanager
async def watching(
    admission: Admission,
    delay_elsewhere: Callable[[float], float] = _no_delay,
    vitals_seconds: float = _VITALS_SECONDS,
    observe_lag: Callable[[float], None] = _nobody_is_told,
) -> AsyncIterator[None]:
    """Tells `admission` how late the loop is, until the block ends: 50 times a second, 10 µs each.

    `delay_elsewhere` returns, at a time of `time.monotonic`, how long work waits for whom it is
    passed on to; the longer one counts. `observe_lag` is told each time how late the loop was,
    in seconds.

    Logs once a second how much was refused, if anything was. With LOG_LEVEL=debug it also logs
    `vitals` every ten seconds: what a leak or an overload would show in.
    """
    task = asyncio.create_task(_watch(admission, delay_elsewhere, vitals_seconds, observe_lag))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _watch(
    admission: Admission,
    delay_elsewhere: Callable[[float], float],
    vitals_seconds: float,
    observe_lag: Callable[[float], None],
) -> None:
    delays: list[float] = []
    refusals_at = vitals_at = now = time.monotonic()
    while True:
        due = now + _LOOK_SECONDS
        await asyncio.sleep(_LOOK_SECONDS)
        now = time.monotonic()
        delay = max(0.0, now - due)
        delays.append(delay)
        observe_lag(delay)
        admission.observe(now, max(delay, delay_elsewhere(now)))
        if now - refusals_at >= _REFUSALS_SECONDS:
            refusals_at = now
            counts = admission.take_counts()
            if counts.refused:
                log.warning("overload", refused=counts.refused, admitted=counts.admitted)
        if now - vitals_at >= vitals_seconds:
            vitals_at = now
            if log.is_enabled_for(logging.DEBUG):
                log.debug("vitals", **_vitals(delays))
            delays.clear()


def _vitals(delays: list[float]) -> dict[str, float]:
    vitals: dict[str, float] = {
        "tasks": len(asyncio.all_tasks()),
        "lag_p50_ms": round(median(delays) * 1000, 1),
        "lag_max_ms": round(max(delays) * 1000, 1),
    }
    if _PROC.is_dir():
        vitals["open_files"] = len(os.listdir(_PROC / "fd"))
        pages = int((_PROC / "statm").read_text().split()[1])
        vitals["rss_mib"] = round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
    return vitals
